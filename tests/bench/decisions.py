#!/usr/bin/env python3
"""How fast a policy decides, and what a release costs that has many signed referrers: `decisions` (tests/src/bin), as rows.

    decisions.py PATH-TO-SEALSTONE [REFERRERS] [DIRECTORY]     REFERRERS is 1000 if not stated

Prints one JSON row for each measurement, in the manner of bench.py's rows, then a table of medians. `decisions` and `sealstone-registry`
lie beside the client that is named. Verdicts a second are of one thread, for the release of spec/vectors that is admitted; `from bytes`
reads its evidence anew each time. Of the manifest with its referrers: the push of the release tag, which judges it, the first pull
by somebody who may only pull, and the median of fifty more. Wants a release build.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys

ROUNDS = 3
BINARIES = pathlib.Path(sys.argv[1]).resolve().parent
REFERRERS = sys.argv[2] if len(sys.argv) > 2 else "1000"
SCRATCH = sys.argv[3] if len(sys.argv) > 3 else None


def measured():
    """What `decisions` says, once."""
    environment = {**os.environ, "SEALSTONE_BIN_DIR": str(BINARIES)}
    if SCRATCH:
        environment["TMPDIR"] = str(SCRATCH)
    ended = subprocess.run([BINARIES / "decisions", REFERRERS], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if ended.returncode != 0:
        raise SystemExit(f"decisions: exit {ended.returncode}\n{ended.stdout[-2000:]}{ended.stderr[-2000:]}")
    return json.loads(ended.stdout.splitlines()[-1])


def rows_of(found):
    """Scenario, metric and value of each measurement."""
    verdicts, pull = found["verdicts"], found["pull"]
    size = f"{verdicts['rules']} rules and {verdicts['signatures']} signatures"
    with_referrers = f"{pull['referrers']} signed referrers"
    return [
        (f"decisions, {size}", "per_s", verdicts["perSecond"]),
        (f"decisions, {size}, from bytes", "per_s", verdicts["perSecondFromBytes"]),
        (f"decisions, release with {with_referrers}", "ms", pull["releaseMillis"]),
        (f"decisions, first pull with {with_referrers}", "ms", pull["firstPullMillis"]),
        (f"decisions, later pull with {with_referrers}", "ms", pull["laterPullMillis"]),
    ]


def main():
    if not (BINARIES / "decisions").exists():
        raise SystemExit(f"decisions: there is none in {BINARIES}: run `make build`")
    collected = {}
    for number in range(ROUNDS):
        for scenario, metric, value in rows_of(measured()):
            collected.setdefault((scenario, metric), []).append(value)
            row = {"scenario": scenario, "peer": "sealstone", "group": "decisions", "metric": metric, "round": number, metric: value}
            print(json.dumps(row), flush=True)
    print(f"\n{'':<56} {'median':>10}   (of {ROUNDS})")
    for (scenario, metric), values in collected.items():
        print(f"{scenario:<56} {statistics.median(values):10.2f} {'/s' if metric == 'per_s' else metric}")


if __name__ == "__main__":
    main()
