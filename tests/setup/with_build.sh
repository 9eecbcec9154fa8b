#!/usr/bin/env bash
# Builds the workspace and runs a command with copies of its two programs, which nobody replaces meanwhile.
#
#   with_build.sh COMMAND [ARGUMENT...]
#
# All clones build into one folder, where cargo gives their crates the same names, and its lock holds for a build and not
# for what runs afterwards: another clone that is built in the meantime would put its own programs under the tests of
# this one, which then fail, or pass, for what is not here. The copies are gone when the command has ended.
# Not covered is what cargo itself reads and runs during `cargo test`: libraries of documentation tests, and test programs
# that have not begun. They need a folder of their own (SEALSTONE_TARGET), or no other build.
set -euo pipefail
# shellcheck source=tests/setup/paths.sh
. "$(dirname "${BASH_SOURCE[0]}")/paths.sh"

"$ROOT/tests/setup/build.sh"
copies="$(mktemp -d "${TMPDIR:-/tmp}/sealstone-build.XXXXXX")"
trap 'rm -rf "$copies"' EXIT
cp "$SEALSTONE_REGISTRY_BIN" "$copies/sealstone-registry"
cp "$SEALSTONE_BIN" "$copies/sealstone"
# The first for tests/it, the others for everything that is not Rust.
export SEALSTONE_BIN_DIR="$copies"
export SEALSTONE_REGISTRY_BIN="$copies/sealstone-registry" SEALSTONE_BIN="$copies/sealstone"
"$@"
