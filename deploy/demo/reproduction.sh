# shellcheck shell=bash
# A model that is made here: trained, sealed, refused, made again by somebody else with another key, and released.
# Sourced by demo.sh. The project is tests/examples/digits.

# A person of the policy below: NAME TEAM ROLES.
person() {
    printf '[[identity]]\nname = "%s"\nteams = ["%s"]\nroles = [%s]\nkeys = ["""\n%s""", """\n%s"""]\n\n' \
        "$1" "$2" "$3" "$(cat "keys/$1.pub")" "$(cat "keys/$1-p256.pub")"
}

# Rules that ask for more than a signature, in the words of spec/text/05-policy.md.
stricter_policy() {
    printf 'schema = "sealstone-policy/v2"\nversion = 1\nexpires = "2099-01-01T00:00:00Z"\n\n'
    printf '[roots]\nthreshold = 1\nkeys = ["""\n%s"""]\n\n' "$(cat keys/root.pub)"
    person release growth '"release", "builder", "reproducer"'
    person bob platform '"reproducer"'
    printf '[[scope]]\nrepositories = ["models/**"]\n[[scope.require]]\nrule = "signatures"\nidentities = ["release"]\n\n'
    printf '[[scope]]\nrepositories = ["models/digits"]\n[[scope.require]]\nrule = "signatures"\nidentities = ["release"]\n'
    printf '[[scope.require]]\nrule = "provenance"\nbuilders = ["https://builds.example/*"]\n'
    printf '[[scope.require]]\nrule = "reproduction"\nclass = "numeric"\n'
}

release_what_was_made_again() {
    local example="$TOOLS/example-digits" digits="$REGISTRY/models/digits" made
    if [ ! -f "$example/ready" ]; then
        step "LEFT OUT: a model that somebody else makes again, which needs Python 3.11. tests/setup/install.sh demo says what it lacks"
        left_out=yes
        return
    fi

    step "A model that is made here: recipe.toml says from which data, by which steps, and how exactly it must come out again"
    cp -r "$PARTS/../../tests/examples/digits" digits
    cp -r "$example/data" "$example/wheels" digits/
    say "scikit-learn, on its own pictures of handwritten digits; every package is locked by its digest"
    accepted pipeline run digits --quiet
    say "-> trained and measured; recipe.lock says what was read, run and written, each by its digest"

    step "The rules grow: models/digits may be released only after somebody other than the builder has made it again"
    "$CLIENT_BIN" keygen --out keys/root --no-passphrase >/dev/null 2>&1
    "$CLIENT_BIN" keygen --out keys/bob --no-passphrase >/dev/null 2>&1
    stricter_policy >stricter.toml
    accepted you policy explain stricter.toml models/digits
    accepted you policy sign stricter.toml --key keys/root.key --only -o stricter.json
    accepted admin policy push "$REGISTRY" stricter.json

    step "Pack, push, sign, and say how it was built"
    accepted pipeline pack digits -o digits-layout:1.0.0 --name digits --version 1.0.0
    made=$(digest_of oci:digits-layout:1.0.0)
    accepted pipeline push oci:digits-layout:1.0.0 "$digits"
    accepted pipeline sign "$digits@$made" --key keys/release.key --passphrase-file passphrase
    accepted pipeline attest "$digits@$made" --lock --source git+https://git.example/digits@refs/tags/v1.0.0 \
        --builder-id https://builds.example/1 --ci none --key keys/release.key --passphrase-file passphrase

    step "Release: REFUSED, because nobody has made it again"
    refused 3 pipeline release "$digits@$made" 1.0.0

    step "The builder makes it again: that is no independent word, so it is REFUSED still"
    accepted pipeline replay "$digits@$made" --key keys/release.pub --builder builder --sign-with keys/release.key --passphrase-file passphrase --push
    refused 3 pipeline release "$digits@$made" 1.0.0

    step "Bob makes it again, on a machine of his own with a key of his own: trained anew from the bundle alone, and compared"
    accepted bob replay "$digits@$made" --key keys/release.pub --builder bobs-machine --sign-with keys/bob.key --push

    step "Release, and alice pulls by the registry's signed rules"
    accepted pipeline release "$digits@$made" 1.0.0
    accepted alice pull "$digits:1.0.0" --registry-policy -o digits-model
    cmp digits/model/weights.safetensors digits-model/model/weights.safetensors || fail "what came out is not what went in"
    accepted alice status "$digits:1.0.0"

    step "Somebody changes the learning rate and keeps quiet about it: the replay says what, where, and why"
    sed -i 's/^learning_rate = 0.2$/learning_rate = 0.25/' digits/params.toml
    refused 2 bob replay digits
}
