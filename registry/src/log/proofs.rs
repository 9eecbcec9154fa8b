//! Proofs out of the tiles that the store keeps.

use super::{Error, Log};
use crate::metadata::log::LogStore;
use sealstone_spec::log::{
    Hash, LogError, NodeId, TileKind, TilePath, Tiles, consistency_proof, inclusion_proof, root,
};
use std::collections::BTreeSet;
use std::convert::Infallible;

/// Lists the nodes that `make` asks for.
fn needed(make: impl FnOnce(&mut dyn FnMut(NodeId) -> Result<Hash, Infallible>)) -> Vec<NodeId> {
    let mut nodes = Vec::new();
    make(&mut |node| {
        nodes.push(node);
        Ok(Hash::of_nothing())
    });
    nodes
}

impl Log {
    pub(super) async fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Hash>, Error> {
        let nodes = needed(|node| drop(inclusion_proof(index, size, node)));
        let tiles = tiles(&*self.inner.store, nodes, size).await?;
        Ok(inclusion_proof(index, size, |node| tiles.node(node))?)
    }

    pub(super) async fn consistency(&self, old: u64, size: u64) -> Result<Vec<Hash>, Error> {
        let nodes = needed(|node| drop(consistency_proof(old, size, node)));
        let tiles = tiles(&*self.inner.store, nodes, size).await?;
        Ok(consistency_proof(old, size, |node| tiles.node(node))?)
    }
}

/// The root over the first `at` of `size` entries.
pub(super) async fn root_at(store: &dyn LogStore, at: u64, size: u64) -> Result<Hash, Error> {
    let nodes = needed(|node| {
        let _ = root(at, node);
    });
    let tiles = tiles(store, nodes, size).await?;
    Ok(root(at, |node| tiles.node(node))?)
}

async fn tiles(store: &dyn LogStore, nodes: Vec<NodeId>, size: u64) -> Result<Tiles, Error> {
    let paths: Option<BTreeSet<TilePath>> = nodes
        .into_iter()
        .map(|node| TilePath::of_node(node, size))
        .collect();
    let missing = || Error::Format(LogError::Tile("the store lacks it"));
    let mut tiles = Tiles::default();
    for path in paths.ok_or_else(missing)? {
        let TileKind::Hashes(level) = path.kind else {
            continue;
        };
        let tile = store.log_tile(level, path.index).await?;
        let wanted = usize::from(path.width) * 32;
        let tile = tile
            .filter(|tile| tile.len() >= wanted)
            .ok_or_else(missing)?;
        tiles.insert(path, &tile[..wanted])?;
    }
    Ok(tiles)
}
