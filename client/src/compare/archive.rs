//! Archives: zip, tar and gzip, member by member.
//!
//! Members that are stored lie where they are and are read there; compressed ones are unfolded into files without a
//! name, all of one comparison within one budget. What is written of a member is never its path. Invariant: no archive is
//! read in which a name stands twice: of two members another reader may take the other.

use super::bytes::Bytes;
use super::comparison::{ArtifactComparison, Difference, PredictionComparison};
use super::content::{self, Side};
use super::format::Format;
use super::limits::{INFLATED_BYTES, MEMBERS, Unreadable, malformed, unsupported};
use super::locator::{Locator, Place, name_of, shown};
use super::tensors::TensorFile;
use super::{npy, stabilizer, zip_directory};
use sealstone_spec::compare::{ArtifactRule, Class, PredictionRule, Predictions};
use std::collections::{BTreeMap, HashSet};
use std::io::{BufReader, Read, Write as _};
use zip::read::{ArchiveOffset, Config};

/// What all compressed parts of one comparison may still unfold to.
#[derive(Debug)]
pub(super) struct Budget {
    left: u64,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget {
            left: INFLATED_BYTES,
        }
    }
}

impl Budget {
    #[cfg(test)]
    pub(super) fn of(left: u64) -> Budget {
        Budget { left }
    }

    /// Everything that `source` gives, in memory where it is small, else in a file without a name.
    fn unfold(&mut self, mut source: impl Read) -> Result<Bytes, Unreadable> {
        const SMALL: usize = 1024 * 1024;
        let mut piece = vec![0; 256 * 1024];
        let mut memory: Vec<u8> = Vec::new();
        let mut file = None;
        loop {
            let count = match source.read(&mut piece) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            let Some(left) = self.left.checked_sub(count as u64) else {
                return unsupported(format!(
                    "its compressed parts unfold to more than {INFLATED_BYTES} bytes"
                ));
            };
            self.left = left;
            if file.is_none() && memory.len() + count > SMALL {
                let mut spilled = tempfile::tempfile()?;
                spilled.write_all(&memory)?;
                memory = Vec::new();
                file = Some(spilled);
            }
            match &mut file {
                Some(file) => file.write_all(&piece[..count])?,
                None => memory.extend_from_slice(&piece[..count]),
            }
        }
        Ok(match file {
            Some(file) => Bytes::of_file(file)?,
            None => Bytes::of_memory(memory),
        })
    }
}

/// A gzip stream, unfolded, under its name without the ending.
pub(super) fn unfold(side: &Side, budget: &mut Budget) -> Result<Side, Unreadable> {
    let decoder = flate2::bufread::MultiGzDecoder::new(BufReader::new(side.bytes.reader()));
    let name = match side.name.to_ascii_lowercase().strip_suffix(".tgz") {
        Some(stem) => format!("{stem}.tar"),
        None => side
            .name
            .strip_suffix(".gz")
            .unwrap_or(&side.name)
            .to_owned(),
    };
    Ok(Side {
        bytes: budget.unfold(decoder)?,
        name,
        directory: None,
    })
}

type Zip = zip::ZipArchive<BufReader<super::bytes::Reader>>;

/// A zip whose directory lies where `offset` says.
fn zip_at(bytes: &Bytes, offset: ArchiveOffset) -> zip::result::ZipResult<Zip> {
    let config = Config {
        archive_offset: offset,
    };
    zip::ZipArchive::with_config(config, BufReader::new(bytes.reader()))
}

/// A zip, where its end says that it lies. Only where nothing is there is it searched for: the search finds the second header
/// of an archive of torch's whose name has 21 letters, for the first one, and fails.
fn open_zip(bytes: &Bytes) -> Result<Zip, Unreadable> {
    let archive = zip_at(bytes, ArchiveOffset::Known(0))
        .or_else(|_| zip_at(bytes, ArchiveOffset::Detect))
        .map_err(not_a_zip)?;
    if archive.len() > MEMBERS {
        return unsupported(format!(
            "it has {} members, at most {MEMBERS} are read",
            archive.len()
        ));
    }
    Ok(archive)
}

fn not_a_zip(error: zip::result::ZipError) -> Unreadable {
    match error {
        zip::result::ZipError::Io(error) => error.into(),
        other @ (zip::result::ZipError::UnsupportedArchive(_)
        | zip::result::ZipError::CompressionMethodNotSupported(_)) => {
            Unreadable::Unsupported(format!("it is no zip that can be read: {other}"))
        }
        other => Unreadable::Malformed(format!("it is no zip that can be read: {other}")),
    }
}

/// What a zip holds: arrays, a torch file, or anything. Torch finds its members in letters of either case.
pub(super) fn kind_of_zip(side: &Side) -> Format {
    let Ok(archive) = open_zip(&side.bytes) else {
        return Format::Zip;
    };
    let names: Vec<String> = archive
        .file_names()
        .map(|name| name.map(std::borrow::Cow::into_owned).unwrap_or_default())
        .collect();
    let is_structure = |name: &String| {
        let name = name.to_ascii_lowercase();
        name.ends_with("/data.pkl") || name == "data.pkl"
    };
    if names.iter().any(is_structure) {
        return Format::Torch;
    }
    match !names.is_empty() && names.iter().all(|name| name.ends_with(".npy")) {
        true => Format::Npz,
        false => Format::Zip,
    }
}

/// A member of an archive.
#[derive(Clone, Debug)]
pub(super) struct Member {
    /// What it is: a file, a directory, a link and where it leads.
    kind: String,
    pub(super) bytes: Bytes,
}

/// Every member of a zip, by name.
pub(super) fn read_zip(
    side: &Side,
    budget: &mut Budget,
) -> Result<BTreeMap<String, Member>, Unreadable> {
    members_of(open_zip(&side.bytes)?, side, budget)
}

/// Every member of a file of torch's, by name; refused where torch could find other members than are read here.
pub(super) fn read_torch(
    side: &Side,
    budget: &mut Budget,
) -> Result<BTreeMap<String, Member>, Unreadable> {
    let archive = open_zip(&side.bytes)?;
    let directory = zip_directory::read(&side.bytes)?;
    let names = directory.names.iter().map(Vec::as_slice);
    let is_alike = archive.offset() == 0
        && archive.central_directory_start() == directory.start
        && archive.file_names_raw().eq(names);
    if !is_alike {
        return malformed("torch would find other members in it than are read here");
    }
    let mut folded = HashSet::new();
    for name in &directory.names {
        if !folded.insert(name.to_ascii_lowercase()) {
            let name = String::from_utf8_lossy(name);
            return malformed(format!(
                "member \"{}\" stands twice, in letters of either case",
                shown(&name)
            ));
        }
    }
    members_of(archive, side, budget)
}

fn members_of(
    mut archive: Zip,
    side: &Side,
    budget: &mut Budget,
) -> Result<BTreeMap<String, Member>, Unreadable> {
    // The archive at hand has the last of two members under their name, and no longer the first.
    if archive.has_duplicate_names() {
        return malformed("two of its members have one name");
    }
    // Of two archives one behind the other some readers find the first, and those that search the second.
    if let Ok(searched) = zip_at(&side.bytes, ArchiveOffset::Detect)
        && searched.central_directory_start() != archive.central_directory_start()
    {
        return malformed("it is two archives, one behind the other");
    }
    let mut members = BTreeMap::new();
    let mut stored: Vec<(u64, u64)> = Vec::new();
    for number in 0..archive.len() {
        let file = archive.by_index(number).map_err(not_a_zip)?;
        let name = file.name().map_err(not_a_zip)?.into_owned();
        if file.encrypted() {
            return unsupported(format!("member \"{}\" is encrypted", shown(&name)));
        }
        let kind = match (
            file.is_dir(),
            file.is_symlink(),
            file.unix_mode().unwrap_or(0) & 0o111,
        ) {
            (true, ..) => "directory",
            (_, true, _) => "link",
            (_, _, 0) => "file",
            _ => "executable",
        };
        let start = match (file.compression(), file.data_start()) {
            (zip::CompressionMethod::Stored, Some(start)) => Some(start),
            _ => None,
        };
        let bytes = match start {
            Some(start) => {
                let size = file.compressed_size();
                if size != file.size() {
                    return malformed(format!("member \"{}\" states two sizes", shown(&name)));
                }
                stored.push((start, size));
                side.bytes.slice(start, size).ok_or_else(|| {
                    Unreadable::Malformed(format!(
                        "member \"{}\" lies outside of the file",
                        shown(&name)
                    ))
                })?
            }
            None => budget.unfold(file)?,
        };
        let member = Member {
            kind: kind.to_owned(),
            bytes,
        };
        if members.insert(name.clone(), member).is_some() {
            return malformed(format!("member \"{}\" stands twice", shown(&name)));
        }
    }
    // Members that share bytes make a small file look large.
    stored.retain(|(_, size)| *size > 0);
    stored.sort_unstable();
    for pair in stored.windows(2) {
        if pair[0].0 + pair[0].1 > pair[1].0 {
            return malformed("two of its members overlap");
        }
    }
    Ok(members)
}

fn read_tar(side: &Side) -> Result<BTreeMap<String, Member>, Unreadable> {
    let mut archive = tar::Archive::new(BufReader::new(side.bytes.reader()));
    let mut members = BTreeMap::new();
    for entry in archive.entries_with_seek()? {
        let entry = entry?;
        let name = name_of(&entry.path_bytes());
        let header = entry.header();
        let target = entry.link_name_bytes().map(|link| name_of(&link));
        let kind = match header.entry_type() {
            tar::EntryType::Regular | tar::EntryType::Continuous => match header.mode()? & 0o111 {
                0 => "file".to_owned(),
                _ => "executable".to_owned(),
            },
            tar::EntryType::Directory => "directory".to_owned(),
            tar::EntryType::Symlink => format!("link to {}", target.unwrap_or_default()),
            tar::EntryType::Link => format!("hard link to {}", target.unwrap_or_default()),
            other => {
                return unsupported(format!("member \"{}\" is of kind {other:?}", shown(&name)));
            }
        };
        let size = match kind.as_str() {
            "file" | "executable" => entry.size(),
            _ => 0,
        };
        let bytes = side
            .bytes
            .slice(entry.raw_file_position(), size)
            .ok_or_else(|| {
                Unreadable::Malformed(format!(
                    "member \"{}\" lies outside of the file",
                    shown(&name)
                ))
            })?;
        if members.len() >= MEMBERS {
            return unsupported(format!("it has more than {MEMBERS} members"));
        }
        if members
            .insert(name.clone(), Member { kind, bytes })
            .is_some()
        {
            return malformed(format!("member \"{}\" stands twice", shown(&name)));
        }
    }
    Ok(members)
}

/// The arrays of an npz.
pub(super) fn read_npz(side: &Side, budget: &mut Budget) -> Result<TensorFile, Unreadable> {
    let mut tensors = Vec::new();
    for (name, member) in read_zip(side, budget)? {
        let array = npy::read_array(&member.bytes, name.strip_suffix(".npy").unwrap_or(&name));
        tensors.push(array.map_err(|problem| match problem {
            Unreadable::Malformed(text) => {
                Unreadable::Malformed(format!("member \"{}\": {text}", shown(&name)))
            }
            Unreadable::Unsupported(text) => {
                Unreadable::Unsupported(format!("member \"{}\": {text}", shown(&name)))
            }
            io => io,
        })?);
    }
    TensorFile {
        format: "npz",
        tensors,
        ..TensorFile::default()
    }
    .check()
}

/// Two archives of one kind, member by member.
pub(super) fn compare(
    base: &Side,
    now: &Side,
    format: Format,
    rule: &ArtifactRule,
    budget: &mut Budget,
    depth: usize,
) -> Result<ArtifactComparison, Unreadable> {
    let mut members = |side: &Side| match format {
        Format::Tar => read_tar(side),
        _ => read_zip(side, budget),
    };
    let (before, mut after) = (members(base)?, members(now)?);
    let mut result = ArtifactComparison {
        format: format.name(),
        class: Class::ContentExact,
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
    let whole = |name: &str, what: &str, base: Option<String>, now: Option<String>| {
        Some(Difference {
            locator: Locator::at(Place::Whole).inside(name),
            what: what.to_owned(),
            base: base.map(|kind| shown(&kind)),
            now: now.map(|kind| shown(&kind)),
        })
    };
    let mut labels: Option<PredictionComparison> = None;
    for (name, member) in before {
        let Some(other) = after.remove(&name) else {
            let first = whole(&name, "missing", Some(member.kind), None);
            weaken(&mut result, Class::Divergent, first);
            continue;
        };
        if member.kind != other.kind {
            let first = whole(&name, "kind", Some(member.kind), Some(other.kind));
            weaken(&mut result, Class::Divergent, first);
            continue;
        }
        let side = |bytes: Bytes| Side {
            bytes,
            name: name.rsplit('/').next().unwrap_or_default().to_owned(),
            directory: None,
        };
        let compared = content::compare(
            &side(member.bytes),
            &side(other.bytes),
            rule,
            budget,
            depth + 1,
        )?;
        let first = compared.first.map(|first| Difference {
            locator: first.locator.inside(&name),
            ..first
        });
        if weaken(&mut result, compared.class, first) {
            result.worst = compared.worst;
            result.counts = compared.counts;
            result.tensors = compared.tensors;
            result.rows = compared.rows;
        }
        if let Some(mut found) = compared.predictions {
            // Where the content is the same, no demand was looked at.
            let problem = found.problem.filter(|_| compared.class == Class::Divergent);
            found.problem =
                problem.map(|problem| format!("member \"{}\": {problem}", shown(&name)));
            labels = Some(match labels {
                Some(all) => all.and(found),
                None => found,
            });
        }
        for note in compared.notes {
            if result.notes.len() < 20 {
                result
                    .notes
                    .push(format!("member \"{}\": {note}", shown(&name)));
            }
        }
        result.stabilizers.extend(compared.stabilizers);
    }
    for (name, member) in after {
        let first = whole(&name, "added", None, Some(member.kind));
        weaken(&mut result, Class::Divergent, first);
    }
    if let Some(found) = &mut labels
        && let Err(text) = few_flips(found, rule)
    {
        found.problem.get_or_insert_with(|| text.clone());
        let first = Difference {
            locator: Locator::at(Place::Whole),
            what: text,
            base: None,
            now: None,
        };
        weaken(&mut result, Class::Divergent, Some(first));
    }
    result.predictions = labels;
    if result.class == Class::ContentExact {
        result.stabilizers.push(match format {
            Format::Tar => stabilizer::TAR,
            _ => stabilizer::ZIP,
        });
    }
    result.stabilizers.sort();
    result.stabilizers.dedup();
    Ok(result)
}

/// Whether no more labels turned in all members than may: each of them was held to that by itself.
fn few_flips(found: &PredictionComparison, rule: &ArtifactRule) -> Result<(), String> {
    let demand = PredictionRule {
        max_flips: rule.max_flips.filter(|_| found.flips > 0),
        ..PredictionRule::default()
    };
    demand.judge(Some(&Predictions {
        examples: found.examples,
        flips: found.flips,
        topk_overlap: None,
    }))
}

/// Lowers the class of an archive to that of a member, where it is weaker; `false` where it is not. What is told of an
/// archive is of one member, the first of the weakest: figures of another would stand beside a place that has none. Only
/// labels are counted over all members.
fn weaken(result: &mut ArtifactComparison, class: Class, first: Option<Difference>) -> bool {
    if class >= result.class {
        return false;
    }
    result.class = class;
    result.first = first;
    result.worst = None;
    result.counts = None;
    result.tensors = Vec::new();
    result.rows = None;
    true
}
