# shellcheck shell=bash
# What must be refused: a reader who pushes, a moved tag, a wrong pair of tag and words, a wrong key, flipped bits. Sourced by demo.sh after model.sh.
#
# Invariant: each refusal is checked by its exit code and by what lies on the disk afterwards.

refuse_what_is_wrong() {
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

    step "A tag and three words that do not belong together: REFUSED. People say a tag and a name, and both must be of one bundle"
    words=$(DOCKER_CONFIG="$DIR/home-alice" words_of "$NAME:1.0.0")
    say "1.0.0 is called $words"
    accepted alice verify "$NAME:1.0.0" --policy policy.toml --name "$words"
    refused 3 alice pull "$NAME:1.0.0" --policy policy.toml --name "$(words_of oci:other:1.0.0)" -o wrong-pair
    nothing_at wrong-pair

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
}
