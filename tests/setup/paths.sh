# shellcheck shell=bash
# Where builds and installed tools live. Sourced by the Makefile's recipes, .ci/run and every script below tests/.
#
# Invariant: nothing here lies inside the clone, so that a fresh clone finds the RocksDB library, which takes
# 20 to 30 minutes to compile, and the test clients already there.

HOME="${HOME:-/root}"
export HOME
export SEALSTONE_CACHE="${SEALSTONE_CACHE:-$HOME/.cache/sealstone}"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-${SEALSTONE_TARGET:-$SEALSTONE_CACHE/target}}"
export SEALSTONE_TOOLS="${SEALSTONE_TOOLS:-$SEALSTONE_CACHE/tools}"

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
export ROOT

# The binaries that `cargo build --workspace` leaves behind, or those of another folder.
export SEALSTONE_REGISTRY_BIN="${SEALSTONE_REGISTRY_BIN:-${SEALSTONE_BIN_DIR:-$CARGO_TARGET_DIR/debug}/sealstone-registry}"
export SEALSTONE_BIN="${SEALSTONE_BIN:-${SEALSTONE_BIN_DIR:-$CARGO_TARGET_DIR/debug}/sealstone}"

# What tests and demo start listens on this machine: no proxy knows of it.
NO_PROXY="${NO_PROXY:-${no_proxy:-}}"
case ",$NO_PROXY," in
*,127.0.0.1,*) ;;
*) NO_PROXY="127.0.0.1,localhost${NO_PROXY:+,$NO_PROXY}" ;;
esac
export NO_PROXY no_proxy="$NO_PROXY"
