//! Names that people can say: three words derived from a digest.
//!
//! A person who reads `brisk-otter-quartz` over the phone notices at once that the other side looks
//! at something else, which nobody does with 64 hex digits. It is a check against mistakes, 21 bits
//! long, and never an identity: whatever must not be forged is compared by digest.
//!
//! Rule (frozen; changing a list renames every release): SHA-256 over `sealstone/words/v1` LF and
//! the digest's text; of its first three bytes the low seven bits each pick a word from the lists of
//! adjectives, animals and stones, in this order.

use crate::digest::Digest;
use std::sync::LazyLock;

const LISTS: [&str; 3] = [
    include_str!("words/adjectives.txt"),
    include_str!("words/animals.txt"),
    include_str!("words/stones.txt"),
];

/// The lists, cut into words once: a server says a name with every manifest.
static WORDS: LazyLock<[[&str; 128]; 3]> = LazyLock::new(|| {
    LISTS.map(|list| {
        let mut words = list.lines();
        std::array::from_fn(|_| words.next().expect("each list has 128 words"))
    })
});

/// The three words of a digest, with hyphens between them.
///
/// ```
/// use sealstone_spec::{digest::Digest, words};
/// let name = words::three_words(&Digest::sha256(b"a model"));
/// assert_eq!(name.split('-').count(), 3);
/// assert!(words::agree(&name.to_uppercase(), &Digest::sha256(b"a model")));
/// ```
pub fn three_words(digest: &Digest) -> String {
    let text = format!("sealstone/words/v1\n{digest}");
    let hash = Digest::sha256(text.as_bytes());
    let mut name = String::with_capacity(32);
    for (list, byte) in WORDS.iter().zip(hash.bytes()) {
        if !name.is_empty() {
            name.push('-');
        }
        name.push_str(list[usize::from(byte & 0x7f)]);
    }
    name
}

/// Whether `name` is this digest's name; letter case, and spaces instead of hyphens, do not matter.
pub fn agree(name: &str, digest: &Digest) -> bool {
    let normal: Vec<String> = name
        .split(|c: char| c == '-' || c.is_whitespace())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    normal.join("-") == three_words(digest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_list_has_128_different_words_and_no_word_stands_in_two() {
        let mut all = BTreeSet::new();
        for list in LISTS {
            assert_eq!(list.lines().count(), 128);
            for word in list.lines() {
                assert!(word.chars().all(|c| c.is_ascii_lowercase()), "{word}");
                assert!(all.insert(word), "{word} stands twice");
            }
        }
    }

    #[test]
    fn names_are_frozen() {
        let names: Vec<String> = [&b""[..], b"a", b"b"]
            .iter()
            .map(|c| three_words(&Digest::sha256(c)))
            .collect();
        assert_eq!(names, FROZEN);
        assert!(!agree(FROZEN[0], &Digest::sha256(b"a")));
        assert!(!agree("", &Digest::sha256(b"")));
    }

    const FROZEN: [&str; 3] = [
        "quiet-jay-goethite",
        "joyful-swallow-sandstone",
        "good-curlew-talc",
    ];
}
