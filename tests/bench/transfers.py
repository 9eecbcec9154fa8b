"""Our command line against skopeo: the same bundle pushed to and pulled from our registry, wall time of the command.

Both clients end with all bytes on disk and with every digest checked: skopeo in a layout, ours as the bundle's files. Takes turns; each push goes
to a repository of its own on an empty server, so that nothing is skipped because it is there already.
"""

import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import time

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def make_bundle(directory, shards, shard_bytes):
    """An OCI layout with raw layers of unique random bytes, tagged `bundle`."""
    directory = pathlib.Path(directory)
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def store(content):
        name = hashlib.sha256(content).hexdigest()
        (blobs / name).write_bytes(content)
        return {"digest": f"sha256:{name}", "size": len(content)}

    layers = []
    for number in range(shards):
        annotations = {"org.cncf.model.filepath": f"model-{number:05}.bin"}
        layers.append({"mediaType": "application/vnd.cncf.model.weight.v1.raw", **store(os.urandom(shard_bytes)), "annotations": annotations})
    config = {"mediaType": "application/vnd.cncf.model.config.v1+json", **store(b'{"descriptor":{"name":"bench"},"modelfs":{"type":"layers","diffIds":[]},"config":{}}')}
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/vnd.cncf.model.manifest.v1+json", "config": config, "layers": layers}
    entry = {"mediaType": MANIFEST, **store(json.dumps(manifest).encode()), "annotations": {"org.opencontainers.image.ref.name": "bundle"}}
    (directory / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    return shards * shard_bytes


def commands(client, server, layout, target, number):
    """Push and pull as each client writes them."""
    reference = f"{server.host}/models/bench-{client}-{number}:bundle"
    if client == "skopeo":
        from servers import tool

        skopeo = [tool("skopeo"), "copy", "--quiet"]
        return (
            skopeo + ["--dest-tls-verify=false", f"oci:{layout}:bundle", f"docker://{reference}"],
            skopeo + ["--src-tls-verify=false", f"docker://{reference}", f"oci:{target}:bundle"],
        )
    binary = os.environ["SEALSTONE_BIN"]
    return (
        [binary, "push", f"oci:{layout}:bundle", reference],
        [binary, "pull", reference, "--insecure-skip-signatures", "-o", str(target)],
    )


def timed(command, environment, patience=900):
    started = time.monotonic()
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=patience)
    seconds = time.monotonic() - started
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}: {(done.stderr or done.stdout).strip()[-400:]}")
    return seconds


def compare(server, directory, size, number, order, layout, warm):
    """One round: rows for both clients. `warm` reads what the server stores, for the pulls that are to come from memory."""
    environment = {**os.environ, "HOME": str(directory), "SEALSTONE_CONFIG_HOME": str(directory)}
    rows = []
    for client in order:
        target = directory / f"pulled-{client}"
        push, pull = commands(client, server, layout, target, number)
        steps = (("client push of a bundle", push, False), ("client first pull of a bundle", pull, False), ("client pull of a bundle", pull, True))
        for name, command, from_memory in steps:
            shutil.rmtree(target, ignore_errors=True)
            if from_memory:
                warm(directory / "server" / "data")
            try:
                seconds = timed(command, environment)
                row = {"mb_per_s": size / 1e6 / seconds, "seconds": seconds, "bytes": size}
            except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
                row = {"error": str(error)}
            rows.append({"scenario": name, "peer": client, "metric": "mb_per_s", "round": number, **row})
        shutil.rmtree(target, ignore_errors=True)
    return rows
