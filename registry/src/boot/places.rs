//! How many connections there are places for.
//!
//! Invariant: whoever only connects can take neither the descriptors that the metadata store needs, nor all that blobs need.

use crate::process;

/// Descriptors that are neither for connections nor for blobs: tables of the metadata store (256), which it opens first, its
/// logs, and as many again that it finds whatever else is open ([`process::leaves_spare`]).
const OTHERS: u64 = 512;

/// As many as are wanted, or as the process may have open. Says so where these are fewer.
pub(super) fn connections(wanted: usize) -> usize {
    let Some(open_files) = process::open_files() else {
        return wanted;
    };
    let places = places(wanted, open_files);
    if places < wanted {
        tracing::warn!(
            places,
            open_files,
            "server.max_connections = {wanted}, and the system lets the server open {open_files} files in all: there are places for {places} connections. Raise the limit (LimitNOFILE=, ulimit -n), or lower server.max_connections"
        );
    }
    places
}

/// One for each connection, and one for a file of a blob, which it may be about. A quarter of all where that would be less:
/// so few are for tests, and for nobody's registry.
fn places(wanted: usize, open_files: u64) -> usize {
    let free = (open_files.saturating_sub(OTHERS) / 2)
        .max(open_files / 4)
        .max(1);
    wanted.min(usize::try_from(free).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_to_everything_else() {
        for (wanted, open_files, found) in [
            (4096, 1024, 256),
            (4096, 4096, 1792),
            (4096, 65_536, 4096),
            (4096, 8704, 4096),
            (4096, 8703, 4095),
            (4096, 512, 128),
            (4096, 80, 20),
            (4096, 0, 1),
            (7, 1024, 7),
            (4096, u64::MAX, 4096),
        ] {
            assert_eq!(
                places(wanted, open_files),
                found,
                "{wanted} of {open_files}"
            );
        }
    }
}
