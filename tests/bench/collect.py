#!/usr/bin/env python3
"""What collecting garbage costs: how long it takes over many blobs, and what pushes meanwhile feel of it.

    collect.py PATH-TO-SEALSTONE [BLOBS] [DIRECTORY]     BLOBS is a million if not stated; a million take minutes to push

Prints one JSON row for each measurement, in the manner of bench.py's rows. Small blobs that nothing names are pushed, then small
artifacts are pushed twice: before the collection, and again and again while it runs. `SEALSTONE_REGISTRY_BIN` and `SEALBENCH_BIN`
name the programs. An answer of the collector that does not name every blob ends the run with an error.
"""

import base64
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent.parent / "setup")]

import servers  # noqa: E402

count = int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000
scratch = sys.argv[3] if len(sys.argv) > 3 else None
# Nothing is kept for later, so that one collection takes everything.
SETTINGS = "[collect]\nevery_seconds = 0\nkeep_unused_seconds = 1\nkeep_trash_seconds = 1\n"
ARTIFACTS = 400


def row(scenario, metric, values):
    print(json.dumps({"scenario": scenario, "peer": "sealstone", "group": "collect", "metric": metric, "round": 0, **values}), flush=True)


def load(server, seed, *words):
    command = [os.environ["SEALBENCH_BIN"], *map(str, words), "--seed", str(seed), "--target", server.host, "--pid", str(server.server_pid)]
    environment = {**os.environ, "SEALBENCH_AUTH": server.basic()}
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=3600, env=environment)
    if done.returncode != 0:
        raise SystemExit(f"sealbench {words[0]}: {done.stderr.strip()[:400]}")
    answer = json.loads(done.stdout)
    answer.pop("scenario")
    return answer


def administrator(server):
    found = re.search(r"secret: (\S+)", server.log_path.read_text())
    if not found:
        raise SystemExit("the registry told no administrator's secret")
    return "Basic " + base64.b64encode(f"admin:{found[1]}".encode()).decode()


def collect(server, secret):
    request = urllib.request.Request(server.url + "/api/v1/gc", method="POST", headers={"Authorization": secret})
    started = time.monotonic()
    with urllib.request.urlopen(request, timeout=3600) as answer:
        return time.monotonic() - started, json.load(answer)


seed = int.from_bytes(os.urandom(5), "big")
with tempfile.TemporaryDirectory(dir=scratch) as directory:
    with servers.Server("sealstone", pathlib.Path(directory, "server"), settings={"extra": SETTINGS}) as server:
        secret = administrator(server)
        artifacts = ("small", "--count", ARTIFACTS, "--streams", 8)
        row("small artifacts on an empty server, 8 clients", "per_s", load(server, seed + 1, *artifacts))
        seeded = load(server, seed, "blobs", "--bytes", 256, "--count", count, "--streams", 8, "--seconds", 3600)
        row(f"push of {count} blobs of 256 bytes, 8 clients", "per_s", seeded)
        row(f"small artifacts beside {count} blobs, 8 clients", "per_s", load(server, seed + 2, *artifacts))
        time.sleep(2)
        answers = []
        collector = threading.Thread(target=lambda: answers.append(collect(server, secret)))
        collector.start()
        meanwhile = []
        while collector.is_alive():
            pushed = load(server, seed + 3 + len(meanwhile), *artifacts)
            if collector.is_alive() or not meanwhile:
                meanwhile.append(pushed)
        collector.join()
        if not answers:
            raise SystemExit("the collection failed: the registry's log tells more\n" + server.log_tail())
        seconds, report = answers[0]
        if report["blobs"] < count:
            raise SystemExit(f"the collector took {report['blobs']} blobs of {count}: {report}")
        row(f"collection of {count} blobs while artifacts are pushed", "seconds", {"seconds": round(seconds, 3), "report": report})
        merged = {name: statistics.median(each[name] for each in meanwhile) for name in ("per_s", "p50_us", "p99_us", "p999_us", "cpu_us_per_operation")}
        row("small artifacts while the collection runs, 8 clients", "per_s", {**merged, "vmhwm_kib": max(each["vmhwm_kib"] for each in meanwhile), "runs": len(meanwhile)})
