//! Markdown, with text of others safe in it.

use sealstone_spec::recipe::left_to_fill;

/// A text in a table's cell or a sentence: on one line, no markup of its own.
pub(super) fn plain(text: &str) -> String {
    let mut done = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' => {
                done.push('\\');
                done.push(c);
            }
            c if c.is_control() => done.push(' '),
            c => done.push(c),
        }
    }
    done.trim().to_owned()
}

/// A text as code, on one line.
pub(super) fn code(text: &str) -> String {
    let text: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    // A run of backquotes longer than any in the text keeps it together; a bar would end a cell.
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let space = if text.starts_with('`') || text.ends_with('`') {
        " "
    } else {
        ""
    };
    format!("{fence}{space}{}{space}{fence}", text.replace('|', "\\|"))
}

/// A text as a word for sh.
pub(super) fn word(text: &str) -> String {
    let is_plain = !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_./:@%+=,-".contains(c));
    match is_plain {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

/// A block of commands that are run.
pub(super) fn commands(lines: &str) -> String {
    format!("```sh\n{}\n```\n", lines.trim_end())
}

/// A table.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut text = format!(
        "| {} |\n|{}\n",
        head.join(" | "),
        " --- |".repeat(head.len())
    );
    for row in rows {
        text.push_str(&format!("| {} |\n", row.join(" | ")));
    }
    text
}

/// The first lines of a document.
pub(super) fn head(title: &str, about: &str) -> String {
    format!(
        "# {title}\n\n{about}\n\n*Written by `sealstone docs` from recipe, lock and policy. Change those, not this file: \
         `sealstone docs --check` fails if it is stale.*\n"
    )
}

/// A reason, or that there is none.
pub(super) fn reason(why: Option<&str>) -> String {
    match why
        .map(str::trim)
        .filter(|why| !why.is_empty() && left_to_fill(why).is_none())
    {
        Some(why) => plain(why),
        None => "*nobody has said*".to_owned(),
    }
}
