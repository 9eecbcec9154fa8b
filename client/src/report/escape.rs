//! Text of others, safe where it is shown.
//!
//! Names of stages, paths, metrics and values come from bundles, and whoever makes a bundle chooses them.

use std::fmt::Write as _;

/// Without control characters and invisible marks, at most `longest` characters.
pub(crate) fn clean(text: &str, longest: usize) -> String {
    let is_hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
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

    proptest! {
        #[test]
        fn markup_never_survives(text in "\\PC{0,60}") {
            prop_assert!(!xml(&text).contains(['<', '>', '"', '\'']));
            prop_assert!(!markdown(&text).contains(['<', '>', '\n', '@']));
            prop_assert!(clean(&text, 10).chars().count() <= 10);
        }
    }
}
