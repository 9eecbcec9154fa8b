#!/usr/bin/env python3
"""Verdicts of `sealstone compare` held against those of numpy and torch: the same tensors, the same yes or no.

    verdicts.py PATH-TO-SEALSTONE [CASES] [SEED]

Each case is drawn from a seed: a type, a shape, a baseline, a disturbance, a bound. Where `figures` of comparison.py are about numbers,
this is about what is done with them: elementwise bounds (torch.isclose, numpy), norms at, just below and just above a bound, NaN and
infinities, labels and highest scores. Properties hold in every case: a thing equals itself, a wider bound never refuses what a
narrower one let pass, the verdict is the same through npy, npz and torch's archive. Prints the seed and the case that failed.
"""

import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

try:
    import torch
except ImportError:
    torch = None

SEALSTONE = sys.argv[1]
CASES = int(sys.argv[2]) if len(sys.argv) > 2 else 80
SEED = int(sys.argv[3]) if len(sys.argv) > 3 else 20260805
RNG = np.random.default_rng(SEED)
asked = 0


def ask(base, now, *rule):
    """Whether the class was reached, and the answer."""
    global asked
    asked += 1
    command = [SEALSTONE, "compare", str(base), str(now), "--output", "json", *rule]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if ended.returncode not in (0, 3):
        raise SystemExit(f"{command}: exit {ended.returncode}: {ended.stderr}")
    return ended.returncode == 0, json.loads(ended.stdout)


def fail(case, what, due, answer):
    raise SystemExit(f"seed {SEED}, case {case}: {what}: the oracle says {due}, sealstone {json.dumps(answer)[:1500]}")


def number(value):
    return repr(float(value))


def draw():
    """A baseline and a disturbed copy, both finite."""
    dtype = RNG.choice([np.float16, np.float32, np.float64])
    shape = tuple(int(length) for length in RNG.integers(1, 20, size=int(RNG.integers(1, 4))))
    base = (RNG.standard_normal(shape) * 10.0 ** float(RNG.integers(-2, 2))).astype(dtype)
    size = 10.0 ** float(RNG.integers(-7, 0))
    now = (base.astype(np.float64) * (1 + size * RNG.standard_normal(shape))).astype(dtype)
    return base, now


def saved(folder, base, now):
    """The pair in every container that is there."""
    pairs = []
    for name, write in (("npy", np.save), ("npz", lambda path, array: np.savez(path, value=array))):
        paths = folder / f"base.{name}", folder / f"now.{name}"
        for path, array in zip(paths, (base, now)):
            write(path, array)
        pairs.append((name, *paths))
    if torch:
        paths = folder / "base.pt", folder / "now.pt"
        for path, array in zip(paths, (base, now)):
            # A view into a larger storage, transposed back: what is compared is the tensor, not the file.
            tensor = torch.from_numpy(np.stack([array, array * 0 + 1]))[0]
            torch.save({"value": tensor}, path)
        pairs.append(("pt", *paths))
    return pairs


def clear(distances, bounds):
    """Whether no element lies so near its bound that rounding could turn it."""
    return bool((np.abs(distances - bounds) > 1e-9 * (distances + bounds) + 1e-300).all())


def elementwise(case, folder):
    base, now = draw()
    wide = np.float64
    distances = np.abs(now.astype(wide) - base.astype(wide))
    relative = float(10.0 ** RNG.uniform(-8, 0))
    absolute = float(10.0 ** RNG.uniform(-8, 0)) if RNG.integers(2) else 0.0
    bounds = absolute + relative * np.abs(base.astype(wide))
    if not clear(distances, bounds):
        return
    due = bool((distances <= bounds).all())
    if torch:
        due_torch = bool(torch.isclose(torch.from_numpy(now.astype(wide)), torch.from_numpy(base.astype(wide)), rtol=relative, atol=absolute).all())
        if due_torch != due:
            raise SystemExit(f"case {case}: numpy and torch do not agree")
    for name, one, two in saved(folder, base, now):
        found, answer = ask(one, two, "--class", "numeric", "--rel", number(relative), "--abs", number(absolute))
        # What is bit for bit the same reaches more than the class, whatever the bounds.
        if found != due:
            fail(case, f"{name}, rel {relative}, abs {absolute}", due, answer)
    wider, answer = ask(folder / "base.npy", folder / "now.npy", "--class", "numeric", "--rel", number(2 * relative), "--abs", number(2 * absolute))
    if due and not wider:
        fail(case, "a wider bound refuses what a narrower one let pass", True, answer)


def norms(case, folder):
    base, now = draw()
    b, n = base.astype(np.longdouble).ravel(), now.astype(np.longdouble).ravel()
    norm = np.sqrt((b * b).sum())
    if norm == 0 or (b == n).all():
        return
    relative = float(np.sqrt(((n - b) ** 2).sum()) / norm)
    scaled = float(np.abs(n - b).max() / (norm / np.sqrt(b.size)))
    pairs = saved(folder, base, now)
    name, one, two = pairs[int(RNG.integers(len(pairs)))]
    for factor, due in ((1 - 1e-9, False), (1 + 1e-9, True)):
        for first, second in ((factor, 2.0), (2.0, factor)):
            found, answer = ask(one, two, "--class", "numeric", "--rel-l2", number(relative * first), "--scaled-max", number(scaled * second))
            if found != due:
                fail(case, f"{name}, rel_l2 {relative} times {first}, scaled_max {scaled} times {second}", due, answer)


def special(case, folder):
    base, now = draw()
    now = base.copy()
    at = int(RNG.integers(base.size))
    kind = int(RNG.integers(5))
    both = [(np.nan, np.nan), (np.inf, np.inf), (np.inf, -np.inf), (1.0, np.nan), (np.inf, 1.0)][kind]
    base.ravel()[at], now.ravel()[at] = both
    # Something else differs as well, or the bytes would be the same.
    base, now = np.append(base.ravel(), 1.0).astype(base.dtype), np.append(now.ravel(), 1.001).astype(base.dtype)
    rule = ["--class", "numeric", "--rel", "0.01", "--abs", "0.01"]
    for equal in (False, True):
        due = bool(np.isclose(now.astype(np.float64), base.astype(np.float64), rtol=0.01, atol=0.01, equal_nan=equal).all())
        for name, one, two in saved(folder, base, now):
            found, answer = ask(one, two, *rule, *(["--nan-equal"] if equal else []))
            if found != due:
                fail(case, f"{name}, {both}, nan_equal {equal}", due, answer)


def predictions(case, folder):
    rows, classes = int(RNG.integers(1, 60)), int(RNG.integers(2, 12))
    base = RNG.standard_normal((rows, classes)).astype(np.float32)
    now = (base + 10.0 ** float(RNG.integers(-4, 1)) * RNG.standard_normal(base.shape)).astype(np.float32)
    count = int(RNG.integers(1, classes + 1))
    np.save(folder / "base.npy", base)
    np.save(folder / "now.npy", now)
    flips = int((base.argmax(1) != now.argmax(1)).sum())
    highest = lambda scores: np.argsort(-scores, axis=1, kind="stable")[:, :count]  # noqa: E731
    shared = float(np.mean([len(set(one) & set(two)) / count for one, two in zip(highest(base), highest(now))]))
    rule = ["--class", "numeric", "--rel-l2", "1e9", "--scaled-max", "1e9", "--top-k", str(count)]
    for bound in (max(flips - 1, 0), flips):
        found, answer = ask(folder / "base.npy", folder / "now.npy", *rule, "--max-flips", str(bound))
        if found != (flips <= bound):
            fail(case, f"{flips} flips, {bound} allowed", flips <= bound, answer)
    seen = answer.get("predictions")
    if seen is not None:
        agreement = 1 - flips / rows
        if seen["flips"] != flips or seen["examples"] != rows or not math.isclose(float(seen["labelAgreement"]), agreement, rel_tol=1e-12, abs_tol=1e-15):
            fail(case, "flips and agreement", (flips, rows, agreement), answer)
        if not math.isclose(float(seen["topkOverlap"]), shared, rel_tol=1e-9, abs_tol=1e-12):
            fail(case, f"overlap of the {count} highest", shared, answer)
    elif flips:
        fail(case, "predictions", flips, answer)


def itself(case, folder):
    base, now = draw()
    for name, one, _ in saved(folder, base, now):
        found, answer = ask(one, one, "--class", "bit_exact")
        if not found:
            fail(case, f"{name}: a file is not itself", True, answer)


def narrow_types(case, folder):
    """Types that numpy has not: bfloat16, and views that share one storage."""
    if torch is None:
        return
    shape = tuple(int(length) for length in RNG.integers(2, 9, size=2))
    base = torch.from_numpy(RNG.standard_normal(shape)).to(torch.bfloat16)
    now = (base.double() * (1 + 0.02 * torch.from_numpy(RNG.standard_normal(shape)))).to(torch.bfloat16)
    torch.save({"whole": base, "part": base.t()[1:], "count": torch.tensor([1, 2])}, folder / "base.pt")
    torch.save({"whole": now, "part": now.t()[1:], "count": torch.tensor([1, 2])}, folder / "now.pt")
    changed = int((base != now).sum())
    found, answer = ask(folder / "base.pt", folder / "now.pt", "--class", "numeric", "--rel", "1", "--abs", "1")
    tensors = {tensor["tensor"]: tensor for tensor in answer.get("tensors", [])}
    if changed == 0:
        return
    if not found or tensors["whole"]["changed"] != changed:
        fail(case, "changed elements of bfloat16", changed, answer)
    parts = int((base.t()[1:] != now.t()[1:]).sum())
    if parts and tensors["part"]["changed"] != parts:
        fail(case, "changed elements of a transposed part", parts, answer)


KINDS = [elementwise, norms, special, predictions, itself, narrow_types]
with tempfile.TemporaryDirectory() as scratch:
    for case in range(CASES):
        KINDS[case % len(KINDS)](case, Path(scratch))
print(f"{asked} verdicts agree with numpy {np.__version__}" + (f" and torch {torch.__version__}" if torch else ""))
