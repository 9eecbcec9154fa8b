#!/usr/bin/env bash
# Runs the OCI conformance suite against the real server binary; see run.py, which takes the arguments.
set -euo pipefail
# shellcheck source=tests/setup/paths.sh
. "$(dirname "${BASH_SOURCE[0]}")/../setup/paths.sh"
exec python3 "$ROOT/tests/conformance/run.py" "$@" </dev/null
