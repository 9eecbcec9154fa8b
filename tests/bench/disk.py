#!/usr/bin/env python3
"""One large blob against the bare disk: pushed and pulled, and the same bytes written and read without a registry.

    disk.py PATH-TO-SEALSTONE [GIB] [DIRECTORY]     GIB is 20 if not stated

Prints one JSON row for each measurement, in the manner of bench.py's rows. The bare disk is written and read past the page cache,
in blocks of 8 MiB, and flushed before the clock stops; our server writes past it too, so the pull comes from the disk as well.
`SEALSTONE_REGISTRY_BIN` and `SEALBENCH_BIN` name the programs.
"""

import json
import mmap
import os
import pathlib
import subprocess
import sys
import tempfile
import time

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent.parent / "setup")]

import servers  # noqa: E402

BLOCK = 8 << 20
blocks = max(int(float(sys.argv[2]) * (1 << 30)) // BLOCK, 1) if len(sys.argv) > 2 else (20 << 30) // BLOCK
size = blocks * BLOCK
scratch = sys.argv[3] if len(sys.argv) > 3 else None
label = f"{size / (1 << 30):g} GiB"


def row(scenario, peer, values):
    print(json.dumps({"scenario": scenario, "peer": peer, "group": "disk", "metric": "mb_per_s", "round": 0, **values}), flush=True)


def timed(path, flags, step):
    """Moves all blocks with `step`, and answers megabytes a second."""
    file = os.open(path, flags | os.O_DIRECT, 0o600)
    try:
        started = time.monotonic()
        for number in range(blocks):
            step(file, number)
        if flags & os.O_WRONLY:
            os.fsync(file)
        return {"mb_per_s": size / 1e6 / (time.monotonic() - started)}
    finally:
        os.close(file)


def bare(path):
    # Anonymous maps begin at a page, as writing past the cache asks.
    memory = mmap.mmap(-1, BLOCK)
    memory.write(os.urandom(BLOCK))

    def write(file, number):
        memory[:8] = number.to_bytes(8, "little")
        if os.writev(file, [memory]) != BLOCK:
            raise SystemExit("the disk took part of a block only")

    def read(file, number):
        if os.preadv(file, [memory], number * BLOCK) != BLOCK:
            raise SystemExit("the disk gave part of a block only")

    row(f"push {label} to the disk", "raw disk", timed(path, os.O_WRONLY | os.O_CREAT, write))
    row(f"first pull of {label} from the disk", "raw disk", timed(path, os.O_RDONLY, read))
    path.unlink()


def load(server, seed, *words):
    command = [os.environ["SEALBENCH_BIN"], *words, "--bytes", str(size), "--seed", str(seed), "--target", server.host, "--pid", str(server.server_pid)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=3600)
    if done.returncode != 0:
        raise SystemExit(f"sealbench {words[0]}: {done.stderr.strip()[:400]}")
    answer = json.loads(done.stdout)
    answer.pop("scenario")
    return answer


seed = int.from_bytes(os.urandom(5), "big")
with tempfile.TemporaryDirectory(dir=scratch) as directory:
    bare(pathlib.Path(directory, "blocks"))
    with servers.Server("sealstone", pathlib.Path(directory, "server"), auth=False) as server:
        row(f"push {label} to the disk", "sealstone", load(server, seed, "push"))
        row(f"first pull of {label} from the disk", "sealstone", load(server, seed, "pull"))
