//! Tables from RFC 9110 and the conformance suite; properties over all ranges and lengths.
#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

fn resolve(header: &str, len: u64) -> Result<Option<Range<u64>>, Unsatisfiable> {
    ByteRange::resolve(header, len)
}

#[test]
fn single_ranges_are_clamped_to_the_blob() {
    for (header, len, want) in [
        ("bytes=500-1499", 2048, 500..1500),
        ("bytes=500-", 2048, 500..2048),
        ("bytes=-500", 2048, 1548..2048),
        ("bytes=2000-5000", 2048, 2000..2048),
        ("bytes=0-0", 1, 0..1),
        ("bytes=-5000", 2048, 0..2048),
        ("bytes=2047-2047", 2048, 2047..2048),
        ("bytes=0-99999999999999999999999", 2048, 0..2048),
        ("bytes=-99999999999999999999999", 2048, 0..2048),
        ("bytes=0-18446744073709551615", u64::MAX, 0..u64::MAX),
        ("Bytes=1-2", 10, 1..3),
        ("bytes= 1-2 ,", 10, 1..3),
        ("bytes=,\t1-2", 10, 1..3),
    ] {
        assert_eq!(resolve(header, len), Ok(Some(want)), "{header} of {len}");
    }
}

#[test]
fn ranges_without_a_byte_are_refused() {
    for (header, len) in [
        ("bytes=5000-10000", 2048),
        ("bytes=500-0", 2048),
        ("bytes=2048-", 2048),
        ("bytes=-0", 2048),
        ("bytes=99999999999999999999999-", 2048),
        ("bytes=18446744073709551615-", u64::MAX),
    ] {
        let refused = resolve(header, len).unwrap_err();
        assert_eq!(refused, Unsatisfiable { len }, "{header}");
    }
    assert_eq!(Unsatisfiable { len: 2048 }.content_range(), "bytes */2048");
}

#[test]
fn what_is_not_one_byte_range_is_the_whole_blob() {
    for header in [
        "",
        "bytes",
        "bytes=",
        "bytes=,",
        "bytes=-",
        "bytes=1",
        "bytes=a-b",
        "bytes=+1-2",
        "bytes=1-+2",
        "bytes=1 - 2",
        "bytes=1--2",
        "bytes=1-2-3",
        "bytes=0-1,3-4",
        "bytes=-1,-2",
        "items=0-1",
        "0-1",
        "bytes 0-1",
        "bytes=0x0-1",
        "bytes=\u{0661}-2",
        "bytes=1-2;q=1",
    ] {
        assert_eq!(resolve(header, 10), Ok(None), "{header:?}");
    }
}

#[test]
fn an_empty_blob_is_always_whole() {
    for header in ["bytes=0-", "bytes=-5", "bytes=-0", "bytes=5-9", "nonsense"] {
        assert_eq!(resolve(header, 0), Ok(None), "{header}");
    }
}

#[test]
fn upload_ranges_are_read_with_and_without_a_unit() {
    for (text, start, len) in [
        ("0-1023", 0, 1024),
        ("1024-1024", 1024, 1),
        (" 5-9 ", 5, 5),
        ("bytes 5-9", 5, 5),
        ("bytes=5-9", 5, 5),
        ("BYTES 5-9/10", 5, 5),
        ("5-9/*", 5, 5),
    ] {
        let range: UploadRange = text.parse().unwrap();
        assert_eq!((range.start(), range.len()), (start, len), "{text}");
    }
}

#[test]
fn upload_ranges_that_say_nothing_clear_are_refused() {
    for text in [
        "",
        "5",
        "-5",
        "5-",
        "a-b",
        "+1-2",
        "1-+2",
        "5-9-10",
        "bytes",
        "bytes5-9",
        "bytes */10",
        "5-9/",
        "5-9/x",
        "0-1,2-3",
        "99999999999999999999-99999999999999999999",
        "\u{0661}-2",
    ] {
        let refused = text.parse::<UploadRange>().unwrap_err();
        assert_eq!(refused, UploadRangeError::Syntax(text.to_owned()));
    }
    for text in ["9-5", "5-9/9", "0-18446744073709551615"] {
        let refused = text.parse::<UploadRange>().unwrap_err();
        assert_eq!(refused, UploadRangeError::Contradiction(text.to_owned()));
    }
}

#[test]
fn received_bytes_are_shown_as_clients_expect() {
    assert_eq!(UploadRange::received(0), "0-0");
    assert_eq!(UploadRange::received(1), "0-0");
    assert_eq!(UploadRange::received(1024), "0-1023");
}

fn any_range() -> impl Strategy<Value = ByteRange> {
    let number = prop_oneof![0..50_u64, any::<u64>(), Just(u64::MAX)];
    prop_oneof![
        (number.clone(), proptest::option::of(number.clone()))
            .prop_map(|(first, last)| ByteRange::Span { first, last }),
        number.prop_map(ByteRange::Suffix),
    ]
}

proptest! {
    #[test]
    fn byte_ranges_round_trip(range in any_range()) {
        prop_assert_eq!(ByteRange::parse(&range.to_string()), Some(range));
    }

    /// Against the definition, byte by byte.
    #[test]
    fn a_resolved_range_holds_the_bytes_that_were_asked_for(range in any_range(), len in 1..60_u64) {
        let asked = |byte: u64| match range {
            ByteRange::Span { first, last } => byte >= first && last.is_none_or(|last| byte <= last),
            ByteRange::Suffix(n) => len - byte <= n,
        };
        let want: Vec<u64> = (0..len).filter(|byte| asked(*byte)).collect();
        match range.within(len) {
            Ok(Some(part)) => prop_assert_eq!(part.collect::<Vec<_>>(), want),
            Ok(None) => prop_assert!(false, "only an empty blob is always whole"),
            Err(_) => prop_assert!(want.is_empty()),
        }
    }

    #[test]
    fn a_resolved_range_is_never_empty_and_never_too_long(range in any_range(), len: u64) {
        if let Ok(Some(part)) = range.within(len) {
            prop_assert!(part.start < part.end && part.end <= len);
        }
    }

    #[test]
    fn the_content_range_of_a_part_names_it_as_an_upload_range(range in any_range(), len: u64) {
        if let Ok(Some(part)) = range.within(len)
            && part.end < u64::MAX
        {
            let said: UploadRange = content_range(&part, len).parse().unwrap();
            prop_assert_eq!((said.start(), said.len()), (part.start, part.end - part.start));
        }
    }

    #[test]
    fn upload_ranges_round_trip(start: u64, more in 0..10_000_u64) {
        if let Some(range) = UploadRange::new(start, start.saturating_add(more)) {
            prop_assert_eq!(range.to_string().parse(), Ok(range));
        }
    }

    #[test]
    fn no_header_breaks_the_parsers(text in "(bytes)?[= ]?[-0-9,*/ ]{0,12}|\\PC{0,20}", len: u64) {
        let _ = ByteRange::resolve(&text, len);
        let _ = text.parse::<UploadRange>();
    }
}
