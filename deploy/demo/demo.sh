#!/usr/bin/env bash
# The main job on a real model: packed, pushed, signed, released, pulled and verified by somebody else; what is refused;
# and a model that somebody else has to make again before it may be released. `make demo` runs it after the build; it also
# runs alone, from any directory.
#
# | part              | subject                                                                              |
# | ----------------- | ------------------------------------------------------------------------------------ |
# | `shown.sh`        | how commands are shown, and how their ends are checked                               |
# | `registry.sh`     | keys, the registry, its accounts                                                     |
# | `model.sh`        | a model from the outside: pack, push, sign, release, pull                            |
# | `refused.sh`      | what must be refused                                                                 |
# | `reproduction.sh` | a model made here: run, seal, made again by somebody else, released                  |
#
# Invariant: whatever must be refused is checked by its exit code and by what lies on the disk afterwards. If anything
# of it is accepted, the demo fails. Leaves nothing behind but fetched packages, in a cache for the next run.
set -euo pipefail
# shellcheck source=tests/setup/paths.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../tests/setup/paths.sh"

PARTS="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
DEMO_CACHE="$SEALSTONE_CACHE"
TOOLS="$SEALSTONE_TOOLS"
REGISTRY_BIN="$SEALSTONE_REGISTRY_BIN"
CLIENT_BIN="$SEALSTONE_BIN"
for variable in ${!SEALSTONE_*}; do unset "$variable"; done    # nobody's own settings play a part here
export SEALSTONE_OUTPUT=plain NO_PROXY=127.0.0.1 no_proxy=127.0.0.1

for binary in "$REGISTRY_BIN" "$CLIENT_BIN"; do
    [ -x "$binary" ] || { echo "demo: $binary is missing: run make build first" >&2; exit 1; }
done

STARTED=$SECONDS
echo "Sealstone, from an empty directory to a model that somebody else has verified. Lines with a \$ are commands, digests are cut short."
DIR="$(mktemp -d "${TMPDIR:-/tmp}/sealstone-demo.XXXXXX")"
# The registry of this demo is another one each time: what is kept of its log ends with it.
export SEALSTONE_STATE="$DIR/state"
server=''
reason='a command failed'
# Called by the trap.
# shellcheck disable=SC2317,SC2329
finish() {
    local code=$?
    trap - EXIT
    if [ $code != 0 ] && [ -s server.log ]; then
        { printf "\nthe registry's last words:\n"; tail -n 10 server.log; } >&2
    fi
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$DIR"
    [ $code = 0 ] || printf '\ndemo: FAILED (exit code %s): %s\n' "$code" "$reason" >&2
    exit $code
}
trap finish EXIT
trap 'reason=interrupted; exit 130' INT
trap 'reason=stopped; exit 143' TERM
cd "$DIR"

for part in shown registry model refused reproduction; do
    # shellcheck source=/dev/null
    . "$PARTS/$part.sh"
done
left_out=''
fetch_a_model
start_the_registry
release_the_model
refuse_what_is_wrong
release_what_was_made_again

again=', made again by somebody else,'
[ -z "$left_out" ] || again=' (nothing was made again by somebody else: that was left out)'
step "Done in $((SECONDS - STARTED)) seconds: released and verified$again and everything that must be refused was refused"
