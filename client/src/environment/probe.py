# What a Python environment is, printed as one line of JSON. Runs inside the environment of a stage.
# Only what is asked for here is told; variables of the environment are not read.
import hashlib
import json
import os
import struct
import sys

found = {"packages": {}, "libraries": {}, "flags": {}}


def digest(path):
    running = hashlib.sha256()
    with open(path, "rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            running.update(piece)
    return "sha256:" + running.hexdigest()


def build_id(path):
    """The note that linkers leave in a library; without one, its digest."""
    try:
        with open(path, "rb") as file:
            head = file.read(64)
            if head[:5] != b"\x7fELF\x02" or head[5] != 1:
                return digest(path)
            (table,) = struct.unpack_from("<Q", head, 32)
            size, count = struct.unpack_from("<HH", head, 54)
            for index in range(count):
                file.seek(table + index * size)
                header = file.read(size)
                (kind,) = struct.unpack_from("<I", header, 0)
                start, length = struct.unpack_from("<Q", header, 8)[0], struct.unpack_from("<Q", header, 32)[0]
                if kind != 4:
                    continue
                file.seek(start)
                notes, at = file.read(length), 0
                while at + 12 <= len(notes):
                    name, text, number = struct.unpack_from("<III", notes, at)
                    begin = at + 12 + (name + 3) // 4 * 4
                    if number == 3 and notes[at + 12 : at + 15] == b"GNU":
                        return notes[begin : begin + text].hex()
                    at = begin + (text + 3) // 4 * 4
        return digest(path)
    except (OSError, struct.error):
        return "unreadable"


def libraries():
    """Files of shared libraries that this process has loaded."""
    paths = set()
    try:
        with open("/proc/self/maps") as maps:
            for line in maps:
                parts = line.rstrip("\n").split(None, 5)
                if len(parts) == 6 and parts[5].startswith("/") and ".so" in os.path.basename(parts[5]):
                    paths.add(parts[5])
    except OSError:
        pass
    return sorted(paths)


def packages():
    from importlib import metadata

    ignored = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if not name:
            continue
        name = name.lower().replace("_", "-").replace(".", "-")
        told = distribution.version or "unknown"
        record = distribution.read_text("RECORD")
        if record:
            # Scripts hold the path of the interpreter, compiled files the time: neither says what it is.
            lines = [
                line
                for line in record.splitlines()
                if line and not line.startswith(("..", "/")) and ".pyc" not in line
                and line.split(",")[0].rsplit("/", 1)[-1] not in ignored
            ]
            told += " sha256:" + hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()
        origin = distribution.read_text("direct_url.json")
        if origin:
            origin = json.loads(origin)
            if origin.get("dir_info", {}).get("editable"):
                told += " editable"
            commit = origin.get("vcs_info", {}).get("commit_id")
            if commit:
                told += " commit:" + commit
        found["packages"].setdefault(name, told)


def call(path, names, kind):
    import ctypes

    library = ctypes.CDLL(path)
    for name in names:
        function = getattr(library, name, None)
        if function is not None:
            function.restype = kind
            return function()
    return None


def joined(values):
    """What several libraries say: once where they agree, else each value, in order."""
    values = sorted({value for value in values if value is not None})
    return values[0] if len(values) == 1 else "; ".join(map(str, values)) or None


def of_nvidia(packages, library):
    """The version of a library in NVIDIA's own packages: nvidia-cublas-cu12, nvidia-cublas."""
    name = "nvidia-" + library
    return joined([told.split(" ")[0] for package, told in packages.items() if package == name or package.startswith(name + "-cu")])


def load(package, *parts):
    """Loads an extension of a package, and with it the libraries that it brings; the package itself is not imported, which
    takes seconds."""
    import ctypes
    import glob
    from importlib import util

    spec = util.find_spec(package)
    for place in (spec and spec.submodule_search_locations) or []:
        for path in glob.glob(os.path.join(glob.escape(place), *parts) + "*.so"):
            ctypes.CDLL(path)


def numeric():
    import ctypes

    # Each brings a BLAS or an OpenMP of its own, where it is installed.
    quietly(__import__, "numpy")
    quietly(load, "scipy", "linalg", "_fblas.")
    quietly(load, "sklearn", "utils", "_openmp_helpers.")
    if "torch" in found["packages"]:
        quietly(__import__, "torch")

    affixes = [("", ""), ("", "64_"), ("scipy_", ""), ("scipy_", "64_")]
    blas, openmp = [], []
    for path in libraries():
        base = os.path.basename(path)
        if "openblas" in base:
            names = lambda word: [before + word + after for before, after in affixes]
            core = call(path, names("openblas_get_corename"), ctypes.c_char_p)
            config = call(path, names("openblas_get_config"), ctypes.c_char_p)
            threads = call(path, names("openblas_get_num_threads"), ctypes.c_int)
            words = (config or b"").decode().split()
            blas.append(
                {
                    "implementation": "openblas",
                    "version": words[1] if len(words) > 1 else None,
                    "arch": core.decode() if core else None,
                    "threads": threads,
                }
            )
        if base.startswith(("libgomp", "libomp", "libiomp")):
            openmp.append(
                {
                    "implementation": base.split("-")[0].split(".")[0],
                    "threads": call(path, ["omp_get_max_threads"], ctypes.c_int),
                }
            )
    if not blas:
        try:
            from threadpoolctl import threadpool_info

            for row in threadpool_info():
                if row.get("user_api") == "blas":
                    blas.append(
                        {
                            "implementation": row.get("internal_api"),
                            "version": row.get("version"),
                            "arch": row.get("architecture"),
                            "threads": row.get("num_threads"),
                        }
                    )
        except ImportError:
            pass
    for name, told in ("blas", blas), ("openmp", openmp):
        if told:
            found[name] = {key: joined([one[key] for one in told]) for key in told[0]}


def torch_flags():
    import torch

    found["torch"] = {"threads": torch.get_num_threads(), "interop": torch.get_num_interop_threads()}
    flags = {
        "torch.deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "torch.cudnn_benchmark": torch.backends.cudnn.benchmark,
        "torch.cudnn_deterministic": torch.backends.cudnn.deterministic,
        "torch.allow_tf32": torch.backends.cuda.matmul.allow_tf32,
        "torch.matmul_precision": torch.get_float32_matmul_precision(),
    }
    found["flags"] = {name: str(value).lower() for name, value in flags.items()}
    found["cuda"] = torch.version.cuda
    if torch.version.cuda:
        found["cudnn"] = str(torch.backends.cudnn.version())
        from torch.cuda import nccl

        version = nccl.version()
        found["nccl"] = ".".join(map(str, version)) if isinstance(version, tuple) else str(version)


def quietly(step, *arguments):
    try:
        step(*arguments)
    except Exception:
        pass


import math  # noqa: E402,F401  loads the mathematical library where it is one of its own
import platform  # noqa: E402
import sysconfig  # noqa: E402

found["python"] = {
    "version": platform.python_version(),
    "implementation": platform.python_implementation(),
    "build": " ".join(platform.python_build()) + " " + platform.python_compiler(),
    "abi": sysconfig.get_config_var("SOABI") or "",
    "executable": digest(os.path.realpath(sys.executable)),
}
try:
    found["libc"] = os.confstr("CS_GNU_LIBC_VERSION")
except (AttributeError, ValueError, OSError):
    pass
quietly(packages)
quietly(numeric)
for library in "cublas", "nccl":
    found[library] = of_nvidia(found["packages"], library)
# torch says itself what it works with.
if "torch" in found["packages"]:
    quietly(torch_flags)
for path in libraries():
    base = os.path.basename(path)
    if base.startswith("libm.so") or base.startswith("libm-"):
        found["libm"] = build_id(path)
    if "lib-dynload" not in path:
        found["libraries"][base] = build_id(path)
print(json.dumps(found, sort_keys=True))
