#!/usr/bin/env python3
"""Verdicts of `sealstone compare` held against those of numpy and torch: the same tensors, the same yes or no.

    verdicts.py PATH-TO-SEALSTONE [CASES] [SEED]

Each case is drawn from a seed: a type, a shape, a baseline, a disturbance, a bound. Where `figures` of comparison.py are about numbers,
this is about what is done with them: elementwise bounds (torch.isclose, numpy), norms at, just below and just above a bound, NaN and
infinities, labels and highest scores. Properties hold in every case: a thing equals itself, a wider bound never refuses what a
narrower one let pass, the verdict is the same through npy, npz, torch's archive, CSV, TSV, JSON and JSON lines (in which each column is
what an array is elsewhere). Prints the seed and the case that failed.
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
CASES = int(sys.argv[2]) if len(sys.argv) > 2 else 120
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


def table_of(array):
    """Rows of doubles, which is what text keeps."""
    return array.astype(np.float64).reshape(-1, array.shape[-1])


def word(value):
    """A number as documents write it: JSON has no word for what is none."""
    value = float(value)
    return value if math.isfinite(value) else "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def with_names(path, table, delimiter=","):
    names = delimiter.join(f"c{number}" for number in range(table.shape[1]))
    np.savetxt(path, table, delimiter=delimiter, header=names, comments="")


def as_pandas_does(path, table):
    """DataFrame(table).to_csv(): no name over the index, and columns that are called by numbers, of which the index could be one."""
    lines = ["," + ",".join(map(str, range(table.shape[1])))]
    lines += [f"{row}," + ",".join(repr(float(value)) for value in values) for row, values in enumerate(table)]
    path.write_text("\n".join(lines) + "\n")


def without_names(path, table):
    """No header: the first line stands for one, and says the same of every column."""
    np.savetxt(path, np.vstack([np.full(table.shape[1], 0.5), table]), delimiter=",")


def lines_of_json(path, table):
    path.write_text("".join(json.dumps({"id": row, "scores": list(map(word, values))}) + "\n" for row, values in enumerate(table)))


def one_list(path, table):
    path.write_text(json.dumps({"value": list(map(word, table.ravel()))}))


# What is one tensor in each: a column, or everything.
TABLES = [
    ("names.csv", with_names),
    ("names.tsv", lambda path, table: with_names(path, table, "\t")),
    ("pandas.csv", as_pandas_does),
    ("bare.csv", without_names),
    ("lines.jsonl", lines_of_json),
]
TEXTS = [*TABLES, ("list.json", one_list)]


def saved_as_text(folder, base, now, kinds=TEXTS):
    pairs = []
    for name, write in kinds:
        paths = folder / f"base.{name}", folder / f"now.{name}"
        for path, array in zip(paths, (base, now)):
            write(path, table_of(array))
        pairs.append((name, *paths))
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
    for name, one, two in saved(folder, base, now) + saved_as_text(folder, base, now):
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


def tables(case, folder):
    """The norms of each column by itself, at its bound; the same verdict as that of numpy's file with the column in it."""
    base, now = map(table_of, draw())
    sizes = 10.0 ** RNG.integers(-4, 5, size=base.shape[1])
    base, now = base * sizes, now * sizes
    kinds = {"column": [(base[:, at], now[:, at]) for at in range(base.shape[1])], "all": [(base.ravel(), now.ravel())]}
    for kind, parts in kinds.items():
        worst, relative, scaled = None, 0.0, 0.0
        for b, n in parts:
            wide, difference = b.astype(np.longdouble), n.astype(np.longdouble) - b.astype(np.longdouble)
            norm = np.sqrt((wide * wide).sum())
            if norm == 0:
                return
            distance = float(np.sqrt((difference**2).sum()) / norm)
            if distance >= relative:
                worst, relative = (b, n), distance
            scaled = max(scaled, float(np.abs(difference).max() / (norm / np.sqrt(b.size))))
        if relative == 0:
            return
        np.save(folder / "base.npy", worst[0]), np.save(folder / "now.npy", worst[1])
        pairs = saved_as_text(folder, base, now, TABLES if kind == "column" else TEXTS[len(TABLES) :])
        pairs.append(("npy", folder / "base.npy", folder / "now.npy"))
        for factor, due in ((1 - 1e-9, False), (1 + 1e-9, True)):
            for name, one, two in pairs:
                found, answer = ask(one, two, "--class", "numeric", "--rel-l2", number(relative * factor), "--scaled-max", number(scaled * 2))
                if found != due:
                    fail(case, f"{name}, rel_l2 {relative} times {factor}", due, answer)
    # Integers are exact, and so is the line that stands for a header, however wide the bounds.
    wide = ("--class", "numeric", "--rel-l2", "1e9", "--scaled-max", "1e9")
    text = (folder / "base.pandas.csv").read_text()
    for name, other in (("pandas.csv", text.replace("\n0,", "\n1,", 1)), ("bare.csv", (folder / "base.bare.csv").read_text().replace("5", "6", 1))):
        (folder / f"now.{name}").write_text(other)
        found, answer = ask(folder / f"base.{name}", folder / f"now.{name}", *wide)
        if found:
            fail(case, f"{name}, an index or a first line that is another", False, answer)


def zeros(case, folder):
    """A zero of the other sign is within every gate, and other content."""
    base, _ = draw()
    base = base.astype(np.float64)
    base.ravel()[int(RNG.integers(base.size))] = 0.0
    now = np.where(base == 0, -0.0, base)
    for name, one, two in saved(folder, base, now) + saved_as_text(folder, base, now):
        for due, reached in ((False, "content_exact"), (True, "numeric")):
            found, answer = ask(one, two, "--class", reached)
            if found != due:
                fail(case, f"{name}, 0.0 against -0.0, {reached}", due, answer)
    # The same doubles in other digits.
    np.savetxt(folder / "digits.csv", table_of(base), delimiter=",", header=",".join(f"c{at}" for at in range(base.shape[-1])), comments="", fmt="%.25g")
    found, answer = ask(folder / "base.names.csv", folder / "digits.csv", "--class", "content_exact")
    if not found:
        fail(case, "the same numbers in other digits", True, answer)


def several(case, folder):
    """An archive of arrays: labels and scores meet the demand each by itself, and everything else is within its gate."""
    rows, classes = int(RNG.integers(2, 60)), int(RNG.integers(2, 8))
    scores = RNG.standard_normal((rows, classes)).astype(np.float32)
    base = {"scores": scores, "ids": RNG.integers(0, 1000, size=rows * 10), "prob": RNG.random(rows) + 0.5}
    now = {name: value.copy() for name, value in base.items()}
    now["scores"] += np.float32(10.0 ** float(RNG.integers(-4, 1))) * RNG.standard_normal(scores.shape).astype(np.float32)
    now["ids"][: int(RNG.integers(0, 3))] += 1
    how = int(RNG.integers(4))
    at = int(RNG.integers(rows))
    now["prob"][at] = (now["prob"][at], now["prob"][at] * (1 + 1e-13), now["prob"][at] + 0.1, np.nan)[how]
    np.savez(folder / "base.npz", **base)
    np.savez_compressed(folder / "now.npz", **now)
    flips = [int((base["scores"].argmax(1) != now["scores"].argmax(1)).sum()), int((base["ids"] != now["ids"]).sum())]
    worst = min(1 - flips[0] / rows, 1 - flips[1] / (rows * 10))
    margin = 1 / (rows * 40)
    for bound, agrees in ((worst - margin, True), (worst + margin, False)):
        if not 0 <= bound <= 1:
            continue
        due = agrees and how < 2
        found, answer = ask(folder / "base.npz", folder / "now.npz", "--class", "functional", "--label-agreement", number(bound))
        if found != due:
            fail(case, f"npz, flips {flips} of {rows} rows and {rows * 10} labels, agreement {bound}, prob {how}", due, answer)
    for allowed in (max(sum(flips) - 1, 0), sum(flips)):
        due = sum(flips) <= allowed and how < 2
        found, answer = ask(folder / "base.npz", folder / "now.npz", "--class", "functional", "--max-flips", str(allowed))
        if found != due:
            fail(case, f"npz, flips {flips}, {allowed} allowed, prob {how}", due, answer)


def labels_in_text(case, folder):
    """The same of columns and lists: integers are labels, each of them by itself, and what stands beside them is within its gate."""
    rows = int(RNG.integers(2, 60))
    base = {"label": RNG.integers(0, 5, size=rows), "id": RNG.integers(0, 1000, size=rows), "prob": RNG.random(rows) + 0.5}
    now = {name: value.copy() for name, value in base.items()}
    now["label"][: int(RNG.integers(0, rows // 2 + 1))] += 1
    now["id"][: int(RNG.integers(0, 2))] += 1
    how = int(RNG.integers(3))
    at = int(RNG.integers(rows))
    now["prob"][at] = (now["prob"][at], now["prob"][at] + 0.1, np.nan)[how]
    flips = [int((base[name] != now[name]).sum()) for name in ("label", "id")]

    def delimited(delimiter):
        def write(path, file):
            lines = [delimiter.join(file)]
            lines += [delimiter.join((str(label), str(id_), repr(float(prob)))) for label, id_, prob in zip(*file.values())]
            path.write_text("\n".join(lines) + "\n")

        return write

    def lines(path, file):
        rows = [{"label": int(label), "id": int(id_), "prob": word(prob)} for label, id_, prob in zip(*file.values())]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def table(path, file):
        path.write_text(json.dumps({"rows": [[int(label), int(id_)] for label, id_ in zip(file["label"], file["id"])], "prob": list(map(word, file["prob"]))}))

    def document(path, file):
        path.write_text(json.dumps({"label": file["label"].tolist(), "id": file["id"].tolist(), "prob": list(map(word, file["prob"]))}))

    def arrays(path, file):
        with open(path, "wb") as opened:
            np.savez(opened, **file)

    kinds = {"csv": delimited(","), "tsv": delimited("\t"), "jsonl": lines, "json": document, "rows.json": table, "npz": arrays}
    worst = 1 - max(flips) / rows
    margin = 1 / (rows * 4)
    for name, write in kinds.items():
        one, two = folder / f"labels.base.{name}", folder / f"labels.now.{name}"
        write(one, base), write(two, now)
        for bound, agrees in ((worst - margin, True), (worst + margin, False)):
            if 0 <= bound <= 1:
                due = agrees and how == 0
                found, answer = ask(one, two, "--class", "functional", "--label-agreement", number(bound))
                if found != due:
                    fail(case, f"{name}, flips {flips} of {rows} rows, agreement {bound}, prob {how}", due, answer)
        for allowed in (max(sum(flips) - 1, 0), sum(flips)):
            # Every number near enough; what is demanded of labels holds beside that.
            due = sum(flips) <= allowed and how < 2
            found, answer = ask(one, two, "--class", "numeric", "--abs", "1", "--max-flips", str(allowed))
            if found != due:
                fail(case, f"{name}, flips {flips}, {allowed} allowed, prob {how}", due, answer)


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
        for name, one, two in saved(folder, base, now) + saved_as_text(folder, base[:, None], now[:, None]):
            found, answer = ask(one, two, *rule, *(["--nan-equal"] if equal else []))
            if found != due:
                fail(case, f"{name}, {both}, nan_equal {equal}", due, answer)


def predictions(case, folder):
    rows, classes = int(RNG.integers(1, 60)), int(RNG.integers(2, 12))
    base = RNG.standard_normal((rows, classes)).astype(np.float32)
    now = (base + 10.0 ** float(RNG.integers(-4, 1)) * RNG.standard_normal(base.shape)).astype(np.float32)
    count = int(RNG.integers(1, classes + 1))
    flips = int((base.argmax(1) != now.argmax(1)).sum())
    highest = lambda scores: np.argsort(-scores, axis=1, kind="stable")[:, :count]  # noqa: E731
    shared = float(np.mean([len(set(one) & set(two)) / count for one, two in zip(highest(base), highest(now))]))
    rule = ["--class", "numeric", "--rel-l2", "1e9", "--scaled-max", "1e9", "--top-k", str(count)]

    def lists(path, scores):
        path.write_text(json.dumps({"scores": scores.astype(np.float64).tolist()}))

    # A list of equally long lists is what an array of two dimensions is.
    for name, write in (("npy", np.save), ("rows.json", lists)):
        one, two = folder / f"base.{name}", folder / f"now.{name}"
        write(one, base), write(two, now)
        for bound in (max(flips - 1, 0), flips):
            found, answer = ask(one, two, *rule, "--max-flips", str(bound))
            if found != (flips <= bound):
                fail(case, f"{name}, {flips} flips, {bound} allowed", flips <= bound, answer)
        seen = answer.get("predictions")
        if seen is not None:
            agreement = 1 - flips / len(base)
            if seen["flips"] != flips or seen["examples"] != len(base) or not math.isclose(float(seen["labelAgreement"]), agreement, rel_tol=1e-12, abs_tol=1e-15):
                fail(case, f"{name}, flips and agreement", (flips, len(base), agreement), answer)
            if not math.isclose(float(seen["topkOverlap"]), shared, rel_tol=1e-9, abs_tol=1e-12):
                fail(case, f"{name}, overlap of the {count} highest", shared, answer)
        elif flips:
            fail(case, f"{name}, predictions", flips, answer)


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
    # Torch 2 keeps a tensor that was negated as it was, and says so beside it: its values are others.
    if hasattr(torch._utils, "get_tensor_metadata"):
        plain = torch.ones(shape)
        torch.save({"value": plain}, folder / "base.pt")
        torch.save({"value": torch._neg_view(plain)}, folder / "now.pt")
        found, answer = ask(folder / "base.pt", folder / "now.pt", "--class", "numeric")
        if found:
            fail(case, "a tensor against itself, negated", False, answer)


KINDS = [elementwise, norms, tables, zeros, special, predictions, several, labels_in_text, itself, narrow_types]
with tempfile.TemporaryDirectory() as scratch:
    for case in range(CASES):
        KINDS[case % len(KINDS)](case, Path(scratch))
print(f"{asked} verdicts agree with numpy {np.__version__}" + (f" and torch {torch.__version__}" if torch else ""))
