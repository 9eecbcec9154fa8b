#!/usr/bin/env bash
# Runs the fuzz targets one after another, each for FUZZ_SECONDS (default 20), or only those named.
#
# Needs cargo-fuzz and a C++ compiler. Uses a nightly toolchain if there is one; otherwise RUSTC_BOOTSTRAP lets the stable
# compiler instrument. What a run discovers is kept in the cache, not in
# the clone; the seeds in tests/fuzz/corpus are read and never written. A finding fails and stays in the cache.
set -uo pipefail
# shellcheck source=tests/setup/paths.sh
. "$(dirname "${BASH_SOURCE[0]}")/paths.sh"

seconds="${FUZZ_SECONDS:-20}"
work="$SEALSTONE_CACHE/fuzz"
log="$work/run.log"
mkdir -p "$work"

if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "fuzz: cargo-fuzz is missing: cargo install --locked cargo-fuzz" >&2
    exit 1
fi
cargo=(cargo)
if command -v rustup >/dev/null && rustup run nightly rustc --version >/dev/null 2>&1; then
    cargo=(cargo +nightly)
else
    export RUSTC_BOOTSTRAP=1
fi

targets=("$@")
if [ ${#targets[@]} = 0 ]; then
    for file in "$ROOT"/tests/fuzz/fuzz_targets/*.rs; do targets+=("$(basename "$file" .rs)"); done
fi

# A target directory of its own: instrumented builds must not replace the others.
export CARGO_TARGET_DIR="${FUZZ_TARGET_DIR:-$work/target}"
passed=0 failed=0
echo "fuzz: building the targets"
if ! (cd "$ROOT/tests/fuzz" && "${cargo[@]}" fuzz build --fuzz-dir .) </dev/null >"$log" 2>&1; then
    tail -30 "$log"
    echo "fuzz: the targets do not build" >&2
    exit 1
fi
for target in "${targets[@]}"; do
    mkdir -p "$work/corpus/$target" "$work/findings/$target"
    if (cd "$ROOT/tests/fuzz" && "${cargo[@]}" fuzz run --fuzz-dir . "$target" "$work/corpus/$target" "corpus/$target" -- \
        -max_total_time="$seconds" -rss_limit_mb=2048 -max_len=16384 -timeout=10 -artifact_prefix="$work/findings/$target/") </dev/null >"$log" 2>&1; then
        passed=$((passed + 1))
        echo "fuzz: $target: $(grep -o 'Done [0-9]* runs in [0-9]* second' "$log" | tail -1)s"
    else
        failed=$((failed + 1))
        echo "fuzz: $target FAILED; findings are in $work/findings/$target ($(find "$work/findings/$target" -type f | wc -l) files), the end of the log:"
        tail -20 "$log"
    fi
done
echo "fuzz: $passed passed, $failed failed"
[ "$failed" = 0 ]
