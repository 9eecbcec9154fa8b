//! The program's own log on standard error, in the form in which everything else is written there.
//!
//! Owns the form of its lines; what is logged may quote others. Invariants: in JSON each line is an object; no control
//! sequence of others reaches a terminal, and colours reach only a terminal that somebody looks at.

use super::output::Format;
use anstream::{AutoStream, ColorChoice};
use sealstone::report::as_lines;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;
use std::io::IsTerminal as _;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Starts the log, with more of it for each `verbose`.
pub(super) fn start(verbose: u8, format: Format) {
    let default = match verbose {
        0 => "warn",
        1 => "sealstone=debug",
        _ => "sealstone=trace,reqwest=debug",
    };
    let filter =
        EnvFilter::try_from_env("SEALSTONE_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .event_format(Lines::beside(format))
        .init();
}

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lines {
    Json,
    Plain,
    Coloured,
}

impl Lines {
    /// Those that go with what else is written in this format.
    fn beside(format: Format) -> Lines {
        let stderr = std::io::stderr();
        let is_looked_at =
            stderr.is_terminal() && AutoStream::choice(&stderr) != ColorChoice::Never;
        match format {
            Format::Json => Lines::Json,
            Format::Human if is_looked_at => Lines::Coloured,
            Format::Human | Format::Plain => Lines::Plain,
        }
    }

    fn line(self, level: Level, said: &Said) -> String {
        if self == Lines::Json {
            let level = level.as_str().to_ascii_lowercase();
            return json!({"event": "log", "level": level, "message": said.message,
                "fields": said.fields})
            .to_string();
        }
        let mut text = said.message.clone();
        for (name, value) in &said.fields {
            text.push_str(&format!(" {name}={value}"));
        }
        let text = as_lines(&text);
        let name = level.as_str();
        if self == Lines::Plain {
            return format!("{name:>5} {text}");
        }
        let colour = match level {
            Level::ERROR => 31,
            Level::WARN => 33,
            Level::INFO => 32,
            _ => 34,
        };
        format!("\x1b[{colour}m{name:>5}\x1b[0m {text}")
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut said = Said::default();
        event.record(&mut said);
        writeln!(writer, "{}", self.line(*event.metadata().level(), &said))
    }
}

/// What an event says.
#[derive(Debug, Default)]
struct Said {
    message: String,
    fields: BTreeMap<String, Value>,
}

impl Said {
    fn add(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            // Where in its source a library stands that logs in another way.
            (name, _) if name.starts_with("log.") => {}
            (name, value) => {
                self.fields.insert(name.to_owned(), value);
            }
        }
    }
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What stands on standard error when somebody else's words are logged.
    fn written(lines: Lines) -> String {
        let kept = Kept::default();
        let writer = kept.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(Level::TRACE)
            .with_writer(move || writer.clone())
            .event_format(lines)
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let theirs = "\x1b[2J\n::error::x\u{202e}";
            tracing::warn!(key.file = "a\"b", count = 3, "it said {theirs}");
        });
        let bytes = kept.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn each_line_is_one_of_its_format() {
        let text = written(Lines::Json);
        let value: Value = serde_json::from_str(text.strip_suffix('\n').unwrap()).unwrap();
        assert_eq!(text.lines().count(), 1);
        assert_eq!(
            value,
            json!({"event": "log", "level": "warn", "message": "it said \x1b[2J\n::error::x\u{202e}",
                "fields": {"key.file": "a\"b", "count": 3}})
        );
        let shown = "it said \u{fffd}[2J\n  | ::error::x\u{fffd} count=3 key.file=\"a\\\"b\"\n";
        assert_eq!(written(Lines::Plain), format!(" WARN {shown}"));
        assert_eq!(
            written(Lines::Coloured),
            format!("\x1b[33m WARN\x1b[0m {shown}")
        );
    }

    /// Tests have no terminal to colour.
    #[test]
    fn only_a_terminal_is_coloured() {
        if io::stderr().is_terminal() {
            return;
        }
        assert_eq!(Lines::beside(Format::Human), Lines::Plain);
        assert_eq!(Lines::beside(Format::Plain), Lines::Plain);
        assert_eq!(Lines::beside(Format::Json), Lines::Json);
    }
}
