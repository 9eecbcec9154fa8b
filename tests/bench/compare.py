#!/usr/bin/env python3
"""Two large safetensors files that differ in rounding: `sealstone compare` against `cmp` and numpy.

    compare.py PATH-TO-SEALSTONE [GIB] [DIRECTORY]     GIB is 5 if not stated; the directory needs three times that

Prints one JSON row for each measurement, in the manner of bench.py's rows, then a table: wall time, rate over the bytes of both
files, and peak memory of the process (its resident pages, which for mapped files hold the page cache as well). Every tool runs on
identical files (all bytes read) and on files of which every element differs; `cmp` ends at the first difference, so it has no
second row. Run with a release build; a warm-up pass comes first.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sealstone = sys.argv[1]
size = float(sys.argv[2]) if len(sys.argv) > 2 else 5.0
scratch = sys.argv[3] if len(sys.argv) > 3 else None
TENSOR = 64 << 20

NUMPY = """
import json, sys
import numpy as np
def tensors(path):
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    data = np.memmap(path, dtype=np.uint8, mode="r", offset=8 + length)
    return {name: data[slice(*entry["data_offsets"])].view(np.float32) for name, entry in header.items()}
one, two = tensors(sys.argv[1]), tensors(sys.argv[2])
worst = 0.0
for name, base in one.items():
    b = base.astype(np.float64)
    d = two[name].astype(np.float64) - b
    worst = max(worst, float(np.linalg.norm(d) / np.linalg.norm(b)))
print(worst)
"""


def write(path, flip):
    """Tensors of 64 MiB, noise from a generator that needs no numpy; `flip` changes the last bit of every element."""
    count = max(int(size * (1 << 30)) // TENSOR, 1)
    header, at = {}, 0
    for number in range(count):
        header[f"layer.{number}"] = {"dtype": "F32", "shape": [TENSOR // 4], "data_offsets": [at, at + TENSOR]}
        at += TENSOR
    text = json.dumps(header).encode()
    mask = int.from_bytes(b"\x01\0\0\0" * (TENSOR // 4), "little")
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for number in range(count):
            block = SEED[number % len(SEED)]
            if flip:
                block = (int.from_bytes(block, "little") ^ mask).to_bytes(TENSOR, "little")
            file.write(block)


def seed():
    # Random mantissas under exponents near one: all finite, none zero.
    import random

    blocks = []
    for number in range(2):
        noise = bytearray(random.Random(number).randbytes(TENSOR))
        noise[3::4] = b"\x3f" * (TENSOR // 4)
        noise[2::4] = bytes(byte | 0x80 for byte in noise[2::4])
        blocks.append(bytes(noise))
    return blocks


def high_water(pid):
    """KiB that were resident at most, of the program that runs now."""
    try:
        with open(f"/proc/{pid}/status") as file:
            lines = [line.split() for line in file if line.startswith("VmHWM:")]
    except OSError:
        return 0
    return int(lines[0][1]) if lines else 0


ROWS = []


def run(what, peer, command, total):
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    # ru_maxrss counts what this script held when it forked; the process's own high-water mark does not.
    peak = 0
    while process.poll() is None:
        peak = max(peak, high_water(process.pid))
        time.sleep(0.01)
    seconds = time.monotonic() - started
    if process.returncode != 0:
        raise SystemExit(f"{peer}, {what}: exit {process.returncode}")
    row = {"scenario": f"compare 2 x {size:g} GiB, {what}", "peer": peer, "group": "compare", "metric": "mb_per_s", "round": 0, "seconds": round(seconds, 3)}
    row |= {"mb_per_s": round(total / seconds / 1e6, 1), "vmhwm_kib": peak}
    ROWS.append(row)
    print(json.dumps(row), flush=True)


def with_numpy():
    """A Python that has numpy: the one that runs this, or that of set-up."""
    tools = os.environ.get("SEALSTONE_TOOLS") or Path.home() / ".cache/sealstone/tools"
    for python in (sys.executable, Path(tools, "numpy/bin/python")):
        try:
            if subprocess.run([python, "-c", "import numpy"], stderr=subprocess.DEVNULL).returncode == 0:
                return python
        except OSError:
            pass
    return None


SEED = seed()
with tempfile.TemporaryDirectory(dir=scratch) as directory:
    base, now, same = (Path(directory, name) for name in ("base.safetensors", "now.safetensors", "same.safetensors"))
    write(base, False)
    write(now, True)
    shutil.copyfile(base, same)  # a link would be known to cmp as the same file
    total = 2 * base.stat().st_size
    subprocess.run(["cat", base, now], stdout=subprocess.DEVNULL, check=True)
    compare = [sealstone, "compare", "--output", "json", "--class", "numeric", "--rel-l2", "1"]
    run("identical", "cmp", ["cmp", base, same], total)
    run("identical", "sealstone", [*compare, base, same], total)
    run("all elements differ", "sealstone", [*compare, base, now], total)
    if python := with_numpy():
        run("identical", "numpy", [python, "-c", NUMPY, base, same], total)
        run("all elements differ", "numpy", [python, "-c", NUMPY, base, now], total)
    else:
        print("compare: numpy is not there: tests/setup/install.sh clients brings it", file=sys.stderr)
    print(f"\ntwo files of {total / 2 / (1 << 30):.2f} GiB, {os.cpu_count()} processors")
for row in ROWS:
    print(f"{row['peer'] + ', ' + row['scenario'].split(', ')[1]:<34} {row['seconds']:8.2f} s {row['mb_per_s']:9.1f} MB/s {row['vmhwm_kib'] / 1024:9.1f} MiB")
