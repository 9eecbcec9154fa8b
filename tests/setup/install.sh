#!/usr/bin/env bash
# Installs what is missing for the groups named on the command line, where it may; names it exactly otherwise.
#
#   install.sh build         what `cargo build` needs                        (missing: fails)
#   install.sh demo          build, and python3-venv for the demo's model    (missing: fails)
#   install.sh conformance   the OCI conformance suite                       (missing: fails)
#   install.sh clients       the clients that the interoperability tests drive (missing: listed, does not fail;
#                            tests/interop/run.py fails without those that it requires)
#   install.sh runners       what stages are isolated with and traced, and git (missing: listed, does not fail)
#   install.sh examples      the wheels and data of the examples in tests/examples (missing: listed, does not fail)
#   install.sh peers         the registries that the benchmark compares with   (missing: listed, does not fail)
#
# It does not touch the system beyond packages: no service is started, no file outside the package manager's and
# $SEALSTONE_TOOLS is written. Invariant: with everything there it takes well under a second and prints one line.
set -uo pipefail
# shellcheck source=tests/setup/paths.sh
. "$(dirname "${BASH_SOURCE[0]}")/paths.sh"

BIN="$SEALSTONE_TOOLS/bin"
LOG="$SEALSTONE_TOOLS/install.log"
# Seconds that all Go builds of one run may take together; what does not fit is listed as missing.
BUDGET="${SEALSTONE_SETUP_BUDGET:-1500}"
missing=() ; required_missing=() ; installed=() ; present=0 ; apt_updated=

mkdir -p "$BIN"
say() { printf 'setup: %s\n' "$*"; }
have() { command -v "$1" >/dev/null 2>&1; }

may_install() { [ "$(id -u)" = 0 ] && have apt-get && [ -z "${SEALSTONE_SETUP_OFFLINE:-}" ]; }

# apt_lists: brings the package lists up to date, once, where that may be done.
apt_lists() {
    if [ -n "$apt_updated" ] || ! may_install; then return 0; fi
    say "updating the package lists"
    apt-get update -qq </dev/null >>"$LOG" 2>&1
    apt_updated=1
}

# apt_install PACKAGE...: true when all were installed.
apt_install() {
    may_install || return 1
    apt_lists
    say "installing $*"
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" </dev/null >>"$LOG" 2>&1
}

# want SEVERITY NAME CHECK PACKAGE...: runs CHECK; installs PACKAGE... when it fails.
want() {
    local severity=$1 name=$2 check=$3
    shift 3
    if eval "$check" >/dev/null 2>&1; then
        present=$((present + 1))
        return
    fi
    if apt_install "$@" && eval "$check" >/dev/null 2>&1; then
        installed+=("$name")
        return
    fi
    lack "$severity" "$name (Debian: apt-get install $*)"
}

lack() {
    missing+=("$2")
    [ "$1" = required ] && required_missing+=("$2")
    return 0
}

# bindgen looks for libclang.so or libclang-N.so, with or without a version; libclang-cpp.so is another library.
libclang() {
    [ -n "${LIBCLANG_PATH:-}" ] && return 0
    ldconfig -p 2>/dev/null | grep -qE 'libclang(-[0-9.]+)?\.so' && return 0
    compgen -G '/usr/lib/llvm-*/lib/libclang.so*' >/dev/null || compgen -G '/usr/lib/llvm-*/lib/libclang-[0-9]*.so*' >/dev/null
}

venv_works() {
    python3 -c 'import ensurepip, venv, sys; sys.exit(sys.version_info < (3, 9))'
}

rust_works() {
    cargo --version && rustc --version | awk '{split($2,v,"."); exit !(v[1]>1 || v[2]>=95)}'
}

# The tools' modules ask for Go 1.24 and later. From 1.21 on, Go fetches the version that is asked for, where it may.
go_works() {
    local minor
    minor=$(go version 2>/dev/null | sed -n 's/.*go1\.\([0-9]*\).*/\1/p')
    [ -n "$minor" ] || return 1
    [ "$minor" -lt 24 ] || return 0
    [ "$minor" -ge 21 ] && case "$(go env GOTOOLCHAIN)" in auto | *+auto) true ;; *) false ;; esac
}

# go_tool SEVERITY NAME: builds one line of tools.tsv and links it into $BIN.
go_tool() {
    local severity=$1 name=$2 package version line target started
    line=$(awk -F'\t' -v n="$name" '$1==n' "$ROOT/tests/setup/tools.tsv")
    package=$(cut -f2 <<<"$line")
    version=$(cut -f3 <<<"$line")
    target="$SEALSTONE_TOOLS/$name-$version"
    if [ -x "$target" ]; then
        present=$((present + 1))
    elif ! go_works; then
        lack "$severity" "$name $version (needs Go 1.24 or later, or 1.21 with GOTOOLCHAIN=auto; Debian 12 itself has 1.19: take golang-go from bookworm-backports, or the download of Go's own site)"
        return
    elif [ -n "${SEALSTONE_SETUP_OFFLINE:-}" ]; then
        lack "$severity" "$name $version (SEALSTONE_SETUP_OFFLINE is set; go install $package@$version)"
        return
    elif [ $SECONDS -ge "$BUDGET" ]; then
        lack "$severity" "$name $version (the ${BUDGET} s of SEALSTONE_SETUP_BUDGET are used up; go install $package@$version)"
        return
    else
        say "building $name $version"
        started=$SECONDS
        mkdir -p "$SEALSTONE_TOOLS/build.$$"
        if GOBIN="$SEALSTONE_TOOLS/build.$$" GOFLAGS="${GOFLAGS:-} -trimpath" \
            timeout $((BUDGET - SECONDS)) nice -n 10 go install "$package@$version" </dev/null >>"$LOG" 2>&1 ||
            go_from_module "$package" "$version" "$SEALSTONE_TOOLS/build.$$" >>"$LOG" 2>&1; then
            mv "$SEALSTONE_TOOLS/build.$$/$(basename "$package")" "$target"
            installed+=("$name in $((SECONDS - started))s")
        else
            lack "$severity" "$name $version (go install $package@$version failed; see $LOG)"
        fi
        rm -rf "$SEALSTONE_TOOLS/build.$$"
    fi
    [ -x "$target" ] && ln -sfn "$target" "$BIN/$name"
}

# go_from_module PACKAGE VERSION FOLDER: builds a module's main package in a copy of the module. `go install` also asks
# for the list of all versions, which some proxies do not give.
go_from_module() {
    local package=$1 version=$2 folder=$3 source
    source=$(timeout 120 go mod download -json "$package@$version" </dev/null | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
    [ -n "$source" ] && cp -r "$source" "$folder/source" && chmod -R u+w "$folder/source" &&
        (cd "$folder/source" && timeout $((BUDGET - SECONDS)) nice -n 10 go build -trimpath -o "$folder/$(basename "$package")" . </dev/null)
}

# python_tool NAME VERSION PACKAGE...: Python packages in a virtual environment of their own, named NAME.
python_tool() {
    local name=$1 version=$2 venv="$SEALSTONE_TOOLS/$1-$2"
    shift 2
    if [ -f "$venv/ready" ]; then
        present=$((present + 1))
    elif [ -z "${SEALSTONE_SETUP_OFFLINE:-}" ] && venv_works >/dev/null 2>&1 &&
        python3 -m venv "$venv" >>"$LOG" 2>&1 &&
        "$venv/bin/pip" install -q --disable-pip-version-check "$@" </dev/null >>"$LOG" 2>&1; then
        touch "$venv/ready"
        installed+=("$name")
    else
        rm -rf "$venv"
        lack optional "$name $version (python3-venv and the Python packages $*)"
        return
    fi
    ln -sfn "$venv" "$SEALSTONE_TOOLS/$name"
}

# example NAME [FILE...]: the wheels of an example's lock, an environment with them, and the data that its src/export.py
# writes. Everything comes by the digests of the lock, or is compared with the recipe's when the example runs. FILE...
# are what `example_wheels NAME` makes a wheel with that Python's own registry does not have.
example() {
    local name=$1 project="$ROOT/tests/examples/$1" python='' candidate folder lock
    shift
    folder="$SEALSTONE_TOOLS/example-$name-$(cat "$project/requirements.lock" "$project/src/export.py" "$@" | sha256sum | cut -c1-16)"
    for candidate in python3.11 python3 /usr/bin/python3; do
        if "$candidate" -c 'import ensurepip, venv, sys; sys.exit(sys.version_info[:2] != (3, 11))' >/dev/null 2>&1; then
            python=$candidate
            break
        fi
    done
    lock="$project/requirements.lock"
    if [ -f "$folder/ready" ]; then
        present=$((present + 1))
    elif [ -n "$python" ] && [ -z "${SEALSTONE_SETUP_OFFLINE:-}" ] && rm -rf "$folder" && mkdir -p "$folder/wheels" &&
        say "fetching the wheels of the example $name" &&
        "$python" -m venv "$folder/venv" </dev/null >>"$LOG" 2>&1 &&
        example_wheels "$name" "$folder" &&
        { [ ! -f "$folder/requirements.lock" ] || lock="$folder/requirements.lock"; } &&
        "$folder/venv/bin/pip" download --quiet --disable-pip-version-check --no-input --require-hashes --no-deps \
            --only-binary :all: --find-links "$folder/wheels" --dest "$folder/wheels" -r "$lock" </dev/null >>"$LOG" 2>&1 &&
        "$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-input --require-hashes --no-deps --no-index \
            --find-links "$folder/wheels" -r "$lock" </dev/null >>"$LOG" 2>&1 &&
        (cd "$folder" && venv/bin/python "$project/src/export.py") </dev/null >>"$LOG" 2>&1; then
        touch "$folder/ready"
        installed+=("the example $name")
    else
        rm -rf "$folder"
        lack optional "the example $name (Python 3.11 with venv, and the wheels of tests/examples/$name/requirements.lock; see $LOG)"
        return
    fi
    ln -sfn "$folder" "$SEALSTONE_TOOLS/example-$name"
}

# example_wheels NAME FOLDER: makes the wheels of an example that are to be made, in FOLDER/wheels.
example_wheels() {
    [ "$1" = words ] || return 0
    apt_lists
    say "making a wheel of Debian's PyTorch: 50 MB to fetch, half a minute"
    "$2/venv/bin/python" "$ROOT/tests/setup/torch_wheel.py" "$ROOT/tests/examples/words" "$2" </dev/null >>"$LOG" 2>&1 || return 1
    # Not what the lock in the clone names: a test then takes the lock that was written beside the wheels.
    [ ! -f "$2/requirements.lock" ] || say "it is not the one of tests/examples/words/requirements.lock; see $LOG"
}

# node_tool NAME VERSION PACKAGE...: Node packages in a directory of their own, named NAME.
node_tool() {
    local name=$1 version=$2 folder="$SEALSTONE_TOOLS/$1-$2"
    shift 2
    if [ -f "$folder/ready" ]; then
        present=$((present + 1))
    elif [ -z "${SEALSTONE_SETUP_OFFLINE:-}" ] && have node && have npm && mkdir -p "$folder" &&
        npm install --prefix "$folder" --ignore-scripts --no-audit --no-fund --silent "$@" </dev/null >>"$LOG" 2>&1; then
        touch "$folder/ready"
        installed+=("$name")
    else
        rm -rf "$folder"
        lack optional "$name $version (node, npm and the Node packages $*)"
        return
    fi
    ln -sfn "$folder" "$SEALSTONE_TOOLS/$name"
}

group_build() {
    rust_works >/dev/null 2>&1 && present=$((present + 1)) || lack required "a Rust toolchain, 1.95 or later (cargo and rustc on the PATH)"
    want required "a C compiler" 'have cc' gcc libc6-dev
    want required "a C++ compiler" 'have c++' g++
    want required "libclang, for RocksDB's bindings" libclang clang libclang-dev
    want required python3 'have python3' python3
}

group_demo() {
    group_build
    want required "python3-venv" venv_works python3-venv
    want required openssl 'have openssl' openssl
    # The last part of the demo; without it the rest can be shown.
    example digits
}

group_conformance() { go_tool required conformance; }

group_clients() {
    want optional python3-venv venv_works python3-venv
    want optional skopeo 'have skopeo' skopeo
    want optional podman 'have podman' podman
    want optional "containerd (ctr)" 'have ctr && have containerd' containerd
    want optional docker-registry 'have docker-registry' docker-registry
    want optional curl 'have curl' curl
    python_tool oras-py 0.2.43 oras==0.2.43
    # model-signing forgets to ask for pyOpenSSL.
    python_tool model-signing 1.1.1 model-signing==1.1.1 pyOpenSSL
    # The oracles of `sealstone compare` (tests/oracles).
    python_tool numpy 2.4.6 numpy==2.4.6 safetensors==0.8.0
    # The libraries whose formats it reads: 320 MB.
    python_tool models 2026.11 numpy==2.4.6 onnx==1.23.2 gguf==0.19.0 xgboost-cpu==3.2.0 lightgbm==4.7.0
    python_tool securesystemslib 1.6.0 'securesystemslib[crypto]==1.6.0'
    python_tool cyclonedx 11.12.0 'cyclonedx-python-lib[json-validation]==11.12.0'
    python_tool spdx 0.8.5 spdx-tools==0.8.5
    node_tool sigstore-js 4.1.3 @sigstore/verify@4.1.3 @sigstore/bundle@5.0.1 @sigstore/protobuf-specs@0.5.2
    want optional ssh-keygen 'have ssh-keygen' openssh-client
    local name
    for name in oras crane regctl helm cosign modctl; do go_tool optional "$name"; done
}

group_runners() {
    want optional bubblewrap 'have bwrap' bubblewrap
    want optional "an OCI runtime (runc)" 'have runc || have crun' runc
    want optional strace 'have strace' strace
    want optional git 'have git' git
    want optional python3-venv venv_works python3-venv
}

group_examples() {
    want optional python3-venv venv_works python3-venv
    example digits
    example words "$ROOT/tests/setup/torch.tsv" "$ROOT/tests/setup/torch_wheel.py"
}

group_peers() {
    want optional docker-registry 'have docker-registry' docker-registry
    want optional skopeo 'have skopeo' skopeo
    want optional strace 'have strace' strace
    go_tool optional distribution
}

[ $# -gt 0 ] || set -- build
for group in "$@"; do
    case "$group" in
    build | demo | conformance | clients | runners | examples | peers) "group_$group" ;;
    *) say "unknown group '$group'; known: build demo conformance clients runners examples peers" >&2 && exit 2 ;;
    esac
done

summary="$* ready: $present there, ${#installed[@]} installed, ${#missing[@]} missing"
say "$summary"
for name in "${installed[@]}"; do say "installed $name"; done
for name in "${missing[@]}"; do say "MISSING $name"; done
if [ ${#required_missing[@]} -gt 0 ]; then
    say "cannot go on without: ${required_missing[*]}" >&2
    exit 1
fi
