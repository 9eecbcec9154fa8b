//! What the text of a Python script says of files: paths in quotes, and the calls that they stand in.
//!
//! Reads tokens, not the language: constants and joined paths are followed one step, f-strings and computed
//! names are not. Never runs anything. Invariant: any text is read in time proportional to its length.

use sealstone_spec::recipe::StageKind;
use std::collections::{BTreeMap, BTreeSet};

/// What a script says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Script {
    /// Paths in calls that read.
    pub(super) reads: BTreeSet<String>,
    /// Paths in calls that write.
    pub(super) writes: BTreeSet<String>,
    /// Names of modules that it imports.
    pub(super) imports: BTreeSet<String>,
    /// Whether it does something when it is run.
    pub(super) is_program: bool,
    /// Whether nothing stands at the left margin but imports, definitions and constants.
    pub(super) only_defines: bool,
    /// Whether it names an accelerator.
    pub(super) names_cuda: bool,
    fits: bool,
    measures: bool,
    writes_tables: bool,
}

impl Script {
    /// A script of another language, of which nothing is read.
    pub(super) fn unread() -> Script {
        Script {
            is_program: true,
            ..Script::default()
        }
    }

    /// What it is for, by the calls in it.
    pub(super) fn looks_like(&self) -> Option<StageKind> {
        match (self.fits, self.measures, self.writes_tables) {
            (true, _, _) => Some(StageKind::Train),
            (_, true, _) => Some(StageKind::Evaluate),
            (_, _, true) => Some(StageKind::Prepare),
            _ => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Name(String),
    Text(String),
    /// A text with values in it.
    Computed,
    Sign(char),
    /// A new line at this depth of indentation.
    Line(usize),
}

/// Longest path, also of a constant or one that is joined; a longer text is none.
const MAX_PATH: usize = 300;
/// Most parts that are joined: what has more is a calculation, and reading it from each of its parts would take the
/// square of its length.
const MAX_PARTS: usize = 32;

const READING: [&str; 26] = [
    "read_csv",
    "read_json",
    "read_parquet",
    "read_table",
    "read_excel",
    "read_feather",
    "read_pickle",
    "read_text",
    "read_bytes",
    "load",
    "loadtxt",
    "genfromtxt",
    "fromfile",
    "load_file",
    "load_model",
    "load_npz",
    "safe_open",
    "from_pretrained",
    "load_from_disk",
    "imread",
    "scan_csv",
    "read_hdf",
    "load_svmlight_file",
    "iterdir",
    "glob",
    "DataFile",
];
const WRITING: [&str; 22] = [
    "to_csv",
    "to_json",
    "to_parquet",
    "to_excel",
    "to_feather",
    "to_pickle",
    "to_hdf",
    "write_text",
    "write_bytes",
    "save",
    "savez",
    "savez_compressed",
    "savetxt",
    "tofile",
    "save_file",
    "save_model",
    "save_pretrained",
    "save_to_disk",
    "savefig",
    "imwrite",
    "save_npz",
    "write_csv",
];
/// Calls whose path is not the first argument.
const DUMPING: [&str; 1] = ["dump"];

/// Reads a script that lies at `path`.
pub(super) fn read(text: &str, path: &str) -> Script {
    let tokens = tokens(text);
    let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
    let mut reader = Reader {
        tokens: &tokens,
        directory,
        constants: BTreeMap::new(),
    };
    let mut script = Script {
        only_defines: true,
        ..Script::default()
    };
    for (at, token) in tokens.iter().enumerate() {
        if let Token::Line(0) = token {
            reader.statement(at + 1, &mut script);
        }
        reader.call(at, &mut script);
    }
    script.names_cuda = text.contains("cuda");
    script
}

struct Reader<'a> {
    tokens: &'a [Token],
    directory: &'a str,
    constants: BTreeMap<String, String>,
}

impl Reader<'_> {
    fn name(&self, at: usize) -> Option<&str> {
        match self.tokens.get(at) {
            Some(Token::Name(name)) => Some(name),
            _ => None,
        }
    }

    fn is(&self, at: usize, sign: char) -> bool {
        self.tokens.get(at) == Some(&Token::Sign(sign))
    }

    /// A statement at the left margin.
    fn statement(&mut self, at: usize, script: &mut Script) {
        let Some(first) = self.name(at) else {
            return;
        };
        match first {
            "import" | "from" => {
                let mut at = at + 1;
                let is_from = first == "from";
                while let Some(name) = self.name(at) {
                    if name == "import" {
                        break;
                    }
                    let mut full = name.to_owned();
                    while self.is(at + 1, '.') && self.name(at + 2).is_some() {
                        full.push('/');
                        full.push_str(self.name(at + 2).unwrap_or_default());
                        at += 2;
                    }
                    script.imports.insert(full);
                    if is_from || !self.is(at + 1, ',') {
                        break;
                    }
                    at += 2;
                }
            }
            "def" | "class" | "async" => {}
            "if" if self.name(at + 1) == Some("__name__") => script.is_program = true,
            _ => {
                let assigns = self.is(at + 1, '=') && !self.is(at + 2, '=');
                let value = assigns.then(|| self.path(at + 2)).flatten();
                match value {
                    Some((path, _)) => {
                        let name = first.to_owned();
                        self.constants.insert(name, path);
                    }
                    None if assigns && !self.calls(at + 2) => {}
                    None => {
                        script.is_program = true;
                        script.only_defines = false;
                    }
                }
            }
        }
    }

    /// Whether the rest of the line calls something.
    fn calls(&self, mut at: usize) -> bool {
        while let Some(token) = self.tokens.get(at) {
            match token {
                Token::Line(_) => return false,
                Token::Sign('(') => return true,
                _ => at += 1,
            }
        }
        false
    }

    /// A path from `at` on, and where it ends: texts and constants, joined.
    fn path(&self, at: usize) -> Option<(String, usize)> {
        let (mut path, mut at) = self.part(at, 0)?;
        let mut parts = 1;
        while self.is(at, '/') {
            let (more, next) = self.part(at + 1, 0)?;
            parts += 1;
            path = join(&path, &more);
            if parts > MAX_PARTS || path.len() > MAX_PATH {
                return None;
            }
            at = next;
        }
        Some((path, at))
    }

    fn part(&self, at: usize, depth: usize) -> Option<(String, usize)> {
        if depth > 8 {
            return None;
        }
        match self.tokens.get(at)? {
            Token::Text(text) if text.len() > MAX_PATH => None,
            // Texts side by side are one.
            Token::Text(text) => match self.tokens.get(at + 1) {
                Some(Token::Text(_) | Token::Computed) => None,
                _ => Some((text.clone(), at + 1)),
            },
            Token::Name(name) => match name.as_str() {
                "Path" | "PurePath" if self.is(at + 1, '(') => self.of_path(at, depth),
                "pathlib" if self.is(at + 1, '.') => self.part(at + 2, depth + 1),
                "str" if self.is(at + 1, '(') => {
                    let (path, next) = self.part(at + 2, depth + 1)?;
                    self.is(next, ')').then_some((path, next + 1))
                }
                "os" if self.name(at + 2) == Some("path") && self.name(at + 4) == Some("join") => {
                    let mut next = at + 6;
                    let mut whole = String::new();
                    for _ in 0..MAX_PARTS {
                        let (path, after) = self.part(next, depth + 1)?;
                        whole = join(&whole, &path);
                        if whole.len() > MAX_PATH {
                            return None;
                        }
                        if self.is(after, ')') {
                            return Some((whole, after + 1));
                        }
                        if !self.is(after, ',') {
                            return None;
                        }
                        next = after + 1;
                    }
                    None
                }
                constant => {
                    let path = self.constants.get(constant)?;
                    let calls = self.is(at + 1, '(');
                    (!calls).then(|| (path.clone(), at + 1))
                }
            },
            _ => None,
        }
    }

    /// `Path("x")`, and `Path(__file__)` with what follows.
    fn of_path(&self, at: usize, depth: usize) -> Option<(String, usize)> {
        if self.name(at + 2) == Some("__file__") && self.is(at + 3, ')') {
            let mut directory = format!("{}/x", self.directory);
            let mut next = at + 4;
            while self.is(next, '.') {
                match self.name(next + 1)? {
                    "resolve" | "absolute" => next += 4,
                    "parent" => {
                        directory = directory
                            .rsplit_once('/')
                            .map_or(String::new(), |(up, _)| up.to_owned());
                        next += 2;
                    }
                    _ => break,
                }
            }
            return Some((directory.trim_matches('/').to_owned(), next));
        }
        let (path, next) = self.part(at + 2, depth + 1)?;
        self.is(next, ')').then_some((path, next + 1))
    }

    /// A call at `at`: its name there, its arguments after.
    fn call(&self, at: usize, script: &mut Script) {
        // `"x.csv".open(...)`, `PATH.read_text()`. What stands behind a slash is a part of a path, and no path.
        let is_part = at > 0 && self.is(at - 1, '/');
        let path = (!is_part).then(|| self.path(at)).flatten();
        if let Some((path, next)) = path
            && self.is(next, '.')
            && let Some(method) = self.name(next + 1)
            && self.is(next + 2, '(')
        {
            match method {
                "open" => self.opened(path, next + 3, script),
                "write_text" | "write_bytes" => keep(&mut script.writes, path),
                "read_text" | "read_bytes" | "glob" | "iterdir" => keep(&mut script.reads, path),
                _ => {}
            }
            return;
        }
        let Some(name) = self.name(at).filter(|_| self.is(at + 1, '(')) else {
            return;
        };
        match name {
            "fit" | "backward" | "fit_transform" | "partial_fit" => {
                script.fits |= name != "fit_transform"
            }
            "accuracy_score" | "roc_auc_score" | "log_loss" | "f1_score" | "mean_squared_error"
            | "score" => {
                script.measures = true;
            }
            "to_csv" | "to_parquet" | "train_test_split" => script.writes_tables = true,
            _ => {}
        }
        if name == "open" {
            // As a method of a path it was read above; of these modules it is the function.
            let is_method = at > 0 && self.is(at - 1, '.');
            let module = at.checked_sub(2).and_then(|at| self.name(at));
            let opens = ["io", "gzip", "bz2", "lzma", "codecs", "os", "fsspec"];
            if is_method && !module.is_some_and(|name| opens.contains(&name)) {
                return;
            }
            if let Some((path, next)) = self.path(at + 2) {
                self.opened(path, next + 1, script);
            }
            return;
        }
        if ["rename", "replace", "move"].contains(&name) {
            let paths = self.arguments(at + 2);
            if let [from, to] = paths.as_slice()
                && script.writes.remove(from)
            {
                keep(&mut script.writes, to.clone());
            }
            return;
        }
        let (reads, writes, dumps) = (
            READING.contains(&name),
            WRITING.contains(&name),
            DUMPING.contains(&name),
        );
        if !(reads || writes || dumps) {
            return;
        }
        for path in self.arguments(at + 2) {
            if !path.contains(['.', '/']) {
                continue;
            }
            match reads {
                true => keep(&mut script.reads, path),
                false => keep(&mut script.writes, path),
            }
        }
    }

    /// The mode of `open` stands from `at` on.
    fn opened(&self, path: String, at: usize, script: &mut Script) {
        let mut mode = "r";
        for token in self.tokens.iter().skip(at).take(4) {
            match token {
                Token::Text(text) if text.len() <= 3 => {
                    mode = text;
                    break;
                }
                Token::Sign(')') | Token::Line(_) => break,
                _ => {}
            }
        }
        match mode.contains(['w', 'a', 'x']) {
            true => keep(&mut script.writes, path),
            false => keep(&mut script.reads, path),
        }
    }

    /// The arguments of a call that are paths.
    fn arguments(&self, mut at: usize) -> Vec<String> {
        let mut depth = 0;
        let mut paths = Vec::new();
        let mut is_start = true;
        for _ in 0..200 {
            let Some(token) = self.tokens.get(at) else {
                break;
            };
            if is_start && depth == 0 {
                let named = self.name(at).is_some() && self.is(at + 1, '=');
                let from = if named { at + 2 } else { at };
                if let Some((path, next)) = self.path(from)
                    && (self.is(next, ',') || self.is(next, ')'))
                {
                    paths.push(path);
                }
            }
            is_start = false;
            match token {
                Token::Sign('(' | '[' | '{') => depth += 1,
                Token::Sign(')' | ']' | '}') if depth == 0 => break,
                Token::Sign(')' | ']' | '}') => depth -= 1,
                Token::Sign(',') => is_start = true,
                _ => {}
            }
            at += 1;
        }
        paths
    }
}

fn join(before: &str, after: &str) -> String {
    let before = before.trim_end_matches('/');
    match before {
        "" | "." => after.to_owned(),
        _ => format!("{before}/{after}"),
    }
}

/// Keeps a path inside the project; addresses and places elsewhere are no files of it.
fn keep(paths: &mut BTreeSet<String>, path: String) {
    let path = path.strip_prefix("./").unwrap_or(&path);
    let fits = !path.is_empty()
        && path.len() <= MAX_PATH
        && !path.starts_with('/')
        && !path.contains("://")
        && !path.contains(['*', '{', '\n', '\0'])
        && path.split('/').all(|part| part != "..");
    if fits {
        paths.insert(path.to_owned());
    }
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = vec![Token::Line(0)];
    let mut rest = text;
    let mut depth = 0usize;
    while let Some(c) = rest.chars().next() {
        if c == '\n' {
            let after = &rest[1..];
            let line = after.trim_start_matches([' ', '\t']);
            if depth == 0 && !line.starts_with(['\n', '\r', '#']) {
                tokens.push(Token::Line(after.len() - line.len()));
            }
            rest = line;
        } else if c == '#' {
            rest = rest.find('\n').map_or("", |end| &rest[end..]);
        } else if c == '\\' {
            rest = rest[1..].strip_prefix('\n').unwrap_or(&rest[1..]);
        } else if c == '"' || c == '\'' {
            let (token, after) = quoted(rest, c, false);
            tokens.push(token);
            rest = after;
        } else if c.is_alphabetic() || c == '_' {
            let end = rest
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            let prefix = word.to_ascii_lowercase();
            let is_prefix = word.len() <= 2 && prefix.chars().all(|c| "rbuf".contains(c));
            match after.chars().next() {
                Some(quote @ ('"' | '\'')) if is_prefix => {
                    let (token, after) = quoted(after, quote, prefix.contains(['f', 'b']));
                    tokens.push(token);
                    rest = after;
                }
                _ => {
                    tokens.push(Token::Name(word.to_owned()));
                    rest = after;
                }
            }
        } else {
            match c {
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if !c.is_whitespace() {
                tokens.push(Token::Sign(c));
            }
            rest = &rest[c.len_utf8()..];
        }
    }
    tokens
}

/// A text in quotes at the start of `rest`, and what comes after it.
fn quoted(rest: &str, quote: char, is_computed: bool) -> (Token, &str) {
    let triple: String = [quote; 3].iter().collect();
    let (fence, body) = match rest.strip_prefix(triple.as_str()) {
        Some(body) => (triple.as_str(), body),
        None => (&triple[..1], &rest[1..]),
    };
    let mut escaped = false;
    let mut plain = true;
    for (index, c) in body.char_indices() {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
            plain = false;
        } else if body[index..].starts_with(fence) {
            let text = &body[..index];
            let token = match is_computed || !plain {
                true => Token::Computed,
                false => Token::Text(text.to_owned()),
            };
            return (token, &body[index + fence.len()..]);
        } else if c == '\n' && fence.len() == 1 {
            return (Token::Computed, &body[index..]);
        }
    }
    (Token::Computed, "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::{Duration, Instant};

    fn of(set: &BTreeSet<String>) -> Vec<&str> {
        set.iter().map(String::as_str).collect()
    }

    const TEXT: &str = r#"
"""Reads "nothing.csv"."""
import json, os
from pathlib import Path
import features
from lib.parts import x  # "comment.csv"

ROOT = Path(__file__).resolve().parent
RAW = ROOT / "data" / "raw.csv"
OUT = os.path.join("work", "train.npy")
THREADS = 4

def main():
    frame = pd.read_csv(RAW, sep=",")
    np.save(OUT, frame)
    joblib.dump(model, "model/model.joblib")
    with open("metrics.json", "w") as f:
        json.dump({"auc": 1}, f)
    with open('notes.txt') as f, Path("log.txt").open("a") as g:
        pass
    text = Path("config.json").read_text()
    frame.to_csv(f"out/{name}.csv")
    requests.get("https://host/x.csv")
    np.save("work/part.npy", x)
    os.rename("work/part.npy", "work/whole.npy")
    np.load("/abs/x.npy")

if __name__ == "__main__":
    main()
"#;

    #[test]
    fn calls_say_what_is_read_and_written() {
        let script = read(TEXT, "prepare.py");
        assert_eq!(
            of(&script.reads),
            ["config.json", "data/raw.csv", "notes.txt"]
        );
        assert_eq!(
            of(&script.writes),
            [
                "log.txt",
                "metrics.json",
                "model/model.joblib",
                "work/train.npy",
                "work/whole.npy"
            ]
        );
        assert_eq!(
            of(&script.imports),
            ["features", "json", "lib/parts", "os", "pathlib"]
        );
        assert!(script.is_program && script.only_defines);
        let below = read(TEXT, "src/prepare.py");
        assert!(below.reads.contains("src/data/raw.csv"));
    }

    #[test]
    fn what_is_done_at_the_margin_makes_a_program() {
        assert!(!read("X = 1\ndef f():\n    fit(x)\n", "a.py").is_program);
        assert!(read("X = load()\n", "a.py").is_program);
        let fits = read("m = M().fit(x)\nprint(m)\n", "a.py");
        assert_eq!(fits.looks_like(), Some(StageKind::Train));
    }

    #[test]
    fn paths_of_many_parts_are_none() {
        for (parts, is_path) in [(MAX_PARTS, true), (MAX_PARTS + 1, false)] {
            let words = vec!["\"a\""; parts];
            for text in [
                format!("open({})\n", words.join("/")),
                format!("open(os.path.join({}))\n", words.join(", ")),
            ] {
                assert_eq!(!read(&text, "x.py").reads.is_empty(), is_path, "{text}");
            }
        }
    }

    /// As long as a script that is read at all. What takes the square of its length would take hours.
    #[test]
    fn a_long_script_is_read_in_time_proportional_to_its_length() {
        let words = vec!["\"a\""; 1 << 18];
        for text in [
            format!("x = {}\n", words.join("/")),
            format!("x = os.path.join({})\n", words.join(",")),
            "os.path.join(".repeat(1 << 16),
            format!("x = Path(__file__){}\n", ".parent".repeat(1 << 17)),
            format!("x = \"{}\"\n{}", "a".repeat(1 << 19), "x/".repeat(1 << 18)),
            "load(".repeat(1 << 17),
        ] {
            let began = Instant::now();
            read(&text, "a/b.py");
            let took = began.elapsed();
            assert!(took < Duration::from_secs(10), "{took:?}: {}", &text[..40]);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "[a-z(\"'\\\\\n #=./,)]{0,200}") {
            read(&text, "a/b.py");
        }
    }
}
