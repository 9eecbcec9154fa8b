//! What is printed and where: results to standard output, notes and failures to standard error.
//!
//! Invariant: in JSON, standard output holds one object a line and nothing else.

use super::exit;
use clap::ValueEnum;
use sealstone::Error;
use serde::Serialize;
use serde_json::json;
use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _};

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
        Output { format }
    }

    /// The format.
    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// Writes a result: `value` as one line of JSON, or `text` with a newline.
    pub(crate) fn result(&self, value: &impl Serialize, text: impl Display) {
        // A reader that went away (`| head`) is not this command's failure.
        let _ = match self.format {
            Format::Json => match serde_json::to_string(value) {
                Ok(line) => writeln!(std::io::stdout().lock(), "{line}"),
                Err(error) => writeln!(
                    std::io::stderr().lock(),
                    "error: cannot write JSON: {error}"
                ),
            },
            Format::Human => writeln!(anstream::stdout().lock(), "{text}"),
            Format::Plain => writeln!(anstream::StripStream::new(std::io::stdout()), "{text}"),
        };
    }

    /// Writes a note about what goes on.
    pub(crate) fn note(&self, text: impl Display) {
        let _ = match self.format {
            Format::Json => {
                let line = json!({"event": "note", "message": text.to_string()});
                writeln!(std::io::stderr().lock(), "{line}")
            }
            Format::Human => writeln!(anstream::stderr().lock(), "{text}"),
            Format::Plain => writeln!(anstream::StripStream::new(std::io::stderr()), "{text}"),
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
        let mut text = format!("\x1b[1;31merror\x1b[0m: {}", error.message());
        for cause in error.causes() {
            text.push_str(&format!("\n  because: {cause}"));
        }
        for hint in error.hints() {
            text.push_str(&format!("\n\x1b[1;36mhint\x1b[0m: {hint}"));
        }
        let _ = match self.format {
            Format::Human => writeln!(anstream::stderr().lock(), "{text}"),
            _ => writeln!(anstream::StripStream::new(std::io::stderr()), "{text}"),
        };
    }
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
    use super::*;

    #[test]
    fn sizes_are_readable() {
        assert_eq!(readable_size(0), "0 B");
        assert_eq!(readable_size(1023), "1023 B");
        assert_eq!(readable_size(1536), "1.5 KiB");
        assert_eq!(readable_size(u64::MAX), "16384.0 PiB");
    }
}
