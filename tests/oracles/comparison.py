#!/usr/bin/env python3
"""`sealstone compare` held against numpy: the same files, the same figures.

    comparison.py PATH-TO-SEALSTONE [CASES]

Makes pairs of files from a fixed seed (npy, npz, safetensors where that package is there, .pt where torch is), asks the command,
and computes every figure again with numpy in extended precision. Prints what was compared; exit 1 on the first difference.
"""

import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

try:
    from safetensors.numpy import save_file
except ImportError:
    save_file = None
try:
    import torch
except ImportError:
    torch = None

SEALSTONE = sys.argv[1]
CASES = int(sys.argv[2]) if len(sys.argv) > 2 else 60
RNG = np.random.default_rng(20260805)
# Relative difference of figures that are sums: numpy adds in another order.
CLOSE = 1e-12


def ask(base, now, *rule):
    command = [SEALSTONE, "compare", str(base), str(now), "--output", "json", *rule]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if ended.returncode not in (0, 3):
        raise SystemExit(f"{command}: exit {ended.returncode}: {ended.stderr}")
    return ended.returncode, json.loads(ended.stdout)


def figures(base, now):
    """What numpy says, over pairs in which both are finite."""
    b, n = base.astype(np.longdouble).ravel(), now.astype(np.longdouble).ravel()
    finite = np.isfinite(b) & np.isfinite(n)
    raw = f"u{base.dtype.itemsize}"
    changed = base.ravel().view(raw) != now.ravel().view(raw)
    bf, nf = b[finite], n[finite]
    difference = nf - bf
    norm = np.sqrt((bf * bf).sum())
    result = {
        "changed": int(changed.sum()),
        "signFlips": int((((b > 0) & (n < 0)) | ((b < 0) & (n > 0))).sum()),
        "baseNan": int(np.isnan(b).sum()),
        "nowNan": int(np.isnan(n).sum()),
        "maxAbs": float(np.abs(difference).max()) if difference.size else 0.0,
        "meanAbs": float(np.abs(difference).mean()) if difference.size else 0.0,
        "relL2": float(np.sqrt((difference**2).sum()) / norm) if norm > 0 else None,
        "scaledMax": float(np.abs(difference).max() / (norm / np.sqrt(b.size))) if norm > 0 else None,
        "first": list(map(int, np.unravel_index(int(changed.argmax()), base.shape))) if changed.any() else None,
    }
    both = norm * np.sqrt((nf * nf).sum())
    result["cosine"] = float((bf * nf).sum() / both) if both > 0 else None
    if difference.size and finite.all():
        result["worst"] = list(map(int, np.unravel_index(int(np.abs(difference).argmax()), base.shape)))
    return result


def expect(label, found, expected, close=CLOSE):
    if expected is None:
        return
    if isinstance(expected, float):
        found = float(found)
        if not (found == expected or math.isclose(found, expected, rel_tol=close, abs_tol=1e-300)):
            raise SystemExit(f"{label}: sealstone says {found!r}, numpy {expected!r}")
    elif found != expected:
        raise SystemExit(f"{label}: sealstone says {found!r}, numpy {expected!r}")


def check(label, answer, pairs):
    by_name = {tensor["tensor"]: tensor for tensor in answer.get("tensors", [])}
    compared = 0
    for name, (base, now) in pairs.items():
        wanted = figures(base, now)
        if wanted["changed"] == 0:
            if name in by_name:
                raise SystemExit(f"{label}: {name} is said to differ")
            continue
        tensor = by_name[name]
        where = f"{label} {name} {base.dtype} {base.shape}"
        for key in ("changed", "signFlips", "baseNan", "nowNan"):
            expect(f"{where} {key}", tensor[key], wanted[key])
        for key in ("maxAbs", "meanAbs", "relL2", "scaledMax"):
            expect(f"{where} {key}", tensor[key], wanted[key])
        # A cosine near 1 or 0 is a difference of large sums: absolute precision is what it has.
        if wanted["cosine"] is not None and abs(float(tensor["cosine"]) - wanted["cosine"]) > 1e-12:
            raise SystemExit(f"{where} cosine: {tensor['cosine']} and {wanted['cosine']!r}")
        expect(f"{where} firstIndex", tensor["firstIndex"], wanted["first"])
        if wanted.get("worst") is not None and wanted["maxAbs"] > 0:
            expect(f"{where} at", tensor["at"]["index"], wanted["worst"])
        compared += 1
    return compared


def array(dtype):
    shape = tuple(int(length) for length in RNG.integers(1, 60, size=int(RNG.integers(1, 4))))
    if np.issubdtype(dtype, np.floating):
        return (RNG.standard_normal(shape) * 10.0 ** float(RNG.integers(-3, 4))).astype(dtype)
    low, high = (0, 200) if np.issubdtype(dtype, np.unsignedinteger) else (-100, 100)
    return RNG.integers(low, high, size=shape).astype(dtype)


def disturb(base):
    now = base.copy()
    how = int(RNG.integers(0, 5))
    if np.issubdtype(base.dtype, np.floating):
        if how == 0:
            now = (base.astype(np.float64) * (1 + 1e-3 * RNG.standard_normal(base.shape))).astype(base.dtype)
        elif how == 1:
            now.ravel()[int(RNG.integers(base.size))] += base.dtype.type(0.5)
        elif how == 2:
            now.ravel()[int(RNG.integers(base.size))] = np.nan
        elif how == 3:
            now = (-base).astype(base.dtype)
    elif how:
        now.ravel()[int(RNG.integers(base.size))] += base.dtype.type(1)
    return now


def main():
    compared = 0
    with tempfile.TemporaryDirectory() as scratch:
        one, two = Path(scratch, "base"), Path(scratch, "now")
        one.mkdir(), two.mkdir()
        floats = [np.float16, np.float32, np.float64]
        kinds = [np.dtype(kind) for kind in floats + [np.int8, np.int32, np.int64, np.uint8, np.uint16]]
        for case in range(CASES):
            base = array(kinds[case % len(kinds)])
            now = disturb(base)
            order = ("C", "F")[case % 2]
            np.save(one / "a.npy", np.asarray(base, order=order))
            np.save(two / "a.npy", np.ascontiguousarray(now))
            _, answer = ask(one / "a.npy", two / "a.npy", "--class", "numeric")
            compared += check(f"npy {case}", answer, {"array": (base, now)})
        for case in range(max(CASES // 10, 2)):
            pairs = {}
            for number in range(8):
                base = array(kinds[int(RNG.integers(len(kinds)))])
                pairs[f"t{number}"] = (base, disturb(base))
            before = {name: np.ascontiguousarray(pair[0]) for name, pair in pairs.items()}
            after = {name: np.ascontiguousarray(pair[1]) for name, pair in pairs.items()}
            np.savez(one / "a.npz", **before)
            np.savez_compressed(two / "a.npz", **after)
            _, answer = ask(one / "a.npz", two / "a.npz", "--class", "numeric")
            compared += check(f"npz {case}", answer, pairs)
            if save_file:
                save_file(before, one / "a.safetensors")
                save_file(after, two / "a.safetensors")
                _, answer = ask(one / "a.safetensors", two / "a.safetensors", "--class", "numeric")
                compared += check(f"safetensors {case}", answer, pairs)
            if torch:
                usable = {name: pair for name, pair in pairs.items() if pair[0].dtype != np.uint16}
                for place, side in ((one, 0), (two, 1)):
                    state = {name: torch.from_numpy(pair[side].copy()) for name, pair in usable.items()}
                    torch.save(state, place / "a.pt")
                _, answer = ask(one / "a.pt", two / "a.pt", "--class", "numeric")
                compared += check(f"torch {case}", answer, usable)

        # Large enough for several blocks of 2^20 and the tree over them; the same twice.
        base = RNG.standard_normal(5_000_003).astype(np.float32)
        now = (base * (1 + 1e-6 * RNG.standard_normal(base.size))).astype(np.float32)
        np.save(one / "a.npy", base)
        np.save(two / "a.npy", now)
        answers = [ask(one / "a.npy", two / "a.npy", "--class", "numeric") for _ in range(3)]
        if any(answer != answers[0] for answer in answers):
            raise SystemExit("the same files gave different figures")
        compared += check("large", answers[0][1], {"array": (base, now)})

        # Elementwise bounds are numpy's own.
        for bound in (1e-9, 1e-7, 1e-5):
            inside = np.allclose(now, base, rtol=bound, atol=0.0)
            code, _ = ask(one / "a.npy", two / "a.npy", "--class", "numeric", "--rel", repr(bound))
            # allclose computes in singles here; only a verdict that a hair decides could differ
            worst = float((np.abs(now.astype(np.float64) - base) / np.abs(base.astype(np.float64))).max())
            if (code == 0) != (worst <= bound):
                raise SystemExit(f"rel {bound}: exit {code}, numpy's worst is {worst}, allclose says {inside}")
            compared += 1
    print(f"{compared} comparisons agree with numpy {np.__version__}" + (f" and torch {torch.__version__}" if torch else ""))


main()
