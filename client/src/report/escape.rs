//! Text of others, safe where it is shown.
//!
//! Names of stages, paths, metrics and values come from bundles, and whoever makes a bundle chooses them.

use std::fmt::Write as _;

/// Whether a character moves the cursor, or changes what is seen without being seen.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// What is shown of a line: tabs stay.
fn visible(line: &str) -> String {
    let shown = |c: char| match c != '\t' && is_hidden(c) {
        true => '\u{fffd}',
        false => c,
    };
    line.chars().map(shown).collect()
}

/// A line of a log in which no build server finds a command, as long as it was.
///
/// GitHub obeys `::` at the beginning of a line, after spaces too, and as Azure what stands after `##[` or `##vso[`
/// anywhere in it.
pub(super) fn defused(line: &str) -> String {
    let line = line
        .replace("##[", "#\u{fffd}[")
        .replace("##vso[", "#\u{fffd}vso[");
    match line.trim_start().starts_with("::") {
        true => line.replacen("::", ":\u{fffd}", 1),
        false => line,
    }
}

/// Text that may be another's, for a terminal or the log of a build server: without control characters and invisible
/// marks but for tabs, each line after the first begins with a mark of ours, and nothing in it is a command.
///
/// ```
/// use sealstone::report::as_lines;
/// assert_eq!(as_lines("it said: a\u{1b}[2J\n::error::b"), "it said: a\u{fffd}[2J\n  | ::error::b");
/// assert_eq!(as_lines("::error::b"), ":\u{fffd}error::b");
/// ```
pub fn as_lines(text: &str) -> String {
    let mut whole = String::with_capacity(text.len());
    for (index, line) in text.lines().map(visible).enumerate() {
        let line = match index {
            0 => line,
            _ => format!("\n  | {line}"),
        };
        whole.push_str(&defused(&line));
    }
    whole
}

/// Lines of this program in which words of others may stand, for the same places: each stays where it is, without
/// control characters and invisible marks but for tabs, and none is a command. Whether a line is one of this program,
/// nobody can tell here: words of others go through [`clean`] before they are put into it.
///
/// ```
/// use sealstone::report::as_page;
/// assert_eq!(as_page("type  a\u{1b}[2J\n\nsize  1"), "type  a\u{fffd}[2J\n\nsize  1");
/// ```
pub fn as_page(text: &str) -> String {
    let lines: Vec<String> = text
        .split('\n')
        .map(|line| defused(&visible(line)))
        .collect();
    lines.join("\n")
}

/// Words of others within a line: without control characters and invisible marks, at most `longest` characters.
///
/// ```
/// use sealstone::report::clean;
/// assert_eq!(clean("a\nverified \u{202e}b", 20), "a\u{fffd}verified \u{fffd}b");
/// ```
pub fn clean(text: &str, longest: usize) -> String {
    let mut shown: String = text
        .chars()
        .take(longest)
        .map(|c| if is_hidden(c) { '\u{fffd}' } else { c })
        .collect();
    if text.chars().nth(longest).is_some() {
        shown.pop();
        shown.push('…');
    }
    shown
}

/// For XML and HTML, in text and in attributes.
pub(crate) fn xml(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(c),
            // XML 1.0 has no way to write the others.
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// For a cell of a Markdown table: no markup, no links, no mentions, no line breaks.
pub(crate) fn markdown(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in clean(text, 160).chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            // A zero-width joiner would do as well; an entity shows in every renderer.
            '@' | '#' | ':' => {
                let _ = write!(escaped, "&#{};", u32::from(c));
            }
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '(' | ')' | '|' | '~' | '!' => {
                escaped.push('\\');
                escaped.push(c);
            }
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_moves_the_cursor_or_opens_a_tag() {
        assert_eq!(clean("a\u{1b}[2Jb\u{202e}", 20), "a\u{fffd}[2Jb\u{fffd}");
        assert_eq!(clean("abcdef", 4), "abc…");
        assert_eq!(
            xml("<a b=\"c\">&'\u{0}"),
            "&lt;a b=&quot;c&quot;&gt;&amp;&#39;\u{fffd}"
        );
        assert_eq!(markdown("a|b\n@x"), "a\\|b\u{fffd}&#64;x");
    }

    #[test]
    fn no_line_of_another_is_a_command_or_begins_a_line() {
        let said = "FAILED: x\n::add-mask::y\r\n  ::error::z\r::error::w\n##[group]a ##vso[task.complete]\u{1b}]0;t\u{7}\ttab";
        let due = "FAILED: x\n  | ::add-mask::y\n  |   ::error::z\u{fffd}::error::w\n  | #\u{fffd}[group]a #\u{fffd}vso[task.complete]\u{fffd}]0;t\u{fffd}\ttab";
        assert_eq!(as_lines(said), due);
        assert_eq!(as_lines(" \t::error::x"), " \t:\u{fffd}error::x");
        assert_eq!(as_lines("a\u{2028}b\u{85}c"), "a\u{fffd}b\u{fffd}c");
        assert_eq!(as_lines("####[x"), "###\u{fffd}[x");
        assert_eq!(as_lines("plain: text\n"), "plain: text");
    }

    #[test]
    fn a_page_keeps_its_lines_and_nothing_else_that_is_not_seen() {
        let page = "a\tb\n\n  c\x1b[2K\u{202e}d\r\n::error::x\n";
        let due = "a\tb\n\n  c\u{fffd}[2K\u{fffd}d\u{fffd}\n:\u{fffd}error::x\n";
        assert_eq!(as_page(page), due);
        for mark in ['\u{61c}', '\u{202a}', '\u{202e}', '\u{2066}', '\u{2069}'] {
            assert_eq!(clean(&format!("a{mark}b"), 9), "a\u{fffd}b");
        }
    }

    proptest! {
        #[test]
        fn notes_hold_no_command(text in "[:# \\[\ta\r\n\u{1b}\u{2028}vso]{0,40}") {
            let shown = as_lines(&text);
            let is_raw = shown.contains(['\u{1b}', '\r', '\u{2028}']);
            prop_assert!(!is_raw);
            for line in shown.lines() {
                prop_assert!(!line.trim_start().starts_with("::"), "{line:?}");
                prop_assert!(!line.contains("##[") && !line.contains("##vso["), "{line:?}");
            }
        }

        #[test]
        fn markup_never_survives(text in "\\PC{0,60}") {
            prop_assert!(!xml(&text).contains(['<', '>', '"', '\'']));
            prop_assert!(!markdown(&text).contains(['<', '>', '\n', '@']));
            prop_assert!(clean(&text, 10).chars().count() <= 10);
        }
    }
}
