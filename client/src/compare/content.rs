//! One file against another: what they are, which reader that calls for, and what its findings amount to.
//!
//! Invariant: whatever is not understood is compared as bytes, and the result says why.

use super::archive::{self, Budget};
use super::bytes::{Bytes, first_difference};
use super::comparison::{ArtifactComparison, Difference, RowComparison};
use super::delimited::Delimited;
use super::format::Format;
use super::limits::{DEPTH, Unreadable};
use super::locator::{Locator, Place, shown};
use super::sets::{self, Found};
use super::table::{self, Lines};
use super::tensors::TensorFile;
use super::{gguf, json, lightgbm, npy, onnx, safetensors, stabilizer, torch};
use crate::error::Result;
use sealstone_spec::compare::{ArtifactRule, Class};
use std::path::{Path, PathBuf};

/// A file, or a member of an archive, that is compared.
#[derive(Clone, Debug)]
pub(super) struct Side {
    pub(super) bytes: Bytes,
    /// Its name: formats without a magic are known by it.
    pub(super) name: String,
    /// The directory that holds it, where files beside it may be followed.
    pub(super) directory: Option<PathBuf>,
}

impl Side {
    pub(super) fn open(path: &Path) -> Result<Side> {
        Ok(Side {
            bytes: Bytes::open(path)?,
            name: path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            directory: path.parent().map(Path::to_owned),
        })
    }
}

/// Compares two sides.
///
/// # Errors
/// Only if reading fails; a malformed file is compared as bytes.
pub(super) fn compare(
    base: &Side,
    now: &Side,
    rule: &ArtifactRule,
    budget: &mut Budget,
    depth: usize,
) -> Result<ArtifactComparison, Unreadable> {
    let mut result = ArtifactComparison {
        format: "bytes",
        class: Class::Divergent,
        required: rule.class,
        ok: false,
        base_size: base.bytes.len(),
        now_size: now.bytes.len(),
        first: None,
        worst: None,
        counts: None,
        tensors: Vec::new(),
        rows: None,
        predictions: None,
        stabilizers: Vec::new(),
        notes: Vec::new(),
    };
    let (before, after) = (Format::of(base)?, Format::of(now)?);
    result.format = before.name();
    let difference = match quick(base, now, before, after, rule)? {
        // One pass was enough: equal headers, and every element was looked at.
        Some(Quick::Same(found)) => {
            result.class = Class::BitExact;
            result.counts = Some(found.counts);
            result.settle();
            return Ok(result);
        }
        Some(Quick::Found(found)) => {
            result.take(*found, before, after);
            result.settle();
            return Ok(result);
        }
        None => first_difference(&base.bytes, &now.bytes)?,
    };
    let Some(offset) = difference else {
        result.class = Class::BitExact;
        if before == Format::Onnx {
            compare_beside(base, now, rule, &mut result)?;
        }
        result.settle();
        return Ok(result);
    };
    match read(base, now, before, after, rule, budget, depth) {
        Ok(Read::Tensors(found)) => result.take(found, before, after),
        Ok(Read::Rows(found, rows)) => {
            result.take(found, before, after);
            result.rows = Some(rows);
        }
        Ok(Read::Whole(inner)) => {
            let format = result.format;
            result = *inner;
            (result.base_size, result.now_size) = (base.bytes.len(), now.bytes.len());
            result.format = format;
        }
        Ok(Read::Nothing(reason)) => {
            result.notes.extend(reason);
            as_bytes(base, now, offset, before, &mut result)?;
        }
        Err(Unreadable::Malformed(problem) | Unreadable::Unsupported(problem)) => {
            result.notes.push(format!("compared as bytes: {problem}"));
            as_bytes(base, now, offset, before, &mut result)?;
        }
        Err(error) => return Err(error),
    }
    result.required = rule.class;
    result.settle();
    Ok(result)
}

/// Two models of the same bytes: the same only if the data beside them is.
fn compare_beside(
    base: &Side,
    now: &Side,
    rule: &ArtifactRule,
    result: &mut ArtifactComparison,
) -> Result<(), Unreadable> {
    let (one, two) = match (onnx::read(base), onnx::read(now)) {
        (Ok(one), Ok(two)) => (one, two),
        (Err(Unreadable::Io(error)), _) | (_, Err(Unreadable::Io(error))) => {
            return Err(Unreadable::Io(error));
        }
        (Err(problem), _) | (_, Err(problem)) => {
            result.notes.push(format!(
                "the same bytes; data beside them was not compared: {problem}"
            ));
            return Ok(());
        }
    };
    if one.beside || two.beside {
        let found = sets::compare(&one, &two, rule)?;
        if found.class != Class::ContentExact {
            result.take(found, Format::Onnx, Format::Onnx);
        }
    }
    Ok(())
}

impl ArtifactComparison {
    fn settle(&mut self) {
        self.ok = self.class.satisfies(self.required);
    }

    fn take(&mut self, found: Found, before: Format, after: Format) {
        self.class = found.class;
        self.first = found.first;
        self.worst = found.worst;
        self.counts = Some(found.counts);
        self.tensors = found.tensors;
        self.predictions = found.predictions;
        self.notes.extend(found.notes);
        if before != after {
            self.notes.push(format!(
                "{} against {}: tensors are compared by name",
                before.name(),
                after.name()
            ));
        }
        if self.class == Class::ContentExact {
            self.stabilizers.extend(stabilizer::of(before));
            // Where the content is the same, nothing was demanded of labels.
            if let Some(predictions) = &mut self.predictions {
                predictions.problem = None;
            }
        }
    }
}

#[allow(clippy::large_enum_variant)] // made once for a comparison, and taken apart at once
enum Quick {
    Same(Found),
    Found(Box<Found>),
}

/// Formats whose header and elements are the whole file need no pass over the bytes first.
fn quick(
    base: &Side,
    now: &Side,
    before: Format,
    after: Format,
    rule: &ArtifactRule,
) -> Result<Option<Quick>, Unreadable> {
    if before != after || !matches!(before, Format::Safetensors | Format::Npy) {
        return Ok(None);
    }
    let read = |side: &Side| match before {
        Format::Safetensors => safetensors::read(&side.bytes),
        _ => npy::read(&side.bytes),
    };
    let (one, two) = match (read(base), read(now)) {
        (Ok(one), Ok(two)) => (one, two),
        (Err(Unreadable::Io(error)), _) | (_, Err(Unreadable::Io(error))) => {
            return Err(Unreadable::Io(error));
        }
        _ => return Ok(None), // said again, with its reason, when the bytes differ
    };
    let found = sets::compare(&one, &two, rule)?;
    let same_header = one.header.is_some()
        && one.header == two.header
        && base.bytes.len() == now.bytes.len()
        && {
            let header = |side: &Side| side.bytes.slice(0, one.header.unwrap_or(0));
            match (header(base), header(now)) {
                (Some(one), Some(two)) => first_difference(&one, &two)?.is_none(),
                _ => false,
            }
        };
    Ok(Some(
        match found.class == Class::ContentExact && same_header {
            true => Quick::Same(found),
            false => Quick::Found(Box::new(found)),
        },
    ))
}

#[allow(clippy::large_enum_variant)] // made once for a comparison, and taken apart at once
enum Read {
    Tensors(Found),
    Rows(Found, RowComparison),
    /// Found in something within: a member, an unfolded file.
    Whole(Box<ArtifactComparison>),
    /// Nothing but bytes, and perhaps why.
    Nothing(Option<String>),
}

fn read(
    base: &Side,
    now: &Side,
    before: Format,
    after: Format,
    rule: &ArtifactRule,
    budget: &mut Budget,
    depth: usize,
) -> Result<Read, Unreadable> {
    if before.holds_tensors() && after.holds_tensors() {
        let (one, two) = (
            tensors_of(base, before, budget)?,
            tensors_of(now, after, budget)?,
        );
        return Ok(Read::Tensors(sets::compare(&one, &two, rule)?));
    }
    if before != after {
        let text = format!("{} against {}", before.name(), after.name());
        return Ok(Read::Nothing(Some(text)));
    }
    match before {
        Format::Json | Format::Xgboost => {
            let (one, two) = (json::parse(&base.bytes)?, json::parse(&now.bytes)?);
            // Other documents begin like a model too, and what they write as text is text.
            let numbers_in_text = json::is_xgboost(&one) && json::is_xgboost(&two);
            Ok(Read::Tensors(json::compare(
                &one,
                &two,
                rule,
                numbers_in_text,
            )?))
        }
        Format::Lightgbm => Ok(Read::Tensors(lightgbm::compare(
            &base.bytes,
            &now.bytes,
            rule,
        )?)),
        Format::JsonLines => {
            let (mut one, mut two) = (Lines::open(&base.bytes), Lines::open(&now.bytes));
            let (found, rows) = table::compare(&mut one, &mut two, rule)?;
            Ok(Read::Rows(found, rows))
        }
        Format::Csv | Format::Tsv => {
            let delimiter = if before == Format::Csv { b',' } else { b'\t' };
            let mut one = Delimited::open(&base.bytes, delimiter)?;
            let mut two = Delimited::open(&now.bytes, delimiter)?;
            if one.header() != two.header() {
                return Ok(Read::Nothing(Some("the headers differ".to_owned())));
            }
            let (found, rows) = table::compare(&mut one, &mut two, rule)?;
            Ok(Read::Rows(found, rows))
        }
        Format::Zip | Format::Tar | Format::Gzip if depth >= DEPTH => Ok(Read::Nothing(Some(
            format!("archives are opened {DEPTH} deep and no deeper"),
        ))),
        Format::Zip | Format::Tar => {
            let compared = archive::compare(base, now, before, rule, budget, depth)?;
            Ok(Read::Whole(Box::new(compared)))
        }
        Format::Gzip => {
            let (one, two) = (
                archive::unfold(base, budget)?,
                archive::unfold(now, budget)?,
            );
            let mut compared = compare(&one, &two, rule, budget, depth + 1)?;
            if compared.class >= Class::ContentExact {
                compared.class = Class::ContentExact;
                compared.stabilizers.push(stabilizer::GZIP);
            }
            Ok(Read::Whole(Box::new(compared)))
        }
        _ => Ok(Read::Nothing(None)),
    }
}

pub(super) fn tensors_of(
    side: &Side,
    format: Format,
    budget: &mut Budget,
) -> Result<TensorFile, Unreadable> {
    match format {
        Format::Safetensors => safetensors::read(&side.bytes),
        Format::Npy => npy::read(&side.bytes),
        Format::Npz => archive::read_npz(side, budget),
        Format::Torch => torch::read(side, budget),
        Format::Onnx => onnx::read(side),
        Format::Gguf => gguf::read(&side.bytes),
        other => Err(Unreadable::Malformed(format!(
            "{} holds no tensors",
            other.name()
        ))),
    }
}

/// Bytes of context on either side of a difference.
const WINDOW: u64 = 16;

fn as_bytes(
    base: &Side,
    now: &Side,
    offset: u64,
    format: Format,
    result: &mut ArtifactComparison,
) -> Result<(), Unreadable> {
    result.class = Class::Divergent;
    if format.is_text()
        && let Some(first) = text_difference(base, now, offset)?
    {
        result.first = Some(first);
        return Ok(());
    }
    let start = offset.saturating_sub(WINDOW);
    let window = |side: &Side| -> Result<Option<String>, Unreadable> {
        let len = side.bytes.len().saturating_sub(start).min(2 * WINDOW);
        if offset >= side.bytes.len() {
            return Ok(None); // it has ended
        }
        let mut bytes = vec![0; len as usize];
        side.bytes.read(&mut bytes, start)?;
        let (before, rest) = bytes.split_at((offset - start) as usize);
        let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
        Ok(Some(
            format!("{} [{}] {}", hex(before), hex(&rest[..1]), hex(&rest[1..]))
                .trim()
                .to_owned(),
        ))
    };
    result.first = Some(Difference {
        locator: Locator::at(Place::Offset(offset)),
        what: match base.bytes.len() == now.bytes.len() {
            true => "bytes".to_owned(),
            false => format!(
                "bytes; sizes are {} and {}",
                base.bytes.len(),
                now.bytes.len()
            ),
        },
        base: window(base)?,
        now: window(now)?,
    });
    Ok(())
}

/// Line and column of a byte in a text, with both lines; `None` where it is no text after all.
fn text_difference(base: &Side, now: &Side, offset: u64) -> Result<Option<Difference>, Unreadable> {
    const PIECE: usize = 64 * 1024;
    const LINE: u64 = 1024;
    let (mut line, mut line_start, mut at) = (1_u64, 0_u64, 0_u64);
    let mut piece = vec![0; PIECE];
    while at < offset {
        let count = usize::try_from(offset - at).map_or(PIECE, |left| left.min(PIECE));
        base.bytes.read(&mut piece[..count], at)?;
        for (place, _) in piece[..count]
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'\n')
        {
            line += 1;
            line_start = at + place as u64 + 1;
        }
        at += count as u64;
    }
    let mut before = vec![0; usize::try_from((offset - line_start).min(1 << 20)).unwrap_or(0)];
    base.bytes.read(&mut before, line_start)?;
    let column = String::from_utf8_lossy(&before)
        .trim_end_matches('\u{fffd}')
        .chars()
        .count() as u64
        + 1;
    let text = |side: &Side| -> Result<Option<String>, Unreadable> {
        // A long line is shown from shortly before the difference.
        let start = line_start.max(offset.saturating_sub(LINE / 8));
        let len = side.bytes.len().saturating_sub(start).min(LINE);
        if offset >= side.bytes.len() {
            return Ok(None);
        }
        let mut bytes = vec![0; len as usize];
        side.bytes.read(&mut bytes, start)?;
        let line = bytes
            .split(|byte| *byte == b'\n')
            .next()
            .unwrap_or_default();
        Ok(Some(shown(&String::from_utf8_lossy(line))))
    };
    Ok(Some(Difference {
        locator: Locator::at(Place::Line { line, column }),
        what: "text".to_owned(),
        base: text(base)?,
        now: text(now)?,
    }))
}
