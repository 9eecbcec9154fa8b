//! How a transfer tells what it does: bars for people, lines for logs, JSON for programs.
//!
//! Owns the three renderers. Does not decide whom it is told. Writes to standard error only:
//! standard output is for results.
//! Invariants: renderers never fail and never slow a transfer: what cannot be written is dropped. Where bars cannot be
//! seen there are lines, and notes are told in any case. Names may be another's: none moves the cursor or begins a line.

use crate::report::{as_lines, clean};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use std::fmt;
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A transfer's audience.
pub trait Progress: Send + Sync + fmt::Debug {
    /// A blob of `size` bytes is about to move; `verb` is `push`, `pull` or `copy`.
    fn begin(&self, verb: &'static str, label: &str, size: u64) -> Box<dyn Track>;

    /// Something worth a line.
    fn note(&self, text: &str);
}

/// One blob on its way. Dropping it without [`Track::end`] means that it failed.
pub trait Track: Send + Sync + fmt::Debug {
    /// So many more bytes were moved.
    fn advance(&self, bytes: u64);

    /// The blob stands at this byte: after a cut, or when an earlier session goes on.
    fn stand_at(&self, byte: u64);

    /// It has arrived.
    fn end(&self, how: Arrival);
}

/// How a blob arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Its bytes were moved.
    Moved,
    /// It was there already.
    Present,
    /// The registry mounted it from another repository.
    Mounted,
}

impl Arrival {
    fn as_str(self) -> &'static str {
        match self {
            Arrival::Moved => "moved",
            Arrival::Present => "present",
            Arrival::Mounted => "mounted",
        }
    }
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _verb: &'static str, _label: &str, _size: u64) -> Box<dyn Track> {
        Box::new(Silent)
    }

    fn note(&self, _text: &str) {}
}

impl Track for Silent {
    fn advance(&self, _bytes: u64) {}
    fn stand_at(&self, _byte: u64) {}
    fn end(&self, _how: Arrival) {}
}

/// For people: bars, and lines where standard error is no terminal, or one that cannot go back in what it shows.
pub fn for_people() -> Audience {
    match ProgressDrawTarget::stderr().is_hidden() {
        true => Arc::new(Lines),
        false => Arc::new(Bars::default()),
    }
}

/// Bars on a terminal; elsewhere nothing is seen of them.
#[derive(Debug, Default)]
pub struct Bars(MultiProgress);

/// Blobs smaller than this come and go too fast for a bar.
const LEAST_BAR: u64 = 1024 * 1024;

impl Progress for Bars {
    fn begin(&self, verb: &'static str, label: &str, size: u64) -> Box<dyn Track> {
        if size < LEAST_BAR {
            return Box::new(Silent);
        }
        let style = ProgressStyle::with_template(
            "{prefix:4} {msg:36!} {bar:24.cyan/dim} {binary_bytes:>11} / {binary_total_bytes:11} {binary_bytes_per_sec:>13} {eta:>4}",
        )
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━━─");
        let bar = self.0.add(ProgressBar::new(size).with_style(style));
        bar.set_prefix(verb);
        bar.set_message(shorten(&clean(label, usize::MAX)));
        Box::new(Bar {
            bar,
            all: self.0.clone(),
        })
    }

    fn note(&self, text: &str) {
        let shown = as_lines(text);
        // Above bars that are not drawn nothing is printed either.
        if self.0.is_hidden() || self.0.println(&shown).is_err() {
            say(&shown);
        }
    }
}

#[derive(Debug)]
struct Bar {
    bar: ProgressBar,
    all: MultiProgress,
}

impl Track for Bar {
    fn advance(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    fn stand_at(&self, byte: u64) {
        self.bar.set_position(byte);
    }

    fn end(&self, how: Arrival) {
        match how {
            Arrival::Moved => self.bar.finish(),
            Arrival::Present | Arrival::Mounted => {
                self.bar.finish_and_clear();
                self.all.remove(&self.bar);
            }
        }
    }
}

/// The end of a long name says more than its beginning.
fn shorten(label: &str) -> String {
    const WIDTH: usize = 36;
    let count = label.chars().count();
    if count <= WIDTH {
        return label.to_owned();
    }
    let end: String = label.chars().skip(count - (WIDTH - 1)).collect();
    format!("…{end}")
}

/// Lines, one for each blob, and one for each five seconds of a long one.
#[derive(Clone, Debug, Default)]
pub struct Lines;

/// One JSON object a line: `{"event":"blob","verb":"pull","name":…,"bytes":…,"size":…,"state":…}`.
#[derive(Clone, Debug, Default)]
pub struct Events;

/// Least time between two reports on one blob.
const INTERVAL: Duration = Duration::from_secs(5);

impl Progress for Lines {
    fn begin(&self, verb: &'static str, label: &str, size: u64) -> Box<dyn Track> {
        Box::new(Reported::new(verb, label, size, write_line))
    }

    fn note(&self, text: &str) {
        say(&as_lines(text));
    }
}

impl Progress for Events {
    fn begin(&self, verb: &'static str, label: &str, size: u64) -> Box<dyn Track> {
        Box::new(Reported::new(verb, label, size, write_event))
    }

    fn note(&self, text: &str) {
        say(&json!({"event": "note", "message": text}).to_string());
    }
}

struct Reported {
    verb: &'static str,
    label: String,
    size: u64,
    moved: AtomicU64,
    began: Instant,
    told: Mutex<Instant>,
    write: fn(&Reported, State),
}

#[derive(Clone, Copy)]
enum State {
    Moving,
    Done(Arrival),
}

impl fmt::Debug for Reported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reported")
            .field("verb", &self.verb)
            .field("label", &self.label)
            .finish_non_exhaustive()
    }
}

impl Reported {
    fn new(verb: &'static str, label: &str, size: u64, write: fn(&Reported, State)) -> Reported {
        let now = Instant::now();
        let label = label.to_owned();
        Reported {
            verb,
            label,
            size,
            moved: AtomicU64::new(0),
            began: now,
            told: Mutex::new(now),
            write,
        }
    }
}

impl Track for Reported {
    fn advance(&self, bytes: u64) {
        self.moved.fetch_add(bytes, Ordering::Relaxed);
        // Never waited for: whoever holds it is writing this very report.
        let Ok(mut told) = self.told.try_lock() else {
            return;
        };
        if told.elapsed() >= INTERVAL {
            *told = Instant::now();
            (self.write)(self, State::Moving);
        }
    }

    fn stand_at(&self, byte: u64) {
        self.moved.store(byte, Ordering::Relaxed);
    }

    fn end(&self, how: Arrival) {
        let _told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        (self.write)(self, State::Done(how));
    }
}

fn write_line(report: &Reported, state: State) {
    let Reported { verb, size, .. } = report;
    let label = clean(&report.label, 300);
    let moved = report.moved.load(Ordering::Relaxed);
    say(&match state {
        State::Moving => format!("{verb} {label}: {} of {}", mib(moved), mib(*size)),
        State::Done(Arrival::Moved) => {
            format!(
                "{verb} {label}: {} in {:.1} s",
                mib(*size),
                report.began.elapsed().as_secs_f64()
            )
        }
        State::Done(how) => format!("{verb} {label}: {}, {}", how.as_str(), mib(*size)),
    });
}

fn mib(bytes: u64) -> String {
    if bytes < 1024 * 1024 {
        format!("{:.1} KiB", bytes as f64 / 1024.0)
    } else {
        format!("{:.1} MiB", bytes as f64 / (1024.0 * 1024.0))
    }
}

fn write_event(report: &Reported, state: State) {
    let state: Value = match state {
        State::Moving => "moving".into(),
        State::Done(how) => how.as_str().into(),
    };
    let seconds = (report.began.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
    say(
        &json!({"event": "blob", "verb": report.verb, "name": report.label, "size": report.size,
        "bytes": report.moved.load(Ordering::Relaxed), "state": state, "seconds": seconds})
        .to_string(),
    );
}

fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// The same audience for many tasks.
pub type Audience = Arc<dyn Progress>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_keep_their_end() {
        let name = "a".repeat(60) + "/model.safetensors";
        let short = shorten(&name);
        assert_eq!(short.chars().count(), 36);
        assert!(short.ends_with("/model.safetensors"));
        assert_eq!(shorten("ünï"), "ünï");
    }

    #[test]
    fn without_a_terminal_people_have_lines() {
        let is_seen = !ProgressDrawTarget::stderr().is_hidden();
        let audience = format!("{:?}", for_people());
        assert_eq!(audience == "Lines", !is_seen, "{audience}");
    }

    #[test]
    fn a_position_can_go_back_after_a_cut() {
        let report = Reported::new("pull", "x", 100, |_, _| {});
        report.advance(80);
        report.stand_at(30);
        report.advance(5);
        assert_eq!(report.moved.load(Ordering::Relaxed), 35);
    }
}
