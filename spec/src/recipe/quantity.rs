//! Sizes and times as people write them: `2GiB`, `90s`, `1h30m`.

use super::finding::Code;
use super::reader::Fields;

const SIZES: [(&str, u64); 9] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];

const TIMES: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

/// A number of bytes; `None` if the text is none.
pub(super) fn parse_bytes(text: &str) -> Option<u64> {
    let (number, factor) = SIZES.iter().find_map(|(unit, factor)| {
        let number = text.strip_suffix(unit)?;
        Some((number, *factor))
    })?;
    whole(number.trim_end())?
        .checked_mul(factor)
        .filter(|bytes| *bytes > 0)
}

/// A number of seconds: units from the largest to the smallest, each once.
pub(super) fn parse_seconds(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut seconds: u64 = 0;
    let mut units = TIMES.iter();
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let unit = rest[digits..].chars().next()?;
        let (_, factor) = units.find(|(known, _)| *known == unit)?;
        seconds = seconds.checked_add(whole(&rest[..digits])?.checked_mul(*factor)?)?;
        rest = &rest[digits + 1..];
    }
    Some(seconds).filter(|seconds| *seconds > 0)
}

fn whole(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.len() <= 15 && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

pub(super) fn bytes(fields: &Fields<'_, '_>, key: &str) -> Option<u64> {
    read(
        fields,
        key,
        parse_bytes,
        "a size such as \"512MiB\" or \"2GiB\"",
    )
}

pub(super) fn seconds(fields: &Fields<'_, '_>, key: &str) -> Option<u64> {
    read(
        fields,
        key,
        parse_seconds,
        "a time such as \"90s\", \"10m\" or \"1h30m\"",
    )
}

fn read(
    fields: &Fields<'_, '_>,
    key: &str,
    parse: fn(&str) -> Option<u64>,
    due: &str,
) -> Option<u64> {
    let node = fields.get(key)?;
    let value = node
        .get_ref()
        .as_str()
        .and_then(parse)
        .filter(|value| *value <= 1 << 53);
    if value.is_none() {
        let problem = format!("\"{key}\" of {} must be {due}", fields.name);
        fields
            .source
            .report(&node.span(), Code::WrongValue, problem, None);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_as_people_mean_them() {
        for (text, value) in [
            ("2GiB", 2 << 30),
            ("512 MiB", 512 << 20),
            ("1GB", 1_000_000_000),
            ("7B", 7),
        ] {
            assert_eq!(parse_bytes(text), Some(value), "{text}");
        }
        for bad in [
            "",
            "2",
            "GiB",
            "-1GiB",
            "2gib",
            "2 G",
            "0B",
            "99999999999999TiB",
            "1.5GiB",
        ] {
            assert_eq!(parse_bytes(bad), None, "{bad}");
        }
        for (text, value) in [
            ("90s", 90),
            ("10m", 600),
            ("6h", 21_600),
            ("1h30m", 5_400),
            ("1d", 86_400),
        ] {
            assert_eq!(parse_seconds(text), Some(value), "{text}");
        }
        for bad in ["", "5", "m", "10m1h", "1m1m", "0s", "1 h"] {
            assert_eq!(parse_seconds(bad), None, "{bad}");
        }
    }
}
