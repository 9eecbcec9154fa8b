#!/usr/bin/env python3
"""`sealstone compare` held against numpy: the same files, the same figures.

    comparison.py PATH-TO-SEALSTONE [CASES]

Makes pairs of files from a fixed seed (npy, npz, CSV, TSV, JSON, JSON lines, and with each library that is there what it writes:
safetensors, .pt of torch, ONNX, GGUF, models of XGBoost and LightGBM), asks the command, and computes every figure again with numpy in extended precision. Prints what
was compared, and which libraries are not there; exit 1 on the first difference.
"""

import importlib
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


def library(name):
    try:
        return importlib.import_module(name)
    except Exception:  # also one that does not find a library of the system
        return None


onnx, gguf, xgboost, lightgbm = map(library, ("onnx", "gguf", "xgboost", "lightgbm"))

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


def check(label, answer, pairs, counted_from=0):
    """Every tensor of the answer against its pair. Rows of tables are counted from 1."""
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
        expect(f"{where} firstIndex", tensor["firstIndex"], [place + counted_from for place in wanted["first"]])
        if wanted.get("worst") is not None and wanted["maxAbs"] > 0:
            expect(f"{where} at", tensor["at"]["index"], [place + counted_from for place in wanted["worst"]])
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


def same(label, base, now):
    """Other bytes, the same values: nothing differs."""
    code, answer = ask(base, now, "--class", "content_exact")
    if code != 0 or answer.get("tensors") or answer.get("first"):
        raise SystemExit(f"{label}: the values are the same, sealstone says {answer}")
    return 1


def named(label, base, now, place, pairs):
    """One value is another: its place is named, and nothing else differs."""
    code, answer = ask(base, now, "--class", "numeric")
    expect(f"{label} exit", code, 3)
    expect(f"{label} place", answer["first"]["locator"], place)
    expect(f"{label} tensors", [tensor["tensor"] for tensor in answer["tensors"]], list(pairs))
    return check(label, answer, pairs)


def write_onnx(path, tensors, how="raw", producer="one"):
    """Initialisers as their bytes, as lists of numbers, or in a file beside the model."""
    beside = path.with_suffix(".data")
    beside.unlink(missing_ok=True)
    if how == "typed":
        kind = onnx.helper.np_dtype_to_tensor_dtype
        initialisers = [onnx.helper.make_tensor(name, kind(value.dtype), value.shape, value.ravel().tolist()) for name, value in tensors.items()]
    else:
        initialisers = [onnx.numpy_helper.from_array(value, name) for name, value in tensors.items()]
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in ("x", "y")]
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "graph", ends[:1], ends[1:], initializer=initialisers)
    model = onnx.helper.make_model(graph, producer_name=producer)
    more = {"save_as_external_data": True, "location": beside.name, "size_threshold": 0} if how == "external" else {}
    onnx.save_model(model, str(path), **more)


def write_gguf(path, tensors):
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_block_count(2)
    writer.add_array("some.words", ["one", "two"])
    for name, value in tensors.items():
        writer.add_tensor(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def of_tensors(one, two, case):
    """ONNX and GGUF: many tensors that differ in many ways."""
    compared = 0
    kinds = {"onnx": "fhdbilBH", "gguf": "fhdbil"}
    sets = {}
    for format, codes in kinds.items():
        codes = [np.dtype({"h": "e", "b": "int8", "i": "int32", "l": "int64"}.get(code, code)) for code in codes]
        pairs = {}
        for number in range(6):
            base = array(codes[int(RNG.integers(len(codes)))])
            pairs[f"t{number}.weight"] = (base, np.ascontiguousarray(disturb(base)))
        sets[format] = pairs, *({name: pair[side] for name, pair in pairs.items()} for side in (0, 1))
    if onnx:
        pairs, before, after = sets["onnx"]
        hows = ["raw", "typed", "external"]
        write_onnx(one / "a.onnx", before, hows[case % 3])
        write_onnx(two / "a.onnx", after, hows[(case + 1) % 3])
        _, answer = ask(one / "a.onnx", two / "a.onnx", "--class", "numeric")
        compared += check(f"onnx {case}", answer, pairs)
        write_onnx(two / "a.onnx", before, hows[(case + 1) % 3], "two")
        compared += same(f"onnx {case}", one / "a.onnx", two / "a.onnx")
    if gguf:
        pairs, before, after = sets["gguf"]
        write_gguf(one / "a.gguf", before)
        write_gguf(two / "a.gguf", after)
        _, answer = ask(one / "a.gguf", two / "a.gguf", "--class", "numeric")
        compared += check(f"gguf {case}", answer, pairs)
    for there, suffix, write in ((onnx, ".onnx", write_onnx), (gguf, ".gguf", write_gguf)):
        if there:
            tensors = {f"layer.{number}": RNG.standard_normal((5, 7)).astype(np.float32) for number in range(3)}
            other = {name: value.copy() for name, value in tensors.items()}
            other["layer.1"][3, 4] += 0.5
            base, now = (one / "b").with_suffix(suffix), (two / "b").with_suffix(suffix)
            write(base, tensors), write(now, other)
            compared += named(f"one value, {suffix}", base, now, "tensor:layer.1[3,4]", {"layer.1": (tensors["layer.1"], other["layer.1"])})
    return compared


def of_trees(one, two):
    """XGBoost and LightGBM: trained, and saved by the library itself, also with one leaf that is another."""
    compared = 0
    inputs = RNG.standard_normal((300, 5)).astype(np.float32)
    target = inputs[:, 0] * 2 - inputs[:, 1]
    if xgboost:
        first, second = one / "model.json", two / "model.json"
        xgboost.train({"max_depth": 3, "seed": 1, "nthread": 1}, xgboost.DMatrix(inputs, target), num_boost_round=4).save_model(first)
        document = json.loads(first.read_text())
        # The same numbers in other digits.
        second.write_text(json.dumps(document, separators=(",", ":")))
        compared += same("xgboost", first, second)
        leaves = document["learner"]["gradient_booster"]["model"]["trees"][1]["split_conditions"]
        leaves[-1] += 0.5
        second.write_text(json.dumps(document, separators=(",", ":")))
        for path in (first, second):
            booster = xgboost.Booster()
            booster.load_model(path)
            booster.save_model(path)
        place = "/learner/gradient_booster/model/trees/1/split_conditions"
        pair = []
        for path in (first, second):
            value = json.loads(path.read_text())
            for key in place.split("/")[1:]:
                value = value[int(key) if isinstance(value, list) else key]
            pair.append(np.array(value, dtype=np.float64))
        compared += named("xgboost", first, second, f"pointer:{place}/{len(leaves) - 1}", {place: tuple(pair)})
    if lightgbm:
        first, second = one / "model.txt", two / "model.txt"
        options = {"num_leaves": 5, "seed": 1, "num_threads": 1, "deterministic": True, "verbose": -1}
        booster = lightgbm.train(options, lightgbm.Dataset(inputs, target), num_boost_round=3)
        booster.save_model(first)
        booster.set_leaf_output(1, 1, booster.get_leaf_output(1, 1) + 0.5)
        booster.save_model(second)
        pair = []
        for path in (first, second):
            tree = path.read_text().split("\nTree=1\n")[1]
            line = next(line for line in tree.splitlines() if line.startswith("leaf_value="))
            pair.append(np.array(line.removeprefix("leaf_value=").split(" "), dtype=np.float64))
        compared += named("lightgbm", first, second, "pointer:/Tree=1/leaf_value/1", {"/Tree=1/leaf_value": tuple(pair)})
        second.write_text(first.read_text().replace("tree_sizes=", "tree_sizes=1 "))
        compared += same("lightgbm", first, second)
    return compared


def written(value):
    """A number as a document writes it: JSON has no word for what is none."""
    value = value.item()
    if isinstance(value, int) or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def of_text(one, two, case, rows):
    """Tables and documents: a column, or a list, is a tensor. What pandas writes has no name over its index, and names that stand twice."""
    pairs = {}
    for number in range(5):
        dtype = np.dtype((np.float64, np.int64)[int(RNG.integers(4)) == 0])
        base = array(dtype).ravel()
        # Columns of very different sizes: in one sum the small ones would be nothing.
        base = np.resize(base, rows) * dtype.type(10 ** (number * 2))
        pairs[number] = (base, disturb(base))
    compared = 0
    names = ["#1", "0", "1", "2", "x#5", "x#6"]
    for suffix, delimiter in ((".csv", ","), (".tsv", "\t")):
        for place, side in ((one, 0), (two, 1)):
            lines = [delimiter.join(["", "0", "1", "2", "x", "x"])]
            for row in range(rows):
                values = [str(row)] + [repr(pair[side][row].item()) for pair in pairs.values()]
                lines.append(delimiter.join(values))
            (place / "a").with_suffix(suffix).write_text("\n".join(lines) + "\n")
        _, answer = ask((one / "a").with_suffix(suffix), (two / "a").with_suffix(suffix), "--class", "numeric")
        index = np.arange(rows, dtype=np.int64)
        compared += check(f"{suffix} {case}", answer, dict(zip(names, [(index, index), *pairs.values()])), 1)
    for place, side in ((one, 0), (two, 1)):
        lists = [[written(value) for value in pair[side]] for pair in pairs.values()]
        (place / "a.json").write_text(json.dumps({"w": {f"t{number}": values for number, values in enumerate(lists)}}))
        lines = [json.dumps({"id": row, "w": [values[row] for values in lists[:4]], "v": lists[4][row]}) for row in range(rows)]
        (place / "a.jsonl").write_text("\n".join(lines) + "\n")
    _, answer = ask(one / "a.json", two / "a.json", "--class", "numeric")
    compared += check(f"json {case}", answer, {f"/w/t{number}": pair for number, pair in pairs.items()})
    _, answer = ask(one / "a.jsonl", two / "a.jsonl", "--class", "numeric")
    named_pairs = {f"/w/{number}": pair for number, pair in pairs.items() if number < 4} | {"/v": pairs[4]}
    compared += check(f"jsonl {case}", answer, named_pairs, 1)
    return compared


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

        compared += sum(of_text(one, two, case, int(RNG.integers(1, 60))) for case in range(max(CASES // 4, 3)))
        # More rows than are summed at once.
        compared += of_text(one, two, "long", 9001)

        if onnx or gguf:
            compared += sum(of_tensors(one, two, case) for case in range(max(CASES // 10, 3)))
        compared += of_trees(one, two)

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
    libraries = {"onnx": onnx, "gguf": gguf, "xgboost": xgboost, "lightgbm": lightgbm}
    missing = [name for name, module in libraries.items() if module is None]
    print(f"{compared} comparisons agree with numpy {np.__version__}" + (f" and torch {torch.__version__}" if torch else ""))
    print(f"{len(libraries) - len(missing)} of {len(libraries)} libraries that write models agree" + (f", not there: {', '.join(missing)}" if missing else ""))


main()
