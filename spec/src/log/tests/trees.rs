//! Roots and proofs against the definitions of RFC 6962, written down as they stand there.
#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

/// MTH(D[n]).
fn naive_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash::of_nothing(),
        [only] => *only,
        _ => {
            let (left, right) = leaves.split_at(below(leaves.len()));
            Hash::of_node(&naive_root(left), &naive_root(right))
        }
    }
}

/// PATH(m, D[n]).
fn naive_path(index: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() <= 1 {
        return Vec::new();
    }
    let (left, right) = leaves.split_at(below(leaves.len()));
    let (mut path, sibling) = if index < left.len() {
        (naive_path(index, left), naive_root(right))
    } else {
        (naive_path(index - left.len(), right), naive_root(left))
    };
    path.push(sibling);
    path
}

/// SUBPROOF(m, D[n], b).
fn naive_subproof(old: usize, leaves: &[Hash], is_known: bool) -> Vec<Hash> {
    if old == leaves.len() {
        return if is_known {
            Vec::new()
        } else {
            vec![naive_root(leaves)]
        };
    }
    let (left, right) = leaves.split_at(below(leaves.len()));
    let (mut proof, sibling) = if old <= left.len() {
        (naive_subproof(old, left, is_known), naive_root(right))
    } else {
        (
            naive_subproof(old - left.len(), right, false),
            naive_root(left),
        )
    };
    proof.push(sibling);
    proof
}

fn below(len: usize) -> usize {
    len.next_power_of_two() / 2
}

fn leaves(grown: &Grown) -> Vec<Hash> {
    grown
        .entries
        .iter()
        .map(|entry| Hash::of_entry(entry))
        .collect()
}

#[test]
fn known_hashes() {
    // RFC 6962: MTH of nothing, and what certificate transparency's test data say of one empty entry.
    assert_eq!(
        data_encoding::HEXLOWER.encode(Hash::of_nothing().as_bytes()),
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
    assert_eq!(
        data_encoding::HEXLOWER.encode(Hash::of_entry(b"").as_bytes()),
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    );
}

#[test]
fn every_root_and_proof_is_that_of_the_definition() {
    const MOST: u64 = 70;
    let grown = Grown::numbered(MOST);
    let leaves = leaves(&grown);
    for size in 0..=MOST {
        let now = &leaves[..usize::try_from(size).unwrap()];
        let root = grown.root_at(size);
        assert_eq!(root, naive_root(now));
        for index in 0..size {
            let at = usize::try_from(index).unwrap();
            let path = inclusion_proof(index, size, |id| grown.node(id)).unwrap();
            assert_eq!(path, naive_path(at, now), "{index} in {size}");
            check_inclusion(&leaves[at], index, size, &path, &root).unwrap();
        }
        for old in 1..=size {
            let proof = consistency_proof(old, size, |id| grown.node(id)).unwrap();
            let known = usize::try_from(old).unwrap();
            assert_eq!(proof, naive_subproof(known, now, true), "{old} in {size}");
            check_consistency(old, &grown.root_at(old), size, &root, &proof).unwrap();
        }
    }
}

#[test]
fn a_frontier_that_was_kept_goes_on_as_if_nothing_had_been() {
    let mut kept = Frontier::new();
    for n in 0_u64..300 {
        kept = Frontier::from_parts(kept.size(), kept.peaks().to_vec()).unwrap();
        kept.push(Hash::of_entry(&n.to_be_bytes()), |_, _| {});
    }
    let grown = Grown::of((0_u64..300).map(|n| n.to_be_bytes().to_vec()));
    assert_eq!((kept.size(), kept.root()), (300, grown.root_at(300)));
    assert!(Frontier::from_parts(3, vec![Hash::of_nothing()]).is_none());
}

#[test]
fn tiles_hold_every_node_that_any_proof_needs() {
    let grown = Grown::numbered(700);
    let mut tiles = Tiles::default();
    let mut size = 0;
    for next in [1, 255, 256, 257, 300, 512, 700] {
        for path in TilePath::new_since(size, next) {
            let TileKind::Hashes(level) = path.kind else {
                panic!("{path}")
            };
            let first = path.index * TILE_WIDTH;
            let row = first..first + u64::from(path.width);
            let content: Vec<u8> = row
                .flat_map(|index| {
                    let id = NodeId {
                        level: level * 8,
                        index,
                    };
                    *grown.node(id).unwrap().as_bytes()
                })
                .collect();
            tiles.insert(path, &content).unwrap();
            assert_eq!(path.to_string().parse::<TilePath>().unwrap(), path);
        }
        size = next;
        assert_eq!(
            root(size, |id| tiles.node(id)).unwrap(),
            grown.root_at(size)
        );
    }
    for old in 0..700 {
        let proof = consistency_proof(old, 700, |id| {
            assert!(TilePath::of_node(id, 700).is_some());
            tiles.node(id)
        });
        assert_eq!(
            proof.unwrap(),
            consistency_proof(old, 700, |id| grown.node(id)).unwrap()
        );
    }
    let beyond = NodeId {
        level: 0,
        index: 700,
    };
    assert!(tiles.node(beyond).is_err() && TilePath::of_node(beyond, 700).is_none());
}

#[test]
fn the_example_of_the_specification_of_tiles() {
    // 70,000 entries: 273 full tiles and one of 112; one full of level 1 and one of 17; one of level 2.
    let mut widths = std::collections::BTreeMap::<(u8, u16), usize>::new();
    for path in TilePath::new_since(0, 70_000) {
        let TileKind::Hashes(level) = path.kind else {
            panic!("{path}")
        };
        *widths.entry((level, path.width)).or_default() += 1;
    }
    let expected = [
        ((0, 112), 1),
        ((0, 256), 273),
        ((1, 17), 1),
        ((1, 256), 1),
        ((2, 1), 1),
    ];
    assert_eq!(widths, expected.into_iter().collect());
}

#[test]
fn paths_of_tiles_have_one_spelling() {
    for good in [
        "tile/0/000",
        "tile/63/x001/000.p/255",
        "tile/entries/x001/x234/067",
        "tile/1/x018/x446/x744/x073/x709/x551/615",
    ] {
        assert_eq!(good.parse::<TilePath>().unwrap().to_string(), good);
    }
    for bad in [
        "",
        "tile",
        "tile/0",
        "tile/0/",
        "tile/64/000",
        "tile/00/000",
        "tile/0/0",
        "tile/0/0000",
        "tile/0/x000/001",
        "tile/0/001/002",
        "tile/0/x001",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/08",
        "tile/0/000.p/",
        "tile/0/x018/x446/x744/x073/x709/x551/616",
        "tile/0/x001/x001/x001/x001/x001/x001/x001/001",
        "tile/-1/000",
        "tile/entries/+01",
        "/tile/0/000",
        "tile/0/000/",
        "tile/entry/000",
        "tile/0/x١٢٣/000",
    ] {
        assert!(bad.parse::<TilePath>().is_err(), "{bad}");
    }
}

#[test]
fn entries_come_out_of_a_tile_as_they_went_in() {
    let entries: [&[u8]; 3] = [b"", b"one", &[7; MAX_ENTRY_BYTES]];
    let tile = encode_entries(entries).unwrap();
    assert_eq!(decode_entries(&tile, 3).unwrap(), entries);
    for width in [0, 2, 4] {
        assert!(decode_entries(&tile, width).is_err());
    }
    assert!(decode_entries(&tile[..tile.len() - 1], 3).is_err());
    assert!(encode_entries([&[0_u8; MAX_ENTRY_BYTES + 1][..]]).is_err());
}

proptest! {
    /// Whatever is changed about a proof, it proves nothing any more.
    #[test]
    fn a_changed_proof_is_refused(size in 2_u64..600, pick in any::<(u64, u64)>(), change in 0_usize..5, bit in 0_usize..256) {
        let grown = Grown::numbered(size);
        let index = pick.0 % size;
        let mut path = inclusion_proof(index, size, |id| grown.node(id)).unwrap();
        let leaf = Hash::of_entry(index.to_string().as_bytes());
        let root = grown.root_at(size);
        let flip = |hash: &Hash| {
            let mut bytes = *hash.as_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            Hash::from_bytes(bytes)
        };
        let at = usize::try_from(pick.1 % path.len() as u64).unwrap();
        let refused = match change {
            0 => { path[at] = flip(&path[at]); check_inclusion(&leaf, index, size, &path, &root) }
            1 => check_inclusion(&flip(&leaf), index, size, &path, &root),
            2 => check_inclusion(&leaf, index, size, &path, &flip(&root)),
            3 => { path.remove(at); check_inclusion(&leaf, index, size, &path, &root) }
            _ => { path.insert(at, leaf); check_inclusion(&leaf, index, size, &path, &root) }
        };
        prop_assert!(refused.is_err());
        let other = pick.1 % size;
        if other != index {
            prop_assert!(check_inclusion(&leaf, other, size, &inclusion_proof(index, size, |id| grown.node(id)).unwrap(), &root).is_err());
        }
    }

    /// A tree that differs in one entry that was there before is never consistent with what was shown.
    #[test]
    fn a_rewritten_tree_is_never_consistent(old in 1_u64..300, more in 0_u64..300, at in any::<u64>()) {
        let new = old + more;
        let honest = Grown::numbered(new);
        let at = at % old;
        let forged = Grown::of((0..new).map(|n| if n == at { b"forged".to_vec() } else { n.to_string().into_bytes() }));
        let kept = honest.root_at(old);
        for source in [&honest, &forged] {
            let proof = consistency_proof(old, new, |id| source.node(id)).unwrap();
            let outcome = check_consistency(old, &kept, new, &forged.root_at(new), &proof);
            prop_assert!(outcome.is_err());
        }
        let proof = consistency_proof(old, new, |id| honest.node(id)).unwrap();
        prop_assert!(check_consistency(old, &kept, new, &honest.root_at(new), &proof).is_ok());
        for extra in 0..=proof.len() {
            let mut longer = proof.clone();
            longer.insert(extra, kept);
            prop_assert!(check_consistency(old, &kept, new, &honest.root_at(new), &longer).is_err());
        }
        for less in 0..proof.len() {
            let mut shorter = proof.clone();
            shorter.remove(less);
            prop_assert!(check_consistency(old, &kept, new, &honest.root_at(new), &shorter).is_err());
        }
    }
}
