//! Tests, and parts of tests, that cannot be made where they run: said, counted, and some of them failures.
//!
//! Owns the rule. What `tests/setup/install.sh` brings is missing because somebody forgot it, so where changes are judged
//! ([`STRICT`]) its absence fails. What the machine itself has or permits (namespaces, mounts, control groups, other
//! file systems, programs that set-up does not bring) is counted and never fails.
//! Does not own: finding anything. The client's unit tests use this file as well, so it needs the standard library only.
//! Invariant: no test returns early without a line from here, past the test runner's capture and in the list that
//! `make unit` prints.

use std::io::Write as _;

/// With one of these set to anything but nothing, what set-up should have brought is demanded. `.ci/run` sets the second;
/// not the first, which would make the client under test replay everything twice.
pub const STRICT: [&str; 2] = ["CI", "SEALSTONE_STRICT"];

/// Counts what cannot be tested because something is missing that set-up brings.
///
/// # Panics
/// Where one of [`STRICT`] is set.
pub fn not_installed(what: &str) {
    let strict = STRICT
        .into_iter()
        .find(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
    if let Some(name) = strict {
        panic!("{what} is missing, and {name} is set: tests/setup/install.sh brings it");
    }
    count(&format!("{what} is missing"));
}

/// Counts what cannot be tested because of the machine; the text says what it lacks or forbids.
pub fn not_possible(what: &str) {
    count(what);
}

fn count(what: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let line = format!("skipped: {test}: {what}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(list) = std::env::var_os("SEALSTONE_SKIPPED")
        && let Ok(mut list) = std::fs::File::options()
            .append(true)
            .create(true)
            .open(list)
    {
        let _ = list.write_all(line.as_bytes());
    }
}
