#!/usr/bin/env bash
# Runs every fuzz target for a bounded time, or those that are named:
#   tests/fuzz/run.sh                    each target for 20 seconds
#   SECONDS_EACH=600 tests/fuzz/run.sh policy manifest
# Needs cargo-fuzz (cargo install cargo-fuzz --locked) and a C++ compiler. A nightly toolchain is used if there is
# one; otherwise RUSTC_BOOTSTRAP lets the stable compiler instrument.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
seconds="${SECONDS_EACH:-20}"
if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "fuzz: cargo-fuzz is missing; install it with: cargo install cargo-fuzz --locked" >&2
    exit 2
fi
cargo=(cargo)
if command -v rustup >/dev/null && rustup run nightly rustc --version >/dev/null 2>&1; then
    cargo=(cargo +nightly)
else
    export RUSTC_BOOTSTRAP=1
fi
# cargo-fuzz keeps its builds in fuzz/target; one that other builds share would lose the instrumentation
unset CARGO_TARGET_DIR
[ $# -gt 0 ] || mapfile -t targets < <("${cargo[@]}" fuzz list --fuzz-dir .)
[ $# -eq 0 ] || targets=("$@")
if ! "${cargo[@]}" fuzz build --fuzz-dir .; then
    echo "fuzz: the targets could not be built" >&2
    exit 2
fi
failed=()
for target in "${targets[@]}"; do
    echo "=== $target, $seconds s"
    # what the session finds goes to a folder of its own, the seeds are only read
    found="target/found/$target"
    mkdir -p "$found"
    "${cargo[@]}" fuzz run --fuzz-dir . "$target" "$found" "corpus/$target" -- \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=16384 -print_final_stats=1 ||
        failed+=("$target")
done
if [ ${#failed[@]} -gt 0 ]; then
    echo "fuzz: broken property in: ${failed[*]}; the inputs are in $PWD/artifacts" >&2
    exit 1
fi
echo "fuzz: ${#targets[@]} targets kept their properties"
