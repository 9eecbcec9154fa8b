//! Tiles (C2SP tlog-tiles): the tree and its entries in files that never change once they are full.
//!
//! Owns paths, contents, and which tiles hold a node. Does not fetch them. What comes out of a tile is
//! not believed until a root or a proof made of it is checked.

use super::hash::Hash;
use super::tree::NodeId;
use super::{LogError, number};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Hashes, or entries, in a full tile.
pub const TILE_WIDTH: u64 = 256;
/// Longest entry: its length is written in 16 bits.
pub const MAX_ENTRY_BYTES: usize = 65_535;
/// Levels of the tree between one level of tiles and the next.
const TILE_HEIGHT: u8 = 8;

/// What a tile holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TileKind {
    /// Hashes of complete subtrees of 256 to the power of the level.
    Hashes(u8),
    /// The entries themselves.
    Entries,
}

/// The name of a tile: `tile/<L>/<N>[.p/<W>]`.
///
/// ```
/// use sealstone_spec::log::{TileKind, TilePath};
/// let path: TilePath = "tile/0/x001/x234/067.p/8".parse().unwrap();
/// assert_eq!((path.kind, path.index, path.width), (TileKind::Hashes(0), 1_234_067, 8));
/// assert_eq!(path.to_string(), "tile/0/x001/x234/067.p/8");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TilePath {
    /// What it holds.
    pub kind: TileKind,
    /// Its number, from the left.
    pub index: u64,
    /// Hashes or entries in it: 1 to 256.
    pub width: u16,
}

impl TilePath {
    /// Whether it never changes and has no successor.
    pub fn is_full(&self) -> bool {
        u64::from(self.width) == TILE_WIDTH
    }

    /// Number of its first entry; for tiles of entries and of level 0.
    pub fn first_entry(&self) -> u64 {
        self.index * TILE_WIDTH
    }

    /// The tile of hashes that holds what `node` is made of, in the tree of `size` entries. `None` if the
    /// tree has no such subtree.
    pub fn of_node(node: NodeId, size: u64) -> Option<TilePath> {
        let level = node.level / TILE_HEIGHT;
        let first = node.index.checked_mul(1 << (node.level % TILE_HEIGHT))?;
        let width = 1_u64.checked_shl(u32::from(node.level))?;
        let end = node.index.checked_add(1)?.checked_mul(width)?;
        (end <= size)
            .then(|| TilePath::at(TileKind::Hashes(level), first / TILE_WIDTH, size))
            .flatten()
    }

    /// A tile as a tree of `size` entries has it, full or partial; `None` if it has none there.
    pub fn at(kind: TileKind, index: u64, size: u64) -> Option<TilePath> {
        let level = match kind {
            TileKind::Hashes(level) => level,
            TileKind::Entries => 0,
        };
        let hashes = size.checked_shr(u32::from(level) * u32::from(TILE_HEIGHT))?;
        let width = hashes
            .saturating_sub(index.checked_mul(TILE_WIDTH)?)
            .min(TILE_WIDTH);
        (width > 0).then(|| TilePath {
            kind,
            index,
            width: u16::try_from(width).expect("at most 256"),
        })
    }

    /// The tiles of hashes that a tree of `size` entries has and one of `old` entries had not, or had
    /// narrower.
    pub fn new_since(old: u64, size: u64) -> Vec<TilePath> {
        let mut found = Vec::new();
        for level in 0..8_u8 {
            let shift = u32::from(level * TILE_HEIGHT);
            let (before, after) = (old >> shift, size >> shift);
            if after == before {
                break;
            }
            let indexes = before / TILE_WIDTH..=(after - 1) / TILE_WIDTH;
            found.extend(
                indexes.filter_map(|index| TilePath::at(TileKind::Hashes(level), index, size)),
            );
        }
        found
    }
}

impl FromStr for TilePath {
    type Err = LogError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || LogError::TilePath(text.chars().take(80).collect());
        let rest = text.strip_prefix("tile/").ok_or_else(bad)?;
        let (level, rest) = rest.split_once('/').ok_or_else(bad)?;
        let kind = if level == "entries" {
            TileKind::Entries
        } else {
            let level = number(level).filter(|level| *level < 64).ok_or_else(bad)?;
            TileKind::Hashes(u8::try_from(level).expect("below 64"))
        };
        let (index, width) = match rest.split_once(".p/") {
            None => (rest, 256),
            Some((index, width)) => (
                index,
                number(width)
                    .filter(|width| (1..256).contains(width))
                    .ok_or_else(bad)?,
            ),
        };
        let groups: Vec<&str> = index.split('/').collect();
        let (last, before) = groups.split_last().ok_or_else(bad)?;
        // 20 digits hold any number; more are refused before they are multiplied.
        if before.len() > 6 {
            return Err(bad());
        }
        let digits = before.iter().map(|group| group.strip_prefix('x'));
        let mut index: u64 = 0;
        for group in digits.chain([Some(*last)]) {
            let group = group
                .filter(|group| group.len() == 3 && group.bytes().all(|b| b.is_ascii_digit()))
                .ok_or_else(bad)?;
            let value: u64 = group.parse().map_err(|_| bad())?;
            index = index
                .checked_mul(1000)
                .and_then(|index| index.checked_add(value))
                .ok_or_else(bad)?;
        }
        let path = TilePath {
            kind,
            index,
            width: u16::try_from(width).expect("at most 256"),
        };
        // One tile has one name: no further groups of zeros before the number.
        if path.to_string() != text {
            return Err(bad());
        }
        Ok(path)
    }
}

impl fmt::Display for TilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TileKind::Hashes(level) => write!(f, "tile/{level}/")?,
            TileKind::Entries => f.write_str("tile/entries/")?,
        }
        let mut groups = vec![format!("{:03}", self.index % 1000)];
        let mut rest = self.index / 1000;
        while rest > 0 {
            groups.push(format!("x{:03}", rest % 1000));
            rest /= 1000;
        }
        groups.reverse();
        f.write_str(&groups.join("/"))?;
        if self.is_full() {
            Ok(())
        } else {
            write!(f, ".p/{}", self.width)
        }
    }
}

/// Writes entries as a tile holds them.
///
/// # Errors
/// If one is longer than [`MAX_ENTRY_BYTES`].
pub fn encode_entries<'a>(
    entries: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Vec<u8>, LogError> {
    let mut tile = Vec::new();
    for entry in entries {
        let len = u16::try_from(entry.len()).map_err(|_| LogError::EntryTooLong(entry.len()))?;
        tile.extend_from_slice(&len.to_be_bytes());
        tile.extend_from_slice(entry);
    }
    Ok(tile)
}

/// Reads the entries of a tile.
///
/// # Errors
/// If it does not hold exactly `width` entries.
pub fn decode_entries(tile: &[u8], width: u16) -> Result<Vec<&[u8]>, LogError> {
    let bad = || LogError::Tile("it does not hold as many entries as its path says");
    let mut entries = Vec::with_capacity(usize::from(width.min(256)));
    let mut rest = tile;
    while let Some((len, tail)) = rest.split_first_chunk::<2>() {
        let len = usize::from(u16::from_be_bytes(*len));
        let (entry, tail) = tail.split_at_checked(len).ok_or_else(bad)?;
        entries.push(entry);
        rest = tail;
    }
    if !rest.is_empty() || entries.len() != usize::from(width) {
        return Err(bad());
    }
    Ok(entries)
}

/// Tiles of hashes that were fetched, as a source of nodes for [`super::inclusion_proof`] and the like.
#[derive(Clone, Debug, Default)]
pub struct Tiles {
    hashes: BTreeMap<(u8, u64), Vec<Hash>>,
}

impl Tiles {
    /// Takes a tile in. A wider one replaces a narrower one.
    ///
    /// # Errors
    /// If it does not hold exactly the hashes that its path says.
    pub fn insert(&mut self, path: TilePath, content: &[u8]) -> Result<(), LogError> {
        let TileKind::Hashes(level) = path.kind else {
            return Err(LogError::Tile("it holds entries where hashes are due"));
        };
        let (chunks, rest) = content.as_chunks::<32>();
        if !rest.is_empty() || chunks.len() != usize::from(path.width) {
            return Err(LogError::Tile(
                "it does not hold as many hashes as its path says",
            ));
        }
        let kept = self.hashes.entry((level, path.index)).or_default();
        if kept.len() < chunks.len() {
            *kept = chunks.iter().copied().map(Hash::from_bytes).collect();
        }
        Ok(())
    }

    /// The hash of a complete subtree, computed from the tile that holds what it is made of.
    ///
    /// # Errors
    /// If that tile was not taken in, or is too narrow.
    pub fn node(&self, node: NodeId) -> Result<Hash, LogError> {
        let missing = || LogError::Tile("it is needed for a proof and is not there");
        let inner = node.level % TILE_HEIGHT;
        let first = node.index.checked_mul(1 << inner).ok_or_else(missing)?;
        let tile = self
            .hashes
            .get(&(node.level / TILE_HEIGHT, first / TILE_WIDTH))
            .ok_or_else(missing)?;
        let at = usize::try_from(first % TILE_WIDTH).expect("below 256");
        let row = tile.get(at..at + (1 << inner)).ok_or_else(missing)?;
        Ok(subtree(row))
    }
}

/// The root over a power of two of hashes.
fn subtree(row: &[Hash]) -> Hash {
    if let [only] = row {
        return *only;
    }
    let (left, right) = row.split_at(row.len() / 2);
    Hash::of_node(&subtree(left), &subtree(right))
}
