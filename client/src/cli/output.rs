//! What is printed and where: results to standard output, notes and failures to standard error.
//!
//! Invariants: in JSON, both hold one object a line and nothing else, but for what programs that this one starts write to
//! standard error themselves (helpers for credentials, scripts that are traced). Results, notes and failures may quote
//! others: no control sequence of theirs reaches a terminal, and no line of theirs a build server. A result that could not
//! be written is not passed over in silence.

use super::exit;
use clap::ValueEnum;
use sealstone::report::{as_lines, as_page, clean};
use sealstone::{Error, Outcome};
use serde::Serialize;
use serde_json::json;
use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal as _, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people at a terminal: colours and progress bars.
    Human,
    /// Lines without colours, for logs.
    Plain,
    /// One JSON object a line.
    Json,
}

/// The two streams, and the format in which they are written.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    format: Format,
    /// Whether a result was lost; of all copies.
    lost: Arc<AtomicBool>,
}

impl Output {
    /// The format asked for; without one, human on a terminal and plain elsewhere.
    pub(crate) fn new(format: Option<Format>) -> Output {
        let format = format.unwrap_or_else(|| {
            if std::io::stderr().is_terminal() && std::io::stdout().is_terminal() {
                Format::Human
            } else {
                Format::Plain
            }
        });
        Output {
            format,
            lost: Arc::default(),
        }
    }

    /// The format.
    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// Writes a result: `value` as one line of JSON, or `text` with a newline. The text has no colours: whatever would
    /// give it one is another's. Words of others stand in it by way of [`in_line`]: it would not be seen whose a line is.
    pub(crate) fn result(&self, value: &impl Serialize, text: impl Display) {
        self.took(match self.format {
            Format::Json => write_json(value),
            Format::Human | Format::Plain => {
                write_line(std::io::stdout().lock(), as_page(&text.to_string()))
            }
        });
    }

    /// The same with a text that brings its colours, and in which nothing of others is left that could be one.
    pub(crate) fn coloured_result(&self, value: &impl Serialize, text: impl Display) {
        self.took(match self.format {
            Format::Json => write_json(value),
            Format::Human => write_line(anstream::stdout().lock(), text),
            Format::Plain => write_line(anstream::StripStream::new(std::io::stdout()), text),
        });
    }

    /// Takes how a result was written. A reader that went away (`| head`) is not this command's failure; whatever else
    /// keeps it from its reader is told, and the program does not end as if it had been read.
    pub(crate) fn took(&self, written: io::Result<()>) {
        let Err(error) = written else { return };
        if error.kind() != ErrorKind::BrokenPipe && !self.lost.swap(true, Ordering::Relaxed) {
            self.failure(&Error::io("writing the result", error));
        }
    }

    /// Whether a result could not be written.
    pub(crate) fn has_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// Writes a note about what goes on; lines after the first are taken for somebody else's.
    pub(crate) fn note(&self, text: impl Display) {
        let text = text.to_string();
        self.told(&text, &as_lines(&text));
    }

    /// Writes a note of several lines, each of which begins with words of this program.
    pub(crate) fn notes(&self, text: &str) {
        let lines: Vec<String> = text.lines().map(as_lines).collect();
        self.told(text, &lines.join("\n"));
    }

    /// `text` for programs, `shown` for people and logs.
    fn told(&self, text: &str, shown: &str) {
        let _ = match self.format {
            Format::Json => {
                let line = json!({"event": "note", "message": text});
                writeln!(std::io::stderr().lock(), "{line}")
            }
            Format::Human | Format::Plain => writeln!(std::io::stderr().lock(), "{shown}"),
        };
    }

    /// Writes a failure with its causes and hints.
    pub(crate) fn failure(&self, error: &Error) {
        if self.format == Format::Json {
            let line = json!({"event": "error", "outcome": error.outcome().as_str(),
                "exitCode": exit::number(error.outcome()), "message": error.message(),
                "causes": error.causes(), "hints": error.hints(), "detail": error.details()});
            let _ = writeln!(std::io::stderr().lock(), "{line}");
            return;
        }
        let text = failed(error);
        let _ = match self.format {
            Format::Human => writeln!(anstream::stderr().lock(), "{text}"),
            _ => writeln!(anstream::StripStream::new(std::io::stderr()), "{text}"),
        };
    }
}

fn write_json(value: &impl Serialize) -> io::Result<()> {
    let line = serde_json::to_string(value)?;
    write_line(std::io::stdout().lock(), line)
}

fn write_line(mut to: impl Write, text: impl Display) -> io::Result<()> {
    writeln!(to, "{text}")?;
    to.flush()
}

/// Writes what is wrong with a command line, and what may help: clap shows the text of an error alone.
pub(crate) fn misuse(error: &clap::Error, code: i32) {
    let variable = std::env::var_os("SEALSTONE_OUTPUT");
    if error.use_stderr() && asks_for_json(std::env::args_os(), variable) {
        let text = error.to_string();
        let none: [&str; 0] = [];
        let line = json!({"event": "error", "outcome": Outcome::Usage.as_str(), "exitCode": code,
            "message": text.trim_end(), "causes": none, "hints": hints_of(error), "detail": null});
        let _ = writeln!(std::io::stderr().lock(), "{line}");
        return;
    }
    let _ = error.print();
    for hint in hints_of(error) {
        let _ = writeln!(std::io::stderr().lock(), "hint: {}", as_lines(hint));
    }
}

/// Whether a command line that makes no sense asks for JSON all the same.
fn asks_for_json(words: impl Iterator<Item = OsString>, variable: Option<OsString>) -> bool {
    const OPTION: &str = "--output";
    let mut asked = variable;
    let mut words = words.skip(1);
    while let Some(word) = words.next() {
        let Some(rest) = word.to_str().and_then(|word| word.strip_prefix(OPTION)) else {
            match word == "--" {
                true => break,
                false => continue,
            }
        };
        match rest.strip_prefix('=') {
            Some(value) => asked = Some(value.into()),
            None if rest.is_empty() => asked = words.next(),
            None => {}
        }
    }
    asked.is_some_and(|value| value == "json")
}

fn hints_of(error: &clap::Error) -> &[String] {
    let cause = std::error::Error::source(error);
    let cause = cause.and_then(|cause| cause.downcast_ref::<Error>());
    cause.map(Error::hints).unwrap_or_default()
}

/// A failure for people, in colours.
fn failed(error: &Error) -> String {
    let mut text = format!("\x1b[1;31merror\x1b[0m: {}", as_lines(error.message()));
    for cause in error.causes() {
        text.push_str(&format!("\n  because: {}", as_lines(&cause)));
    }
    for hint in error.hints() {
        text.push_str(&format!("\n\x1b[1;36mhint\x1b[0m: {}", as_lines(hint)));
    }
    text
}

/// Words of others in a line of a result. What a registry or a bundle calls something begins no line of its own.
pub(crate) fn in_line(text: &str) -> String {
    clean(text, 300)
}

/// A size as people read it: `1.5 MiB`.
pub(crate) fn readable_size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::Cli;
    use super::*;
    use clap::Parser as _;

    #[test]
    fn a_place_that_is_none_is_told_how_places_are_written() {
        for words in [
            ["sealstone", "push", "my-model", "h.example/x"],
            ["sealstone", "copy", "oci:bundle", "my-model"],
        ] {
            let error = Cli::try_parse_from(words).unwrap_err();
            let hints = hints_of(&error);
            assert!(
                hints.iter().any(|hint| hint.contains("oci:DIRECTORY")),
                "{hints:?}"
            );
        }
        let error = Cli::try_parse_from(["sealstone", "push"]).unwrap_err();
        assert!(hints_of(&error).is_empty());
    }

    #[test]
    fn what_cannot_be_understood_may_ask_for_json_all_the_same() {
        let asks = |words: &[&str], variable: Option<&str>| {
            let words = [&["sealstone"][..], words].concat();
            asks_for_json(
                words.into_iter().map(OsString::from),
                variable.map(OsString::from),
            )
        };
        for words in [
            &["--output", "json", "pusj"][..],
            &["push", "--output=json"],
            &["--output", "plain", "--output", "json"],
        ] {
            assert!(asks(words, None) && asks(words, Some("human")), "{words:?}");
        }
        for words in [
            &["push", "json"][..],
            &["--output", "plain"],
            &["--output=jsonl"],
            &["--outputs", "json"],
            &["run", "--", "--output", "json"],
            &["--output"],
        ] {
            assert!(!asks(words, None), "{words:?}");
        }
        assert!(asks(&["push"], Some("json")));
        assert!(!asks(&["push", "--output", "plain"], Some("json")));
    }

    #[test]
    fn a_result_is_lost_on_a_full_disk_and_not_on_a_reader_that_went_away() {
        let output = Output::new(Some(Format::Plain));
        let copy = output.clone();
        output.took(Ok(()));
        output.took(Err(ErrorKind::BrokenPipe.into()));
        assert!(!copy.has_lost());
        output.took(Err(ErrorKind::StorageFull.into()));
        assert!(copy.has_lost());
    }

    #[test]
    fn a_failure_quotes_and_is_not_spoken_for() {
        let error = Error::other("stage \"a\" failed\x1b[2J")
            .hint("it ended with:\n::error::x\n\x1b]0;t\x07y\nhint: z")
            .source("one\r::warning::two");
        let text = failed(&error);
        let due = "\x1b[1;31merror\x1b[0m: stage \"a\" failed\u{fffd}[2J\n  because: one\u{fffd}::warning::two\n\
            \x1b[1;36mhint\x1b[0m: it ended with:\n  | ::error::x\n  | \u{fffd}]0;t\u{fffd}y\n  | hint: z";
        assert_eq!(text, due);
    }

    #[test]
    fn sizes_are_readable() {
        assert_eq!(readable_size(0), "0 B");
        assert_eq!(readable_size(1023), "1023 B");
        assert_eq!(readable_size(1536), "1.5 KiB");
        assert_eq!(readable_size(u64::MAX), "16384.0 PiB");
    }
}
