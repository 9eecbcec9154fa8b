//! Signed notes (C2SP signed-note): a text, and lines that sign it.
//!
//! Owns the form. Which signatures count, and what the text means, is for others: nothing here has been
//! checked under any key.

use super::LogError;
use data_encoding::BASE64;
use std::fmt;

/// Longest note that is read, in bytes.
pub const MAX_NOTE_BYTES: usize = 64 * 1024;
/// Most signature lines that are read.
pub const MAX_SIGNATURES: usize = 64;

/// Begins a signature line: an em dash and a space.
const MARK: &str = "\u{2014} ";

/// One line: who signed, with which key, and the signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteSignature {
    /// The key's name.
    pub name: String,
    /// The first bytes of the key's hash.
    pub key_id: [u8; 4],
    /// The signature, in the form of the key's type.
    pub signature: Vec<u8>,
}

impl NoteSignature {
    /// Reads a line, with or without its newline.
    ///
    /// # Errors
    /// If it is not in the form of signed notes.
    pub fn parse(line: &str) -> Result<NoteSignature, LogError> {
        let bad = |problem| LogError::Note(problem);
        let line = line.strip_suffix('\n').unwrap_or(line);
        let rest = line
            .strip_prefix(MARK)
            .ok_or(bad("a signature line does not begin with an em dash"))?;
        let (name, encoded) = rest
            .split_once(' ')
            .ok_or(bad("a signature line has no name and signature"))?;
        if !is_key_name(name) {
            return Err(bad("a signature line has a name that is none"));
        }
        let bytes = BASE64
            .decode(encoded.as_bytes())
            .map_err(|_| bad("a signature is not strict base64"))?;
        match bytes.split_first_chunk::<4>() {
            Some((key_id, signature)) if !signature.is_empty() => Ok(NoteSignature {
                name: name.to_owned(),
                key_id: *key_id,
                signature: signature.to_vec(),
            }),
            _ => Err(bad("a signature is shorter than a key id")),
        }
    }
}

impl fmt::Display for NoteSignature {
    /// The line, with its newline.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&self.key_id[..], &self.signature].concat();
        writeln!(f, "{MARK}{} {}", self.name, BASE64.encode(&bytes))
    }
}

/// Whether a text can name a key: not empty, no white space, no plus, no control characters.
pub fn is_key_name(name: &str) -> bool {
    !name.is_empty()
        && !name
            .chars()
            .any(|c| c == '+' || c.is_whitespace() || c.is_control())
}

/// A text with the lines that sign it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<NoteSignature>,
}

impl Note {
    /// Puts a note together. `text` ends with a newline.
    pub fn new(text: String, signatures: Vec<NoteSignature>) -> Note {
        debug_assert!(text.ends_with('\n'));
        Note { text, signatures }
    }

    /// Reads a note.
    ///
    /// # Errors
    /// If it is not in the form of signed notes, or too long.
    pub fn parse(bytes: &[u8]) -> Result<Note, LogError> {
        let bad = |problem| LogError::Note(problem);
        if bytes.len() > MAX_NOTE_BYTES {
            return Err(bad("it is too long"));
        }
        let whole = std::str::from_utf8(bytes).map_err(|_| bad("it is not UTF-8"))?;
        if whole.chars().any(|c| c < ' ' && c != '\n') {
            return Err(bad("it holds a control character"));
        }
        let split = whole
            .rfind("\n\n")
            .ok_or(bad("it has no empty line before its signatures"))?;
        let (text, lines) = (&whole[..=split], &whole[split + 2..]);
        if lines.is_empty() || !lines.ends_with('\n') {
            return Err(bad("it does not end with whole signature lines"));
        }
        let signatures: Vec<NoteSignature> = lines
            .split_terminator('\n')
            .map(NoteSignature::parse)
            .collect::<Result<_, _>>()?;
        if signatures.len() > MAX_SIGNATURES {
            return Err(bad("it has too many signatures"));
        }
        Ok(Note::new(text.to_owned(), signatures))
    }

    /// What is signed, with its last newline.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The lines that sign it, in order.
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// Adds a line, unless the very same is there.
    pub fn add(&mut self, signature: NoteSignature) {
        if !self.signatures.contains(&signature) {
            self.signatures.push(signature);
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|line| line.fmt(f))
    }
}
