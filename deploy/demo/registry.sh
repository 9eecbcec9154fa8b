# shellcheck shell=bash
# Keys, the registry and its accounts. Sourced by demo.sh.

admin() {
    DOCKER_CONFIG="$DIR/home-admin" "$CLIENT_BIN" --output json admin "$@" 2>notes || { cat notes >&2; return 1; }
}

start_the_registry() {
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

[[access]]                      # a person who makes models again and says what came of it
repositories = ["models/**"]
who = ["user:bob"]
verbs = ["pull", "sign"]

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
    say "the administrator makes three accounts: a robot that may push, bob, who may sign, and alice, who may only read"
    admin account add "$REGISTRY" pipeline --kind robot | field secret | login pipeline
    admin account add "$REGISTRY" bob | field secret | login bob
    admin account add "$REGISTRY" alice | field secret | login alice
    accepted pipeline admin whoami "$REGISTRY"
    accepted alice admin whoami "$REGISTRY"
}
