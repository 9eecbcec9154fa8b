//! How many connections there are places for.
//!
//! Invariant: whoever only connects cannot take the descriptors that the metadata store needs.

use crate::process;

/// Descriptors that connections leave to everything else: tables of the metadata store (256), its logs, uploads and
/// downloads.
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

/// A quarter where the rest would be less than that: so few are for tests, and for nobody's registry.
fn places(wanted: usize, open_files: u64) -> usize {
    let free = open_files.saturating_sub(OTHERS).max(open_files / 4).max(1);
    wanted.min(usize::try_from(free).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_to_everything_else() {
        for (wanted, open_files, found) in [
            (4096, 1024, 512),
            (4096, 65_536, 4096),
            (4096, 4608, 4096),
            (4096, 4607, 4095),
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
