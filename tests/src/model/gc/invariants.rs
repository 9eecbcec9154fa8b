//! What must hold in every state and for every step of the collector's protocol.
//!
//! [`no_loss`] is the promise to users. I1 to I4 are why it holds; the real protocol must keep all of
//! them, exactly, while a broken variant is judged by the promise alone.

use super::Protocol;
use super::rows::{Blob, Object, State, has, place_of};

/// Every blob that a visible manifest names has its bytes.
pub fn no_loss(protocol: &Protocol, s: &State) -> Result<(), String> {
    for (r, manifests) in s.manifests.iter().enumerate() {
        for m in (0..manifests.len()).filter(|m| manifests[*m].is_some()) {
            for d in protocol.blobs_of(m) {
                let Some(blob) = s.blobs[d] else {
                    return Err(format!(
                        "repository {r}: manifest {m} names blob {d}, which has no row"
                    ));
                };
                if s.objects[usize::from(blob.key)] == Object::Absent {
                    return Err(format!(
                        "repository {r}: manifest {m} names blob {d}, key {} has no bytes",
                        blob.key
                    ));
                }
            }
        }
    }
    Ok(())
}

/// The promise and everything that it rests on.
pub fn all(protocol: &Protocol, s: &State) -> Result<(), String> {
    no_loss(protocol, s)?;
    i1_one_place(s)?;
    i2_references_counted(protocol, s)?;
    i3_links_counted(s)?;
    i4_delete_only_dead_keys(s)?;
    none_condemned(s)?;
    rows_have_bytes(s)
}

/// I1: a key is in at most one of `uploads`, `blobs` and `trash`.
pub fn i1_one_place(s: &State) -> Result<(), String> {
    for k in 0..s.uploads.len() {
        let live = s
            .blobs
            .iter()
            .flatten()
            .filter(|b| usize::from(b.key) == k)
            .count();
        let places = usize::from(s.uploads[k].is_some()) + live + usize::from(has(s.trash, k));
        if places > 1 {
            return Err(format!("I1: key {k} is in {places} places"));
        }
        if places > 0 && k >= usize::from(s.next) {
            return Err(format!("I1: key {k} was never reserved"));
        }
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Unborn,
    Reserved,
    Live,
    Trash,
    Gone,
}

fn place(s: &State, k: usize) -> Place {
    if k >= usize::from(s.next) {
        Place::Unborn
    } else if s.uploads[k].is_some() {
        Place::Reserved
    } else if has(s.trash, k) {
        Place::Trash
    } else if s.is_known(k) {
        Place::Live
    } else {
        Place::Gone
    }
}

/// I1, the steps: reserved, live, trash, gone; live may be left out, nothing is ever walked back.
pub fn one_way(protocol: &Protocol, before: &State, after: &State) -> Result<(), String> {
    use Place::{Gone, Live, Reserved, Trash, Unborn};
    for k in 0..protocol.world().keys {
        match (place(before, k), place(after, k)) {
            (from, to) if from == to => {}
            (Unborn, Reserved) | (Reserved, Live | Trash) | (Live, Trash) | (Trash, Gone) => {}
            (from, to) => return Err(format!("I1: key {k} went from {from:?} to {to:?}")),
        }
    }
    Ok(())
}

/// I2: each blob that a visible manifest names is linked, and the link counts exactly those manifests.
/// The same for children of indexes and for tags. (Fewer would lose data; more would keep it for ever.) A child
/// that an index lists is gone only if a client has deleted it.
pub fn i2_references_counted(protocol: &Protocol, s: &State) -> Result<(), String> {
    for r in 0..s.links.len() {
        let visible = |m: &usize| s.manifests[r][*m].is_some();
        let manifests = || (0..protocol.world().manifests.len()).filter(visible);
        for d in 0..s.blobs.len() {
            let named = manifests()
                .filter(|m| protocol.blobs_of(*m).any(|b| b == d))
                .count();
            let counted = s.links[r][d].map_or(0, |link| usize::from(link.refs));
            if named != counted {
                return Err(format!(
                    "I2: repository {r}: blob {d} is named {named} times, counted {counted}"
                ));
            }
        }
        for m in 0..s.manifests[r].len() {
            let named = manifests()
                .filter(|p| protocol.children_of(*p).any(|c| c == m))
                .count();
            let tagged = usize::from(s.tags[r] == Some(m as u8));
            let Some(row) = s.manifests[r][m] else {
                let withdrawn = s.withdrawn & place_of(r, m) != 0;
                if tagged > 0 || (named > 0) != withdrawn {
                    return Err(format!(
                        "I2: repository {r}: manifest {m} is gone, withdrawn: {withdrawn}, and is held by {named} indexes and {tagged} tags"
                    ));
                }
                continue;
            };
            let counted = (usize::from(row.parents), usize::from(row.tags));
            if (named, tagged) != counted {
                return Err(format!(
                    "I2: repository {r}: manifest {m} is held by {named} indexes and {tagged} tags, counted {counted:?}"
                ));
            }
        }
    }
    Ok(())
}

/// I3: a link has its blob, and the blob counts exactly its links.
pub fn i3_links_counted(s: &State) -> Result<(), String> {
    for d in 0..s.blobs.len() {
        let links = s
            .links
            .iter()
            .filter(|of_repository| of_repository[d].is_some())
            .count();
        let counted = s.blobs[d].map_or(0, |blob| usize::from(blob.links));
        if links != counted {
            return Err(format!("I3: blob {d} has {links} links, counted {counted}"));
        }
    }
    Ok(())
}

/// I4: DELETE was sent only for keys that are in trash or gone, and such a key never comes back.
pub fn i4_delete_only_dead_keys(s: &State) -> Result<(), String> {
    match (0..s.uploads.len())
        .find(|k| has(s.delete_sent, *k) && !matches!(place(s, *k), Place::Trash | Place::Gone))
    {
        Some(k) => Err(format!(
            "I4: DELETE was sent for key {k}, which is {:?}",
            place(s, k)
        )),
        None => Ok(()),
    }
}

/// A copy is withheld only if it is itself damaged: one that came again is not, whoever has read the old one.
pub fn none_condemned(s: &State) -> Result<(), String> {
    let blobs = s.blobs.iter().flatten();
    let condemned = |blob: &&Blob| blob.quarantined && !has(s.rotten, usize::from(blob.key));
    match blobs.filter(condemned).map(|blob| blob.key).next() {
        Some(key) => Err(format!(
            "the copy under key {key} is sound and in quarantine"
        )),
        None => Ok(()),
    }
}

/// A blob row has its bytes, so that whoever is told "it exists" can read it.
pub fn rows_have_bytes(s: &State) -> Result<(), String> {
    match s
        .blobs
        .iter()
        .flatten()
        .find(|b| s.objects[usize::from(b.key)] != Object::Durable)
    {
        Some(blob) => Err(format!(
            "a blob row names key {}, whose bytes are not durable",
            blob.key
        )),
        None => Ok(()),
    }
}
