#!/usr/bin/env bash
# Builds the whole workspace, the one way in which demo, tests and CI build it, so that RocksDB is compiled once.
# Says so before that long compilation starts. Arguments go to cargo.
set -euo pipefail
# shellcheck source=tests/setup/paths.sh
. "$(dirname "${BASH_SOURCE[0]}")/paths.sh"

rocksdb_built() {
    compgen -G "$CARGO_TARGET_DIR/debug/build/librocksdb-sys-*/out/librocksdb.a" >/dev/null
}

if ! rocksdb_built; then
    cat >&2 <<EOF
build: RocksDB is compiled now, once: expect 20 to 30 minutes on two cores, with no output for a long while.
build: it is kept in $CARGO_TARGET_DIR (set SEALSTONE_TARGET to keep it elsewhere).
EOF
fi
cd "$ROOT"
exec cargo build --workspace --locked "$@" </dev/null
