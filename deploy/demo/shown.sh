# shellcheck shell=bash
# How the demo shows commands and checks how they end. Sourced by demo.sh.
#
# Invariant: a command that ends otherwise than was said fails the demo.

SHORT='s/(sha256[:-][0-9a-f]{8})[0-9a-f]{56}/\1…/g'
step() { printf '\n== %s\n' "$*"; }
say() { printf '   %s\n' "$*"; }
fail() { reason="$*"; exit 1; }

# shown WHO ARGUMENT...: prints a command of `sealstone` and runs it as WHO, who has a configuration directory of their own.
# Lines about single files are left out, digests are cut short. Returns the command's exit code.
shown() {
    local who=$1 code=0
    shift
    printf '   %s$ sealstone %s\n' "$who" "$*" | sed -E "$SHORT"
    DOCKER_CONFIG="$DIR/home-$who" "$CLIENT_BIN" "$@" >"$DIR/answer" 2>&1 || code=$?
    sed -E "/^(push|pull|copy) .*: /d; $SHORT; s/^/     | /" "$DIR/answer"
    return $code
}

# accepted WHO ARGUMENT...
accepted() {
    local code=0
    shown "$@" || code=$?
    [ $code = 0 ] || fail "that should have worked; exit code $code"
}

# refused CODES WHO ARGUMENT...: the command must end with one of the exit codes, as in "4|8".
refused() {
    local codes=$1 code=0
    shift
    shown "$@" || code=$?
    [[ "|$codes|" == *"|$code|"* ]] || fail "that must be refused with exit code $codes; it ended with $code"
    say "-> refused, exit code $code"
}

# nothing_at DIRECTORY: no such directory, and no half of it beside it.
nothing_at() {
    local left
    left=$(find "$(dirname "$1")" -maxdepth 1 -name "*$(basename "$1")*")
    [ -z "$left" ] || fail "it left something behind: $left"
    say "-> and nothing was left on the disk"
}

# flip_byte FILE: changes one bit in the middle.
flip_byte() {
    python3 - "$1" <<'PY'
import os, sys
path = sys.argv[1]
os.chmod(path, 0o600)
with open(path, "r+b") as file:
    file.seek(os.path.getsize(path) // 2)
    byte = file.read(1)[0]
    file.seek(-1, os.SEEK_CUR)
    file.write(bytes([byte ^ 1]))
PY
}

field() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }
digest_of() { "$CLIENT_BIN" --output json inspect "$1" | field digest; }
words_of() { "$CLIENT_BIN" --output json inspect "$1" | field name; }

# policy NAME KEY...: a policy under which models need the signature of NAME.
policy() {
    local name=$1 key
    shift
    printf 'schema = "sealstone-policy/v1"\n\n[[identity]]\nname = "%s"\nkeys = [' "$name"
    for key in "$@"; do printf '"""\n%s""", ' "$(cat "$key")"; done
    printf ']\n\n[[scope]]\nrepositories = ["models/**"]\ntags = "immutable"\n\n'
    printf '[[scope.require]]\nrule = "signatures"\nthreshold = 1\nidentities = ["%s"]\n' "$name"
}

# login WHO, with the secret on standard input.
login() { DOCKER_CONFIG="$DIR/home-$1" "$CLIENT_BIN" login "$REGISTRY" -u "$1" --password-stdin >/dev/null 2>&1; }
