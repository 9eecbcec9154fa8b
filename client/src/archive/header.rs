//! One tar header: 512 bytes in, a checked entry out, and the other way round.
//!
//! Sources: POSIX.1-1988 (ustar), POSIX.1-2001 (pax), and base-256 sizes as GNU tar writes them. Pure.
//! Readers of tar disagree about sizes and names in odd headers, and an archive that two programs
//! unpack differently is one to forge with; so whatever is not exactly one of these forms is refused.

/// Bytes of a block: headers are one, content is filled up to one.
pub(super) const BLOCK: usize = 512;

/// A header, or the zeros that end an archive.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// A plain file.
    File { name: String, size: u64 },
    /// A directory.
    Directory { name: String },
    /// What the next header does not hold: a long name, a large size.
    Extended { size: u64 },
    /// A block of zeros.
    End,
}

/// Reads one header; an error is a text.
pub(super) fn parse(block: &[u8; BLOCK]) -> Result<Header, String> {
    if block.iter().all(|byte| *byte == 0) {
        return Ok(Header::End);
    }
    let stated = octal(&block[148..156]).ok_or("its checksum is no number")?;
    let sum: u64 = block
        .iter()
        .enumerate()
        .map(|(place, byte)| match place {
            148..156 => u64::from(b' '),
            _ => u64::from(*byte),
        })
        .sum();
    if sum != stated {
        return Err("its checksum is wrong: the archive is damaged, or no tar".to_owned());
    }
    let is_ustar = &block[257..265] == b"ustar\x0000";
    let is_gnu = &block[257..265] == b"ustar  \0";
    if !is_ustar && !is_gnu {
        return Err(
            "it is in an old form of tar: make the archive with sealstone export".to_owned(),
        );
    }
    let size = number(&block[124..136]).ok_or("its size is no number")?;
    let mut name = text(&block[..100])?;
    // GNU keeps times where ustar keeps the beginning of the name.
    let prefix = if is_ustar {
        text(&block[345..500])?
    } else {
        ""
    };
    let joined;
    if !prefix.is_empty() {
        joined = format!("{prefix}/{name}");
        name = &joined;
    }
    let name = name.to_owned();
    match block[156] {
        b'0' | 0 => Ok(Header::File { name, size }),
        b'5' if size == 0 => Ok(Header::Directory { name }),
        b'x' => Ok(Header::Extended { size }),
        other => Err(format!(
            "\"{}\" is of type \"{}\", which is no plain file",
            name.escape_debug(),
            char::from(other).escape_debug()
        )),
    }
}

/// What an extended header says about the entry after it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Extended {
    pub(super) path: Option<String>,
    pub(super) size: Option<u64>,
}

/// Reads the content of an extended header: lines of `length key=value`.
pub(super) fn parse_extended(content: &[u8]) -> Result<Extended, String> {
    let mut found = Extended::default();
    let mut rest = content;
    while !rest.is_empty() {
        let space = rest
            .iter()
            .take(8)
            .position(|byte| *byte == b' ')
            .ok_or("an extended header has no length")?;
        let length = decimal(&rest[..space]).ok_or("an extended header's length is no number")?;
        let length = usize::try_from(length).map_err(|error| error.to_string())?;
        let record = rest
            .get(space + 1..length)
            .and_then(|record| record.strip_suffix(b"\n"))
            .ok_or("an extended header's length is wrong")?;
        let record = std::str::from_utf8(record).map_err(|_| "an extended header is no text")?;
        let (key, value) = record
            .split_once('=')
            .ok_or("an extended header has no value")?;
        let is_new = match key {
            "path" => found.path.replace(value.to_owned()).is_none(),
            "size" => {
                let size = decimal(value.as_bytes()).ok_or("an extended size is no number")?;
                found.size.replace(size).is_none()
            }
            "mtime" | "atime" | "ctime" => true,
            other => {
                return Err(format!(
                    "an extended header has the field \"{}\", which is not read",
                    other.escape_debug()
                ));
            }
        };
        if !is_new {
            return Err(format!("an extended header has the field \"{key}\" twice"));
        }
        rest = &rest[length..];
    }
    Ok(found)
}

/// The headers of a file or (where `name` ends in a slash) a directory: always the same bytes for the
/// same name and size, without owner, time or anything of this machine.
pub(super) fn write(name: &str, size: u64) -> Vec<u8> {
    let mut blocks = Vec::with_capacity(BLOCK);
    let short = if name.len() > 100 {
        let record = extended_record("path", name);
        blocks.extend(block("pax", record.len() as u64, b'x'));
        blocks.extend(&record);
        blocks.resize(blocks.len().next_multiple_of(BLOCK), 0);
        &name[..100]
    } else {
        name
    };
    let kind = if name.ends_with('/') { b'5' } else { b'0' };
    blocks.extend(block(short, size, kind));
    blocks
}

fn extended_record(key: &str, value: &str) -> Vec<u8> {
    let rest = format!(" {key}={value}\n");
    // The length counts its own digits.
    let mut length = rest.len() + 1;
    while length != rest.len() + length.to_string().len() {
        length = rest.len() + length.to_string().len();
    }
    format!("{length}{rest}").into_bytes()
}

fn block(name: &str, size: u64, kind: u8) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    block[..name.len()].copy_from_slice(name.as_bytes());
    let mode: &[u8] = if kind == b'5' { b"0000755" } else { b"0000644" };
    block[100..107].copy_from_slice(mode);
    block[108..115].copy_from_slice(b"0000000");
    block[116..123].copy_from_slice(b"0000000");
    if size < 1 << 33 {
        block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    } else {
        block[124] = 0x80;
        block[128..136].copy_from_slice(&size.to_be_bytes());
    }
    block[136..147].copy_from_slice(b"00000000000");
    block[148..156].fill(b' ');
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// Text up to the first zero; what follows it must be zeros.
fn text(field: &[u8]) -> Result<&str, String> {
    let end = field.iter().position(|byte| *byte == 0);
    let (text, rest) = field.split_at(end.unwrap_or(field.len()));
    if rest.iter().any(|byte| *byte != 0) {
        return Err("a name in it goes on after its end".to_owned());
    }
    std::str::from_utf8(text).map_err(|_| "a name in it is no text".to_owned())
}

fn number(field: &[u8]) -> Option<u64> {
    match field.split_first() {
        Some((0x80, rest)) => {
            let (high, low) = rest.split_at(rest.len().checked_sub(8)?);
            let fits = high.iter().all(|byte| *byte == 0);
            fits.then(|| low.try_into().ok().map(u64::from_be_bytes))?
        }
        _ => octal(field),
    }
}

/// Octal digits, then zeros or spaces.
fn octal(field: &[u8]) -> Option<u64> {
    let end = field.iter().position(|byte| matches!(byte, 0 | b' '));
    let (digits, rest) = field.split_at(end.unwrap_or(field.len()));
    let is_clean = rest.iter().all(|byte| matches!(byte, 0 | b' '));
    let is_octal = !digits.is_empty() && digits.iter().all(|digit| (b'0'..b'8').contains(digit));
    let text = std::str::from_utf8(digits).ok()?;
    (is_clean && is_octal).then(|| u64::from_str_radix(text, 8).ok())?
}

fn decimal(digits: &[u8]) -> Option<u64> {
    let is_decimal = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(digits).ok()?;
    is_decimal.then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn one(bytes: &[u8]) -> [u8; BLOCK] {
        bytes[..BLOCK].try_into().unwrap()
    }

    /// A header with one field changed, and its checksum mended.
    fn changed(place: usize, bytes: &[u8]) -> [u8; BLOCK] {
        let mut header = block("name", 5, b'0');
        header[place..place + bytes.len()].copy_from_slice(bytes);
        header[148..156].fill(b' ');
        let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        header
    }

    #[test]
    fn odd_headers_are_refused_each_with_its_reason() {
        assert!(parse(&changed(0, b"name")).is_ok());
        assert_eq!(parse(&[0; BLOCK]), Ok(Header::End));
        for (header, reason) in [
            (changed(156, b"2"), "no plain file"),
            (changed(156, b"1"), "no plain file"),
            (changed(156, b"3"), "no plain file"),
            (changed(156, b"L"), "no plain file"),
            (changed(156, b"g"), "no plain file"),
            (changed(156, b"5"), "no plain file"),
            (changed(124, b"0000000000 5"), "size"),
            (changed(124, b"-0000000005\0"), "size"),
            (changed(124, b"\xff\xff\xff\xff"), "size"),
            (changed(124, b"\x80\x01\0\0\0\0\0\0\0\0\0\0"), "size"),
            (changed(5, b"\0x"), "after its end"),
            (changed(0, b"\xff"), "no text"),
            (changed(257, b"USTAR"), "old form"),
            (
                {
                    let mut header = block("name", 5, b'0');
                    header[0] = b'm';
                    header
                },
                "checksum",
            ),
        ] {
            let error = parse(&header).unwrap_err();
            assert!(error.contains(reason), "{reason}: {error}");
        }
    }

    #[test]
    fn extended_headers_are_read_strictly() {
        let good = [
            extended_record("path", "a/b"),
            extended_record("size", "12"),
        ]
        .concat();
        let found = parse_extended(&good).unwrap();
        assert_eq!((found.path.as_deref(), found.size), (Some("a/b"), Some(12)));
        for bad in [
            &b"12 path=abc"[..],
            b"99 path=abc\n",
            b"12 path=abcd\n\n",
            b"x path=a\n",
            b"10 size=x\n",
            b"0 \n",
            b"18 linkpath=../x\n",
            &[extended_record("path", "a"), extended_record("path", "b")].concat(),
        ] {
            assert!(parse_extended(bad).is_err(), "{}", bad.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(name in "[a-z0-9/]{1,160}[a-z]", size in any::<u64>()) {
            let blocks = write(&name, size);
            prop_assert_eq!(blocks.len() % BLOCK, 0);
            let last = parse(&one(&blocks[blocks.len() - BLOCK..])).unwrap();
            if name.len() <= 100 {
                prop_assert_eq!(last, Header::File { name, size });
            } else {
                let Header::Extended { size: length } = parse(&one(&blocks)).unwrap() else { panic!() };
                let content = &blocks[BLOCK..BLOCK + length as usize];
                prop_assert_eq!(parse_extended(content).unwrap().path, Some(name));
            }
        }

        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 512..=512), place in 0usize..500, odd in proptest::collection::vec(any::<u8>(), 0..12)) {
            let _ = parse(&one(&bytes));
            let _ = parse(&changed(place, &odd));
            let _ = parse_extended(&bytes[..place]);
        }
    }
}
