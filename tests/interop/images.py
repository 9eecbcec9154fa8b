"""Small container images as an OCI layout, made from nothing: what the clients push.

The layers are real gzipped tars, so that podman and containerd can unpack them. Invariant: the same seed gives the
same bytes, on any machine.
"""

import gzip
import hashlib
import io
import json
import pathlib
import random
import tarfile

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"

LAYER_BYTES = 3 << 20


class Images:
    """A layout in `directory` with the tags one and two (single images) and both (an index of two platforms)."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        (self.directory / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
        (self.directory / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        self.one = self._image(1, "amd64")
        self.two = self._image(2, "amd64")
        other = self._image(3, "arm64")
        self.both = self._blob(json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [self._platform(self.one, "amd64"), self._platform(other, "arm64")]}).encode(), INDEX)
        self.index = {
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": [
                {**descriptor, "annotations": {"org.opencontainers.image.ref.name": tag}}
                for tag, descriptor in (("one", self.one), ("two", self.two), ("both", self.both))
            ],
        }
        (self.directory / "index.json").write_text(json.dumps(self.index))

    def read(self, digest):
        return (self.directory / "blobs" / "sha256" / digest.removeprefix("sha256:")).read_bytes()

    def manifest(self, descriptor):
        return json.loads(self.read(descriptor["digest"]))

    def largest_layer(self):
        return max(self.manifest(self.one)["layers"], key=lambda layer: layer["size"])

    def _platform(self, descriptor, architecture):
        return {**descriptor, "platform": {"os": "linux", "architecture": architecture}}

    def _image(self, seed, architecture):
        noise = random.Random(seed).randbytes(LAYER_BYTES)
        layers, diff_ids = [], []
        for name, content in (("etc/hello", f"hello {seed}\n".encode()), ("data/noise", noise)):
            plain = tar_of(name, content)
            diff_ids.append("sha256:" + hashlib.sha256(plain).hexdigest())
            layers.append(self._blob(gzip.compress(plain, 1, mtime=0), LAYER))
        config = {
            "created": "2024-01-01T00:00:00Z",
            "architecture": architecture,
            "os": "linux",
            "config": {"Cmd": ["/bin/true"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": [{"created": "2024-01-01T00:00:00Z", "created_by": f"seed {seed}"}] * 2,
        }
        config = self._blob(json.dumps(config).encode(), CONFIG)
        return self._blob(json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}).encode(), MANIFEST)

    def _blob(self, content, media_type):
        name = hashlib.sha256(content).hexdigest()
        (self.directory / "blobs" / "sha256" / name).write_bytes(content)
        return {"mediaType": media_type, "digest": f"sha256:{name}", "size": len(content)}


def tar_of(name, content):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = len(content), 0o644
        archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
