//! What is wrong, or could be better, in a recipe: a stable code, a place, a problem, what to do.
//!
//! Owns the codes: scripts and suppressions name them, so a code never changes its meaning and is
//! never used again. Does not print colours and does not decide about exit codes.
//! Invariant: an error keeps a recipe from being read, a warning never does.

use serde::Serialize;
use std::fmt;

/// Where something stands in a text, counted from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Column, in characters.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// How much a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The recipe is not read.
    Error,
    /// It is read; whoever rebuilds the model may stumble.
    Warning,
}

macro_rules! codes {
    ($($name:ident $text:literal $severity:ident $title:literal,)*) => {
        /// What a finding is about. `RE` are errors, `RW` warnings.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $(#[doc = $title] $name,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Code] = &[$(Code::$name),*];

            /// The code as it is written.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$name => $text,)* }
            }

            /// How much it weighs.
            pub fn severity(self) -> Severity {
                match self { $(Code::$name => Severity::$severity,)* }
            }

            /// What it is about, in a few words.
            pub fn title(self) -> &'static str {
                match self { $(Code::$name => $title,)* }
            }
        }
    };
}

codes! {
    Syntax "RE01" Error "the text is no TOML",
    UnknownKey "RE02" Error "a key or word that is not known",
    MissingKey "RE03" Error "a key that is needed is not there",
    WrongValue "RE04" Error "a value of the wrong type or form",
    UnsafePath "RE05" Error "a path that is not relative, safe and plain",
    TwoWriters "RE06" Error "two that write one path",
    Cycle "RE07" Error "stages that wait for each other",
    UndeclaredPath "RE08" Error "a path that nobody writes and no input is",
    Unpinned "RE09" Error "a dependency that is not pinned",
    InputWithoutDigest "RE10" Error "an input without a digest",
    Twice "RE11" Error "something that stands there twice",
    UnknownName "RE12" Error "a name that is not defined",
    MissingFile "RE13" Error "a file that is not there",
    Unfinished "RE14" Error "a place that is left for you to fill",
    Uncommitted "RE15" Error "code that is not committed, at a risk at which it has to be",
    NoSeed "RW01" Warning "a prepare or train stage without a seed",
    NoWhy "RW02" Warning "a tolerance or a weaker class without a reason",
    NoDevice "RW03" Warning "a train or infer stage without a device",
    NoBatchSize "RW04" Warning "a train stage on an accelerator without a batch size among its parameters",
    NoRisk "RW05" Warning "no risk level: the highest holds",
    NoOwner "RW06" Warning "no owner",
    Shell "RW07" Warning "a command line that a shell reads",
    UnlockedEnvironment "RW08" Warning "an environment that is whatever the machine has",
    DataAsSource "RW09" Warning "data that no input pins",
    NoGoldenTest "RW10" Warning "a model without an inference test",
    NoThreads "RW11" Warning "no number of threads",
    UnusedPattern "RW12" Warning "a pattern that fits nothing",
    NoDirection "RW13" Warning "a metric without a direction",
    Expired "RW14" Warning "an override past its date",
    NoTolerance "RW15" Warning "a metric without a tolerance that somebody chose",
    ReadsParametersFile "RW16" Warning "a stage that reads the parameters' file around the recipe",
    ToDo "RW17" Warning "a text that is left for you to write",
    Unenforced "RW18" Warning "a condition that nothing enforces",
    Undecided "RW19" Warning "an output of a class that no golden answer, metric or bound decides",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// One thing that is wrong, or could be better.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is about.
    pub code: Code,
    /// The file that it is about, if that is not the recipe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Where it stands.
    pub place: Place,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
}

impl Finding {
    /// A finding; the problem is lowercase and names the thing.
    pub fn new(
        code: Code,
        place: Place,
        problem: impl Into<String>,
        suggestion: impl Into<Option<String>>,
    ) -> Finding {
        Finding {
            code,
            file: None,
            place,
            problem: problem.into(),
            suggestion: suggestion.into(),
        }
    }

    /// The same finding, in another file than the recipe.
    pub fn in_file(mut self, path: &str) -> Finding {
        self.file = Some(path.to_owned());
        self
    }

    /// Whether it keeps the recipe from being read.
    pub fn is_error(&self) -> bool {
        self.code.severity() == Severity::Error
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { code, place, .. } = self;
        if let Some(file) = &self.file {
            write!(f, "{file} ")?;
        }
        write!(f, "{place}: {code} {}", self.problem)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, ": {suggestion}"),
            None => Ok(()),
        }
    }
}

/// Why a recipe was not read: every error in it, in the order of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecipeError(Vec<Finding>);

impl RecipeError {
    /// The errors among `findings`; `None` if there are none.
    pub(super) fn of(findings: Vec<Finding>) -> Option<RecipeError> {
        let mut errors: Vec<Finding> = findings.into_iter().filter(Finding::is_error).collect();
        errors.sort_by_key(|error| (error.place, error.code));
        errors.dedup();
        (!errors.is_empty()).then_some(RecipeError(errors))
    }

    /// For a document in which nothing was found, neither a recipe nor an error.
    pub(super) fn nothing() -> RecipeError {
        let place = Place { line: 1, column: 1 };
        let problem = "this is no recipe";
        RecipeError(vec![Finding::new(Code::MissingKey, place, problem, None)])
    }

    /// The errors; at least one.
    pub fn findings(&self) -> &[Finding] {
        &self.0
    }
}

impl fmt::Display for RecipeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "recipe {finding}")?;
        }
        Ok(())
    }
}

impl std::error::Error for RecipeError {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn codes_are_unique_and_say_their_severity() {
        let texts: BTreeSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(texts.len(), Code::ALL.len());
        for code in Code::ALL {
            let error = code.as_str().starts_with("RE");
            assert_eq!(code.severity() == Severity::Error, error, "{code}");
        }
    }
}
