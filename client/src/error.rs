//! What can go wrong, sorted by what the caller can do about it.
//!
//! Owns the outcomes that callers branch on and the hints that people read. Does not print anything
//! and knows no exit codes: those belong to the command line.
//! Invariant: an error while judging is [`Outcome::Halted`] or [`Outcome::Refused`], never success.

use serde_json::Value;
use std::fmt;

/// What happened, as far as a caller would act differently on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// The request makes no sense as it was put: change it.
    Usage,
    /// A policy, a rule or a check of names said no: bring what is missing.
    Refused,
    /// Bytes, signatures or names are not what they should be: nothing of this may be used.
    Halted,
    /// It is not there, or this caller may not know that it is.
    NotFound,
    /// The registry does not let this caller do this: log in, or ask for the right.
    Unauthorised,
    /// Something else stands there already and is not replaced.
    Conflict,
    /// The network or the registry failed after all retries: try again later.
    Network,
    /// A transparency log contradicts what it showed before, or what its registry serves: use nothing of
    /// it, and ask how that can be.
    Contradicted,
    /// Anything else, local input and output above all.
    Other,
}

impl Outcome {
    /// The name in JSON output.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Usage => "usage",
            Outcome::Refused => "refused",
            Outcome::Halted => "halted",
            Outcome::NotFound => "not-found",
            Outcome::Unauthorised => "unauthorised",
            Outcome::Conflict => "conflict",
            Outcome::Network => "network",
            Outcome::Contradicted => "contradicted",
            Outcome::Other => "other",
        }
    }
}

/// An error with its outcome, its text and what may help.
///
/// ```
/// use sealstone::{Error, Outcome};
/// let error = Error::not_found("tag \"1.0\" is not in oci:model").hint("list the tags with: sealstone list oci:model");
/// assert_eq!(error.outcome(), Outcome::NotFound);
/// assert_eq!(error.hints().len(), 1);
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    outcome: Outcome,
    message: String,
    hints: Vec<String>,
    detail: Option<Value>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error with this outcome. The text is lowercase, has no full stop and names the thing.
    pub fn new(outcome: Outcome, message: impl Into<String>) -> Error {
        Error(Box::new(Inner {
            outcome,
            message: message.into(),
            hints: Vec::new(),
            detail: None,
            source: None,
        }))
    }

    /// The request makes no sense as it was put.
    pub fn usage(message: impl Into<String>) -> Error {
        Error::new(Outcome::Usage, message)
    }

    /// A policy or rule said no.
    pub fn refused(message: impl Into<String>) -> Error {
        Error::new(Outcome::Refused, message)
    }

    /// Verification failed: nothing may be used.
    pub fn halted(message: impl Into<String>) -> Error {
        Error::new(Outcome::Halted, message)
    }

    /// It is not there.
    pub fn not_found(message: impl Into<String>) -> Error {
        Error::new(Outcome::NotFound, message)
    }

    /// The registry does not let this caller do this.
    pub fn unauthorised(message: impl Into<String>) -> Error {
        Error::new(Outcome::Unauthorised, message)
    }

    /// Something else stands there already.
    pub fn conflict(message: impl Into<String>) -> Error {
        Error::new(Outcome::Conflict, message)
    }

    /// The network or the registry failed.
    pub fn network(message: impl Into<String>) -> Error {
        Error::new(Outcome::Network, message)
    }

    /// Anything else.
    pub fn other(message: impl Into<String>) -> Error {
        Error::new(Outcome::Other, message)
    }

    /// Local input or output failed while doing `what`, for example `reading "model.key"`.
    pub fn io(what: impl fmt::Display, source: std::io::Error) -> Error {
        let outcome = match source.kind() {
            std::io::ErrorKind::NotFound => Outcome::NotFound,
            _ => Outcome::Other,
        };
        Error::new(outcome, format!("{what} failed")).source(source)
    }

    /// Adds a line that says what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.0.hints.push(hint.into());
        self
    }

    /// Adds the error that caused this one.
    #[must_use]
    pub fn source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        self.0.source = Some(source.into());
        self
    }

    /// Adds what programs may read, such as the `detail` of a registry's answer.
    #[must_use]
    pub fn detail(mut self, detail: Value) -> Error {
        self.0.detail = Some(detail);
        self
    }

    /// What happened.
    pub fn outcome(&self) -> Outcome {
        self.0.outcome
    }

    /// The text without its causes.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What may help, in the order in which it was added.
    pub fn hints(&self) -> &[String] {
        &self.0.hints
    }

    /// What programs may read.
    pub fn details(&self) -> Option<&Value> {
        self.0.detail.as_ref()
    }

    /// The texts of the causes, outermost first.
    pub fn causes(&self) -> Vec<String> {
        let mut causes = Vec::new();
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            causes.push(cause.to_string());
            next = cause.source();
        }
        causes
    }

    /// The text with its causes, in one line. A cause that the text already ends with is not told twice: whoever adds
    /// where it happened keeps the error as its own cause.
    pub(crate) fn in_words(&self) -> String {
        let mut text = self.message().to_owned();
        for cause in self.causes() {
            if !text.ends_with(&cause) {
                text.push_str(": ");
                text.push_str(&cause);
            }
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.outcome, self.0.message)?;
        for cause in self.causes() {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let source = self.0.source.as_deref()?;
        Some(source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_outermost_first() {
        let inner = Error::io("reading \"x\"", std::io::Error::other("disk on fire"));
        let outer = Error::halted("layer \"x\" is not what it should be").source(inner);
        assert_eq!(outer.causes(), ["reading \"x\" failed", "disk on fire"]);
        assert_eq!(
            format!("{outer:?}"),
            "Halted: layer \"x\" is not what it should be: reading \"x\" failed: disk on fire"
        );
    }

    #[test]
    fn in_words_nothing_is_told_twice() {
        let inner = || Error::io("reading \"x\"", std::io::Error::other("disk on fire"));
        let text = format!("stage \"a\": {}", inner().message());
        let outer = Error::other(text).source(inner());
        assert_eq!(
            outer.in_words(),
            "stage \"a\": reading \"x\" failed: disk on fire"
        );
    }

    #[test]
    fn a_missing_file_is_not_found() {
        let error = Error::io("reading \"x\"", std::io::ErrorKind::NotFound.into());
        assert_eq!(error.outcome(), Outcome::NotFound);
    }
}
