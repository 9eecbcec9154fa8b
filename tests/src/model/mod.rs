//! An exhaustive state explorer: every state that a small model can reach, in every order of its steps.
//!
//! Owns the breadth-first search, the set of states seen and the shortest trace to a bad state.
//! It knows nothing about registries: [`gc`] is the model of the garbage collector's protocol,
//! [`shortcuts`] are the same protocol with one known mistake each.
//! It does not sample, reduce by symmetry or hash states: a state is kept as its exact 128 bits, so
//! "safe" means that each reachable state was visited and judged.
//!
//! Invariant: [`Outcome::Safe`] is returned only when the frontier is empty below the given limit.

pub mod gc;
pub mod shortcuts;

use std::collections::HashSet;
use std::fmt::{self, Display};
use std::hash::{BuildHasherDefault, Hasher};

/// A transition system with finitely many states.
pub trait Model {
    /// One state of the whole system.
    type State: Copy;
    /// One atomic step. Applied to a state it has at most one result, so a list of actions is a trace.
    type Action: Copy + Display;

    /// The state in which every run begins.
    fn initial(&self) -> Self::State;
    /// All actions that this model knows, enabled or not.
    fn actions(&self) -> &[Self::Action];
    /// The state after `action`, or `None` where it is not possible in `state`.
    fn apply(&self, state: &Self::State, action: Self::Action) -> Option<Self::State>;
    /// An injective packing: two states are equal exactly when their keys are.
    fn key(&self, state: &Self::State) -> u128;
    /// What must hold in every reachable state. The text says what is broken.
    fn check(&self, state: &Self::State) -> Result<(), String>;
    /// What must hold for every step that is taken.
    fn check_step(&self, _before: &Self::State, _after: &Self::State) -> Result<(), String> {
        Ok(())
    }
}

/// How much of a model was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Distinct states that were reached and judged.
    pub states: usize,
    /// Steps between them, those that change nothing left out.
    pub steps: u64,
    /// Length of the longest shortest path from the initial state.
    pub depth: usize,
    /// Actions that changed a state at least once. One that never does was not explored at all.
    pub fired: usize,
}

/// What an exploration found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every reachable state was visited and every one was good.
    Safe(Extent),
    /// A bad state or step, with a shortest trace to it.
    Broken {
        /// What was looked at until then.
        extent: Extent,
        /// The steps from the initial state, one line each.
        trace: Vec<String>,
        /// What does not hold after the last step.
        why: String,
    },
    /// The limit on states was reached: nothing is proven.
    Unfinished(Extent),
}

impl Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Safe(e) => write!(
                f,
                "SAFE: all {} states visited, {} steps, depth {}",
                e.states, e.steps, e.depth
            ),
            Outcome::Unfinished(e) => write!(f, "UNFINISHED after {} states", e.states),
            Outcome::Broken { extent, trace, why } => {
                writeln!(
                    f,
                    "LOSS in {} steps ({} states looked at):",
                    trace.len(),
                    extent.states
                )?;
                for (number, line) in trace.iter().enumerate() {
                    writeln!(f, "  {:>2}. {line}", number + 1)?;
                }
                write!(f, "  => {why}")
            }
        }
    }
}

/// The keys are packed states, not secrets: one multiplication spreads them well enough, and SipHash
/// would cost more than everything else in the search.
#[derive(Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    fn write_u128(&mut self, key: u128) {
        let folded = (key as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
            ^ ((key >> 64) as u64).wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
        self.0 = (folded ^ (folded >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

type Seen = HashSet<u128, BuildHasherDefault<Spread>>;

/// Visits every state of `model`, nearest first, and stops at the first bad one or after `limit` states.
pub fn explore<M: Model>(model: &M, limit: usize) -> Outcome {
    let mut seen = Seen::default();
    // For each state in order of discovery: where it was reached from, and by which action (by number).
    let mut reached: Vec<(u32, u16)> = Vec::new();
    let mut extent = Extent {
        states: 1,
        steps: 0,
        depth: 0,
        fired: 0,
    };

    let mut fired = vec![false; model.actions().len()];

    let initial = model.initial();
    if let Err(why) = model.check(&initial) {
        return Outcome::Broken {
            extent,
            trace: Vec::new(),
            why,
        };
    }
    seen.insert(model.key(&initial));
    reached.push((0, 0));
    let mut frontier = vec![(initial, 0_u32)];

    while !frontier.is_empty() {
        let mut next = Vec::new();
        for (state, place) in &frontier {
            let here = model.key(state);
            for (number, action) in model.actions().iter().enumerate() {
                let Some(after) = model.apply(state, *action) else {
                    continue;
                };
                let key = model.key(&after);
                if key == here {
                    continue;
                }
                extent.steps += 1;
                extent.fired += usize::from(!std::mem::replace(&mut fired[number], true));
                let new = seen.insert(key);
                let judged = model.check_step(state, &after).and_then(|()| match new {
                    true => model.check(&after),
                    false => Ok(()),
                });
                if let Err(why) = judged {
                    let mut trace = trace_to(model, &reached, *place);
                    trace.push(action.to_string());
                    return Outcome::Broken { extent, trace, why };
                }
                if new {
                    if extent.states >= limit {
                        return Outcome::Unfinished(extent);
                    }
                    extent.states += 1;
                    next.push((after, reached.len() as u32));
                    reached.push((*place, number as u16));
                }
            }
        }
        if !next.is_empty() {
            extent.depth += 1;
        }
        frontier = next;
    }
    Outcome::Safe(extent)
}

fn trace_to<M: Model>(model: &M, reached: &[(u32, u16)], mut place: u32) -> Vec<String> {
    let mut trace = Vec::new();
    while place != 0 {
        let (from, action) = reached[place as usize];
        trace.push(model.actions()[action as usize].to_string());
        place = from;
    }
    trace.reverse();
    trace
}

#[cfg(test)]
mod tests {
    //! The explorer itself, on a puzzle whose answers are known: jugs of 3 and 5 litres.
    #![allow(clippy::unwrap_used)]
    use super::*;

    struct Jugs {
        forbidden: u8,
        moves: [Pour; 6],
    }
    #[derive(Clone, Copy)]
    enum Pour {
        Fill(usize),
        Empty(usize),
        Into(usize, usize),
    }
    impl Display for Pour {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            match self {
                Pour::Fill(jug) => write!(f, "fill {jug}"),
                Pour::Empty(jug) => write!(f, "empty {jug}"),
                Pour::Into(from, to) => write!(f, "pour {from} into {to}"),
            }
        }
    }
    const SIZE: [u8; 2] = [3, 5];

    impl Model for Jugs {
        type State = [u8; 2];
        type Action = Pour;
        fn initial(&self) -> [u8; 2] {
            [0, 0]
        }
        fn actions(&self) -> &[Pour] {
            &self.moves
        }
        fn apply(&self, state: &[u8; 2], action: Pour) -> Option<[u8; 2]> {
            let mut s = *state;
            match action {
                Pour::Fill(jug) => s[jug] = SIZE[jug],
                Pour::Empty(jug) => s[jug] = 0,
                Pour::Into(from, to) => {
                    let moved = s[from].min(SIZE[to] - s[to]);
                    s[from] -= moved;
                    s[to] += moved;
                }
            }
            Some(s)
        }
        fn key(&self, s: &[u8; 2]) -> u128 {
            u128::from(s[0]) << 8 | u128::from(s[1])
        }
        fn check(&self, s: &[u8; 2]) -> Result<(), String> {
            match s[1] == self.forbidden {
                true => Err(format!("the large jug holds {}", self.forbidden)),
                false => Ok(()),
            }
        }
    }
    fn jugs(forbidden: u8) -> Jugs {
        use Pour::{Empty, Fill, Into};
        Jugs {
            forbidden,
            moves: [Fill(0), Fill(1), Empty(0), Empty(1), Into(0, 1), Into(1, 0)],
        }
    }

    #[test]
    fn visits_every_reachable_state_and_no_other() {
        // one jug is always full or empty: 2 * (3 + 1) + 2 * (5 + 1) - 4 states
        let Outcome::Safe(extent) = explore(&jugs(6), 1000) else {
            panic!("nothing is forbidden")
        };
        assert_eq!((extent.states, extent.depth, extent.fired), (16, 7, 6));
    }

    #[test]
    fn finds_a_shortest_trace_that_can_be_replayed() {
        let model = jugs(4);
        let Outcome::Broken { trace, why, .. } = explore(&model, 1000) else {
            panic!("4 can be measured")
        };
        assert_eq!(trace.len(), 6);
        assert_eq!(why, "the large jug holds 4");
        let mut state = model.initial();
        for line in &trace {
            let action = model.moves.iter().find(|a| a.to_string() == *line).unwrap();
            state = model.apply(&state, *action).unwrap();
        }
        assert_eq!(state[1], 4);
    }

    #[test]
    fn a_reached_limit_is_not_safe() {
        assert!(matches!(explore(&jugs(6), 15), Outcome::Unfinished(_)));
        assert!(matches!(explore(&jugs(6), 16), Outcome::Safe(_)));
    }
}
