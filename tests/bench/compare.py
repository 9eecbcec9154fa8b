#!/usr/bin/env python3
"""Two large safetensors files that differ in rounding: `sealstone compare` against `cmp` and numpy.

    compare.py PATH-TO-SEALSTONE [GIB] [DIRECTORY]     GIB is 5 if not stated; the directory needs three times that

Each row is wall time, rate over the bytes of both files, and peak memory of the process (its resident pages, which for mapped
files hold the page cache as well). Every tool runs on identical files (all bytes read) and on files of which every element
differs; `cmp` ends at the first difference, so it has no second row. Run with a release build; a warm-up pass comes first.
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


def run(label, command, total, codes):
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    # ru_maxrss counts what this script held when it forked; the process's own high-water mark does not.
    peak = 0
    while process.poll() is None:
        peak = max(peak, high_water(process.pid))
        time.sleep(0.01)
    seconds = time.monotonic() - started
    code = process.returncode
    if code not in codes:
        raise SystemExit(f"{label}: exit {code}")
    rate = total / seconds / (1 << 30)
    print(f"{label:<34} {seconds:8.2f} s {rate:7.2f} GiB/s {peak / 1024:9.1f} MiB", flush=True)


SEED = seed()
with tempfile.TemporaryDirectory(dir=scratch) as directory:
    base, now, same = (Path(directory, name) for name in ("base.safetensors", "now.safetensors", "same.safetensors"))
    write(base, False)
    write(now, True)
    shutil.copyfile(base, same)  # a link would be known to cmp as the same file
    total = 2 * base.stat().st_size
    print(f"two files of {base.stat().st_size / (1 << 30):.2f} GiB, {os.cpu_count()} processors", flush=True)
    subprocess.run(["cat", base, now], stdout=subprocess.DEVNULL, check=True)
    compare = [sealstone, "compare", "--output", "json", "--class", "numeric", "--rel-l2", "1"]
    run("cmp, identical", ["cmp", base, same], total, {0})
    run("sealstone, identical", [*compare, base, same], total, {0})
    run("sealstone, all elements differ", [*compare, base, now], total, {0})
    if subprocess.run([sys.executable, "-c", "import numpy"], stderr=subprocess.DEVNULL).returncode == 0:
        run("numpy, identical", [sys.executable, "-c", NUMPY, base, same], total, {0})
        run("numpy, all elements differ", [sys.executable, "-c", NUMPY, base, now], total, {0})
    else:
        print("numpy is not there")
