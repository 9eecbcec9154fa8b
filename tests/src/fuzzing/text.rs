//! Targets for texts in headers, paths and command lines.
//!
//! Each grammar is stated here a second time, in another way, and both must agree on every input.

use super::as_text;
use sealstone_spec::bundle::BundlePath;
use sealstone_spec::digest::{Algorithm, Digest, Hasher};
use sealstone_spec::image::ImageReference;
use sealstone_spec::name::{Reference, RepoName, Tag};
use sealstone_spec::range::{ByteRange, UploadRange, content_range};
use std::path::{Component, Path};

const ALGORITHMS: [Algorithm; 3] = [Algorithm::Sha256, Algorithm::Sha512, Algorithm::Blake3];

/// A digest is exactly an algorithm, a colon and lowercase hex of its length, and is written as it was read.
pub(super) fn digest(input: &[u8]) -> bool {
    let Some(text) = as_text(input) else {
        return false;
    };
    let by_grammar = ALGORITHMS.iter().any(|algorithm| {
        let hex = text
            .strip_prefix(algorithm.as_str())
            .and_then(|rest| rest.strip_prefix(':'));
        hex.is_some_and(|hex| {
            hex.len() == algorithm.hex_len()
                && hex.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'))
        })
    });
    let parsed = Digest::parse(text);
    assert_eq!(parsed.is_ok(), by_grammar, "{text:?}: {parsed:?}");
    let Ok(digest) = parsed else {
        return false;
    };
    assert_eq!(digest.to_string(), text);
    assert_eq!(
        format!("{}:{}", digest.algorithm().as_str(), digest.hex()),
        text
    );
    assert_eq!(
        Digest::from_bytes(digest.algorithm(), digest.bytes()),
        Some(digest)
    );
    true
}

/// Hashing in two parts, with the state saved between them, is hashing; a foreign state is no state,
/// or goes on the same way however often it is saved.
pub(super) fn hasher(input: &[u8]) -> bool {
    let at = input
        .first()
        .map_or(0, |first| usize::from(*first) * 3)
        .min(input.len());
    let (head, tail) = input.split_at(at);
    let mut restored_any = false;
    for algorithm in ALGORITHMS {
        let whole = Digest::of(algorithm, input);
        let mut hasher = Hasher::new(algorithm);
        hasher.update(head);
        if let Some(state) = hasher.save() {
            hasher = Hasher::restore(algorithm, &state).expect("its own state is one");
        }
        hasher.update(tail);
        assert_eq!(hasher.finalize(), whole);
        if let Some(restored) = Hasher::restore(algorithm, input) {
            let state = restored.save().expect("what can be restored can be saved");
            let again = Hasher::restore(algorithm, &state).expect("its own state is one");
            assert_eq!(restored.finalize(), again.finalize());
            restored_any = true;
        }
    }
    restored_any
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`, word by word.
fn is_element(mut rest: &str) -> bool {
    let is_word = |c: char| matches!(c, 'a'..='z' | '0'..='9');
    loop {
        let word = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        if word == 0 || word == rest.len() {
            return word > 0;
        }
        rest = &rest[word..];
        let (separator, next) = rest.split_at(rest.find(is_word).unwrap_or(rest.len()));
        let dashes = separator.chars().all(|c| c == '-');
        if !dashes && ![".", "_", "__"].contains(&separator) {
            return false;
        }
        rest = next;
    }
}

/// Repository names follow the distribution specification, and are written as they were read.
pub(super) fn repository(input: &[u8]) -> bool {
    let Some(text) = as_text(input) else {
        return false;
    };
    let parsed = text.parse::<RepoName>();
    let by_grammar = text.len() <= 255 && text.split('/').all(is_element);
    assert_eq!(parsed.is_ok(), by_grammar, "{text:?}");
    let Ok(name) = parsed else {
        return false;
    };
    assert_eq!(name.to_string(), text);
    assert!(stays_inside(text), "{text:?} is used in keys and paths");
    true
}

/// Tags likewise.
pub(super) fn tag(input: &[u8]) -> bool {
    let Some(text) = as_text(input) else {
        return false;
    };
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut chars = text.chars();
    let by_grammar = chars.next().is_some_and(word)
        && chars.clone().count() <= 127
        && chars.all(|c| word(c) || c == '.' || c == '-');
    let parsed = text.parse::<Tag>();
    assert_eq!(parsed.is_ok(), by_grammar, "{text:?}");
    let Ok(tag) = parsed else {
        return false;
    };
    assert_eq!(tag.to_string(), text);
    assert!(stays_inside(text));
    // an evidence tag is its subject's digest with one character changed
    if let Some(subject) = tag.evidence_subject() {
        assert!(text.starts_with(&subject.to_string().replace(':', "-")));
    }
    true
}

/// A reference is a digest exactly if it has a colon, and is written as it was read.
pub(super) fn reference(input: &[u8]) -> bool {
    let Some(text) = as_text(input) else {
        return false;
    };
    let Ok(reference) = Reference::parse(text) else {
        assert!(
            text.parse::<Tag>().is_err() && Digest::parse(text).is_err(),
            "{text:?}"
        );
        return false;
    };
    assert_eq!(
        matches!(reference, Reference::Digest(_)),
        text.contains(':')
    );
    assert_eq!(reference.to_string(), text);
    true
}

/// An image reference is written as it was read, and its host cannot be mistaken for a path.
pub(super) fn image_reference(input: &[u8]) -> bool {
    let Some(text) = as_text(input) else {
        return false;
    };
    let Ok(reference) = text.parse::<ImageReference>() else {
        return false;
    };
    assert_eq!(reference.to_string(), text);
    assert!(
        !reference
            .registry
            .contains(['/', '@', '?', '#', '%', '\\', ' ']),
        "{text:?}"
    );
    assert_eq!(
        text.parse::<ImageReference>().ok().as_ref(),
        Some(&reference)
    );
    true
}

/// Input: a length, a space, a header. A range holds the bytes that the header asks for and no other.
pub(super) fn byte_range(input: &[u8]) -> bool {
    let Some((len, header)) = as_text(input).and_then(|text| text.split_once(' ')) else {
        return false;
    };
    let Ok(len) = len.parse::<u64>() else {
        return false;
    };
    let resolved = ByteRange::resolve(header, len);
    let Some(range) = ByteRange::parse(header) else {
        assert_eq!(resolved, Ok(None), "{header:?}");
        return false;
    };
    assert_eq!(ByteRange::parse(&range.to_string()), Some(range));
    assert_eq!(range.within(len), resolved);
    let asked = |byte: u64| match range {
        ByteRange::Span { first, last } => byte >= first && last.is_none_or(|last| byte <= last),
        ByteRange::Suffix(n) => len - byte <= n,
    };
    match resolved {
        Ok(None) => assert_eq!(len, 0),
        Err(refused) => assert_eq!((refused.len, asked(0), asked(len - 1)), (len, false, false)),
        Ok(Some(part)) => {
            assert!(part.start < part.end && part.end <= len);
            assert!(asked(part.start) && asked(part.end - 1));
            assert!(part.start == 0 || !asked(part.start - 1));
            assert!(part.end == len || !asked(part.end));
            if let Ok(said) = content_range(&part, len).parse::<UploadRange>() {
                assert_eq!(
                    (said.start(), said.len()),
                    (part.start, part.end - part.start)
                );
            }
        }
    }
    true
}

/// The range of a chunk is counted right and reads back, with a unit and a total as well.
pub(super) fn upload_range(input: &[u8]) -> bool {
    let Some(Ok(range)) = as_text(input).map(str::parse::<UploadRange>) else {
        return false;
    };
    assert!(range.len() >= 1);
    assert_eq!(range.start() + (range.len() - 1), range.end());
    let total = range.end() + 1;
    for text in [
        format!("{range}"),
        format!("bytes {range}/{total}"),
        format!("bytes={range}/*"),
    ] {
        assert_eq!(text.parse().as_ref(), Ok(&range), "{text}");
    }
    assert!(
        format!("{range}/{}", range.end())
            .parse::<UploadRange>()
            .is_err()
    );
    true
}

/// A path that leaves the directory that it is joined to is never accepted.
pub(super) fn bundle_path(input: &[u8]) -> bool {
    let Some(Ok(path)) = as_text(input).map(str::parse::<BundlePath>) else {
        return false;
    };
    let text = path.as_str();
    assert_eq!(Some(text), as_text(input));
    assert!(stays_inside(text), "{text:?}");
    true
}

/// Whether a relative path names something below the directory that it is joined to, on any system.
pub(super) fn stays_inside(text: &str) -> bool {
    let parts: Vec<&str> = text.split('/').collect();
    let plain = |part: &&str| !part.is_empty() && **part != *"." && **part != *"..";
    parts.iter().all(plain)
        && !text.contains(['\\', ':', '\0', '\n', '\r'])
        && Path::new(text)
            .components()
            .all(|part| matches!(part, Component::Normal(_)))
        && Path::new(text).components().count() == parts.len()
}
