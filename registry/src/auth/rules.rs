//! The `[[access]]` rules of the configuration: who holds which verbs in which repositories.
//!
//! Owns: reading and evaluating them. Does not own: administrators (a flag on the account) and what
//! tokens narrow (`authorize` puts the three together).
//! Invariant: rules only give; there is no rule that takes away, so their order does not matter and
//! a rule that does not match cannot widen anything. No rules: nobody but administrators.
//!
//! ```toml
//! [[access]]
//! repositories = ["models/**"]
//! who = ["user:alice", "robot:ci"]
//! verbs = ["push", "tag"]
//! ```
//! `authenticated` is everybody with an account. `anonymous` is everybody at all: who logs in does
//! not lose what strangers may do.

use super::account::AccountName;
use super::principal::Identity;
use super::repositories::{PatternError, RepositoryPattern};
use super::verb::{Verb, VerbSet};
use sealstone_spec::name::RepoName;
use serde::{Deserialize, Serialize};
use std::fmt;

/// One rule as it stands in the configuration, unchecked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessRuleText {
    /// Patterns: `*` within a path element, `**` for any number of elements.
    pub repositories: Vec<String>,
    /// `user:NAME`, `robot:NAME`, `authenticated`, `anonymous`.
    pub who: Vec<String>,
    /// `pull`, `push`, `tag`, `delete`, `sign`, `approve`, `admin`.
    pub verbs: Vec<String>,
}

/// What is wrong with the rules. `rule` counts from 1, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// A list that has to say something says nothing.
    #[error("access rule {rule}: `{field}` is empty: name at least one, or remove the rule")]
    Empty {
        /// Which rule.
        rule: usize,
        /// Which list.
        field: &'static str,
    },
    /// A pattern that cannot be read.
    #[error("access rule {rule}: {source}")]
    Pattern {
        /// Which rule.
        rule: usize,
        /// What is wrong with it.
        source: PatternError,
    },
    /// Nobody is called that.
    #[error("access rule {rule}: who \"{who}\" is not known: {advice}")]
    Who {
        /// Which rule.
        rule: usize,
        /// What stands there.
        who: String,
        /// What may have been meant.
        advice: String,
    },
    /// No such verb.
    #[error("access rule {rule}: verb \"{verb}\" is not known: {advice}")]
    Verb {
        /// Which rule.
        rule: usize,
        /// What stands there.
        verb: String,
        /// What may have been meant.
        advice: String,
    },
    /// Everybody would be an administrator.
    #[error(
        "access rule {rule}: anonymous cannot hold admin: list the verbs that strangers need, or name the accounts"
    )]
    AnonymousAdmin {
        /// Which rule.
        rule: usize,
    },
}

/// To whom a rule gives.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Who {
    User(AccountName),
    Robot(AccountName),
    Authenticated,
    Anonymous,
}

impl Who {
    fn means(&self, identity: &Identity) -> bool {
        match (self, identity) {
            (_, Identity::System) => false,
            (Who::Anonymous, _) => true,
            (Who::Authenticated, other) => other.name().is_some(),
            (Who::User(rule), Identity::User(name)) | (Who::Robot(rule), Identity::Robot(name)) => {
                rule == name
            }
            (Who::User(_) | Who::Robot(_), _) => false,
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::User(name) => write!(f, "user:{name}"),
            Who::Robot(name) => write!(f, "robot:{name}"),
            Who::Authenticated => f.write_str("authenticated"),
            Who::Anonymous => f.write_str("anonymous"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    repositories: Vec<RepositoryPattern>,
    who: Vec<Who>,
    /// As written, for printing the configuration back.
    verbs: Vec<Verb>,
    /// With what they imply.
    gives: VerbSet,
}

/// All rules, checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<AccessRuleText>", into = "Vec<AccessRuleText>")]
pub struct AccessRules(Vec<Rule>);

impl AccessRules {
    /// Checks the rules of the configuration.
    ///
    /// # Errors
    /// Names the rule and what may have been meant.
    pub fn check(texts: Vec<AccessRuleText>) -> Result<AccessRules, RuleError> {
        texts
            .into_iter()
            .enumerate()
            .map(|(index, text)| check_rule(index + 1, text))
            .collect::<Result<_, _>>()
            .map(AccessRules)
    }

    /// What the rules give to `identity` in `repository`, implications included.
    pub fn verbs(&self, identity: &Identity, repository: &RepoName) -> VerbSet {
        self.0
            .iter()
            .filter(|rule| rule.who.iter().any(|who| who.means(identity)))
            .filter(|rule| {
                rule.repositories
                    .iter()
                    .any(|pattern| pattern.matches(repository))
            })
            .fold(VerbSet::NONE, |verbs, rule| verbs.union(rule.gives))
    }

    /// Whether strangers may do anything at all. If not, a request without credentials is worth a
    /// challenge before anything else is looked at.
    pub fn know_anonymous(&self) -> bool {
        self.0.iter().any(|rule| rule.who.contains(&Who::Anonymous))
    }
}

fn check_rule(rule: usize, text: AccessRuleText) -> Result<Rule, RuleError> {
    for (field, is_empty) in [
        ("repositories", text.repositories.is_empty()),
        ("who", text.who.is_empty()),
        ("verbs", text.verbs.is_empty()),
    ] {
        if is_empty {
            return Err(RuleError::Empty { rule, field });
        }
    }
    let repositories = text
        .repositories
        .iter()
        .map(|pattern| pattern.parse())
        .collect::<Result<_, _>>()
        .map_err(|source| RuleError::Pattern { rule, source })?;
    let who = text
        .who
        .iter()
        .map(|who| read_who(rule, who))
        .collect::<Result<Vec<_>, _>>()?;
    let verbs = text
        .verbs
        .iter()
        .map(|verb| read_verb(rule, verb))
        .collect::<Result<Vec<_>, _>>()?;
    if who.contains(&Who::Anonymous) && verbs.contains(&Verb::Admin) {
        return Err(RuleError::AnonymousAdmin { rule });
    }
    let gives = verbs.iter().copied().collect::<VerbSet>().closed();
    Ok(Rule {
        repositories,
        who,
        verbs,
        gives,
    })
}

fn read_who(rule: usize, text: &str) -> Result<Who, RuleError> {
    let unknown = |advice: String| RuleError::Who {
        rule,
        who: shown(text),
        advice,
    };
    match text {
        "authenticated" => return Ok(Who::Authenticated),
        "anonymous" => return Ok(Who::Anonymous),
        _ => {}
    }
    let Some((prefix, name)) = text.split_once(':') else {
        return Err(unknown(
            match nearest(text, &["authenticated", "anonymous"]) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("write \"user:{0}\" or \"robot:{0}\"", shown(text)),
            },
        ));
    };
    let make = match prefix {
        "user" => Who::User,
        "robot" => Who::Robot,
        other => {
            return Err(unknown(match nearest(other, &["user", "robot"]) {
                Some(near) => format!("did you mean \"{near}:{}\"?", shown(name)),
                None => "use user:NAME, robot:NAME, authenticated or anonymous".into(),
            }));
        }
    };
    name.parse()
        .map(make)
        .map_err(|error| unknown(error.to_string()))
}

fn read_verb(rule: usize, text: &str) -> Result<Verb, RuleError> {
    Verb::named(text).ok_or_else(|| {
        let names = Verb::ALL.map(Verb::as_str);
        let aliases = [
            ("read", "pull"),
            ("write", "push"),
            ("release", "tag"),
            ("*", "admin"),
        ];
        let near = aliases
            .into_iter()
            .find_map(|(alias, verb)| (alias == text).then_some(verb))
            .or_else(|| nearest(text, &names));
        RuleError::Verb {
            rule,
            verb: shown(text),
            advice: match near {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("use one of {}", names.join(", ")),
            },
        }
    })
}

/// Text from the configuration, short and without control characters.
fn shown(text: &str) -> String {
    text.chars().take(60).flat_map(char::escape_debug).collect()
}

/// The word that `text` is a slip of the pen of: at most two letters added, dropped or changed.
fn nearest<'w>(text: &str, words: &[&'w str]) -> Option<&'w str> {
    if text.len() > 32 {
        return None;
    }
    let text = text.to_lowercase();
    words
        .iter()
        .map(|word| (distance(&text, word), *word))
        .filter(|(slips, word)| *slips <= 2 && *slips * 2 <= word.len())
        .min()
        .map(|(_, word)| word)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let changed = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

impl TryFrom<Vec<AccessRuleText>> for AccessRules {
    type Error = RuleError;

    fn try_from(texts: Vec<AccessRuleText>) -> Result<Self, Self::Error> {
        AccessRules::check(texts)
    }
}

impl From<AccessRules> for Vec<AccessRuleText> {
    fn from(rules: AccessRules) -> Self {
        rules
            .0
            .into_iter()
            .map(|rule| AccessRuleText {
                repositories: rule.repositories.into_iter().map(String::from).collect(),
                who: rule.who.iter().map(Who::to_string).collect(),
                verbs: rule.verbs.iter().map(Verb::to_string).collect(),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
