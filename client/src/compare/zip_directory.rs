//! The directory of a zip where torch finds it, told without the reader that is used for everything else.
//!
//! Torch reads by miniz. There the last record of an end counts, whatever it says of a comment; a record of zip64 wherever
//! a locator leads to one; the directory stands where that record says; and names are those of the headers. Other readers
//! go back to an earlier record, prefer a directory right before the end, and take names from extra fields. So one file can
//! be two archives, of which the harmless one would be looked at and the other one loaded. Owns the reading that shows it;
//! `archive` refuses a file of torch's whose members are others by this reading.

use super::bytes::Bytes;
use super::limits::{DOCUMENT_BYTES, Unreadable, malformed};

/// Bytes of the record of the end, without a comment.
const END: usize = 22;
/// Bytes of what leads to the record of zip64, and of that record.
const LOCATOR: usize = 20;
const WIDE_END: usize = 56;
/// Bytes of a member's header, without its name.
const HEADER: usize = 46;

/// The headers of all members.
#[derive(Debug)]
pub(super) struct Directory {
    /// Where it begins in the file.
    pub(super) start: u64,
    /// The names, in the order of the headers.
    pub(super) names: Vec<Vec<u8>>,
}

/// What a record of the end says: how many members, bytes of their headers, where these begin.
struct End {
    members: u64,
    size: u64,
    start: u64,
}

/// Reads the directory.
///
/// # Errors
/// If two readers could find another one.
pub(super) fn read(file: &Bytes) -> Result<Directory, Unreadable> {
    let end = end(file)?;
    let Some(headers) = file.slice(end.start, end.size) else {
        return malformed("its directory lies outside of the file");
    };
    let headers = headers.read_all(DOCUMENT_BYTES)?;
    let mut rest = headers.as_slice();
    let mut names = Vec::new();
    for _ in 0..end.members {
        let (name, behind) = header(rest)?;
        names.push(name.to_vec());
        rest = behind;
    }
    Ok(Directory {
        start: end.start,
        names,
    })
}

fn end(file: &Bytes) -> Result<End, Unreadable> {
    let Some(at) = file.len().checked_sub(END as u64) else {
        return malformed("it is too short to be an archive");
    };
    let mut record = [0; END];
    file.read(&mut record, at)?;
    if !record.starts_with(b"PK\x05\x06") || record[20..] != [0, 0] {
        return malformed("it does not end with the record of its end");
    }
    let short = End {
        members: number(&record[10..12]),
        size: number(&record[12..16]),
        start: number(&record[16..20]),
    };
    let Some(wide) = wide_end(file, at)? else {
        return Ok(short);
    };
    // What is more than the short record holds is all ones there.
    let agrees = |short: u64, wide: u64, ones: u64| short == wide || short == ones;
    let is_one = agrees(short.members, wide.members, 0xffff)
        && agrees(short.size, wide.size, 0xffff_ffff)
        && agrees(short.start, wide.start, 0xffff_ffff);
    match is_one {
        true => Ok(wide),
        false => malformed("its two records of the end do not agree"),
    }
}

/// What the record of zip64 says, where a locator stands before the record at `end`.
fn wide_end(file: &Bytes, end: u64) -> Result<Option<End>, Unreadable> {
    let Some(at) = end.checked_sub(LOCATOR as u64) else {
        return Ok(None);
    };
    let mut locator = [0; LOCATOR];
    file.read(&mut locator, at)?;
    if !locator.starts_with(b"PK\x06\x07") {
        return Ok(None);
    }
    let mut record = [0; WIDE_END];
    file.read(&mut record, number(&locator[8..16]))?;
    if !record.starts_with(b"PK\x06\x06") {
        return malformed("its locator of zip64 leads to no record");
    }
    Ok(Some(End {
        members: number(&record[32..40]),
        size: number(&record[40..48]),
        start: number(&record[48..56]),
    }))
}

/// The name in the first header of `rest`, and what stands behind that header.
fn header(rest: &[u8]) -> Result<(&[u8], &[u8]), Unreadable> {
    let broken = || Unreadable::Malformed("its directory ends too early".to_owned());
    let (fixed, more) = rest.split_first_chunk::<HEADER>().ok_or_else(broken)?;
    if !fixed.starts_with(b"PK\x01\x02") {
        return malformed("its directory holds what is no header");
    }
    let length = |at: usize| usize::from(u16::from_le_bytes([fixed[at], fixed[at + 1]]));
    let (name, more) = more.split_at_checked(length(28)).ok_or_else(broken)?;
    let (extra, more) = more.split_at_checked(length(30)).ok_or_else(broken)?;
    let (_comment, more) = more.split_at_checked(length(32)).ok_or_else(broken)?;
    // Torch takes a name up to there.
    if name.contains(&0) {
        return malformed("the name of a member holds a NUL");
    }
    match has_one_place(extra) {
        true => Ok((name, more)),
        false => malformed("a member states twice where it lies"),
    }
}

/// Whether extra fields state sizes and place (of zip64) at most once: some readers take the first, some the last.
fn has_one_place(mut extra: &[u8]) -> bool {
    let mut places = 0;
    while let [low, high, size_low, size_high, rest @ ..] = extra {
        places += u32::from([*low, *high] == [1, 0]);
        let size = usize::from(u16::from_le_bytes([*size_low, *size_high]));
        let Some(next) = rest.get(size..) else {
            return false;
        };
        extra = next;
    }
    places <= 1
}

/// A number of up to eight bytes, the little end first.
fn number(bytes: &[u8]) -> u64 {
    let mut raw = [0; 8];
    raw[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(raw)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::archive::{Budget, kind_of_zip, read_torch};
    use super::super::content::Side;
    use super::super::format::Format;
    use super::*;
    use std::io::Write as _;

    fn archive(names: &[&str]) -> Vec<u8> {
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        let stored = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Stored);
        for name in names {
            zip.start_file(*name, stored).unwrap();
            zip.write_all(b"content").unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    fn names(file: Vec<u8>) -> Result<Vec<Vec<u8>>, Unreadable> {
        read(&Bytes::of_memory(file)).map(|directory| directory.names)
    }

    /// The same with a record of zip64 before its end, as torch writes one, which says that so many members are there.
    fn wide(mut file: Vec<u8>, members: u64) -> Vec<u8> {
        let end = file.split_off(file.len() - END);
        let at = file.len() as u64;
        file.extend(b"PK\x06\x06");
        file.extend(44_u64.to_le_bytes());
        file.extend([0; 12]);
        file.extend(members.to_le_bytes());
        file.extend(members.to_le_bytes());
        file.extend(number(&end[12..16]).to_le_bytes());
        file.extend(number(&end[16..20]).to_le_bytes());
        file.extend(b"PK\x06\x07\0\0\0\0");
        file.extend(at.to_le_bytes());
        file.extend(1_u32.to_le_bytes());
        file.extend(end);
        file
    }

    #[test]
    fn names_are_those_of_the_headers() {
        let file = archive(&["m/data.pkl", "m/version"]);
        let due = vec![b"m/data.pkl".to_vec(), b"m/version".to_vec()];
        assert_eq!(names(file.clone()).unwrap(), due);
        assert_eq!(names(wide(file, 2)).unwrap(), due);
    }

    /// Torch calls members by the name of the file. With 21 letters the second header is as far from the end as the
    /// directory is long, so that a search from there takes it for the first.
    #[test]
    fn an_archive_of_torch_is_read_whatever_it_is_called() {
        for letters in 1..40 {
            let name = "n".repeat(letters);
            let (pickle, version) = (format!("{name}/data.pkl"), format!("{name}/version"));
            let side = Side {
                bytes: Bytes::of_memory(wide(archive(&[&pickle, &version]), 2)),
                name: "m.pt".to_owned(),
                directory: None,
            };
            assert_eq!(kind_of_zip(&side), Format::Torch, "{letters}");
            let members = read_torch(&side, &mut Budget::default()).unwrap();
            assert_eq!(members.len(), 2, "{letters}");
        }
    }

    #[test]
    fn what_two_readers_find_elsewhere_is_refused() {
        let file = archive(&["m/data.pkl", "m/version"]);
        let mut comment = file.clone();
        let at = comment.len() - 2;
        comment[at] = 1;
        let mut nowhere = wide(file.clone(), 2);
        let at = nowhere.len() - END - 12;
        nowhere[at] ^= 1;
        // No writer writes such a name: it is made one in both of its headers.
        let mut cut = archive(&["m/data.pkl@txt"]);
        for at in 0..cut.len() {
            if cut[at..].starts_with(b"@txt") {
                cut[at] = 0;
            }
        }
        for (why, bad) in [
            ("nothing", Vec::new()),
            ("behind its end", [&file[..], b"x"].concat()),
            ("a comment that is longer than the file", comment),
            ("one member of two", wide(file.clone(), 1)),
            ("no record of zip64", nowhere),
            ("a name that goes on behind a NUL", cut),
        ] {
            assert!(matches!(names(bad), Err(Unreadable::Malformed(_))), "{why}");
        }
        assert!(has_one_place(b"\x01\0\x02\0ab\x55\x54\x01\0c"));
        assert!(!has_one_place(b"\x01\0\x02\0ab\x01\0\x01\0c"));
        assert!(!has_one_place(b"\x55\x54\x09\0c"));
    }
}
