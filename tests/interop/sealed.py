"""A bundle that the real `sealstone` packed, pushed and signed, for the verifiers of other people.

Owns what every such verifier needs: keys, a signed bundle in the registry, and what was attached to it as files.
Does not judge: each verifier does, and must accept what is right and refuse what is not.
"""

import base64
import hashlib
import json
import os
import pathlib
import shutil
import urllib.error
import urllib.request

import servers
from harness import IMMUTABLE, CheckFailed, Client, NotHere

SIGNATURE = "https://sigstore.dev/cosign/sign/v1"
MODEL_SIGNATURE = "https://model_signing/signature/v1.0"
PROVENANCE_TYPE = "https://slsa.dev/provenance/v1"
PROVENANCE = {
    "buildDefinition": {
        "buildType": "https://builds.example/train/v1",
        "externalParameters": {"config": "sft.yaml"},
        "resolvedDependencies": [{"name": "source", "uri": "git+https://git.example/demo", "digest": {"gitCommit": "d20ace79" * 5}}],
    },
    "runDetails": {"builder": {"id": "https://builds.example/worker"}},
}
# What cosign is told where it shall not ask for a log, and where the registry speaks plain HTTP.
OFFLINE = ("--insecure-ignore-tlog=true", "--private-infrastructure")
PLAIN = ("--allow-http-registry", "--allow-insecure-registry")
PREDICATE_TYPE = "dev.sigstore.bundle.predicateType"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
OCI = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json"


def sealstone():
    """The client's binary, or None."""
    path = os.environ.get("SEALSTONE_BIN", "")
    return path if path and os.path.exists(path) else None


class Verifier(Client):
    """A verifier of signed bundles; subclasses name what must be installed in `tools` or override `missing`."""

    @classmethod
    def missing(cls):
        return "sealstone (SEALSTONE_BIN)" if sealstone() is None else super().missing()

    def set_up(self):
        self.environment["SEALSTONE_PLAIN_HTTP"] = "true"
        self.environment["SOURCE_DATE_EPOCH"] = "1767225600"
        self.write_login()
        self.model = self.home / "model"
        self.model.mkdir()
        (self.model / "model.safetensors").write_bytes(b"weights " * 4000)
        (self.model / "config.json").write_text('{"model_type": "demo"}')
        (self.model / "src").mkdir()
        (self.model / "src" / "train.py").write_text("print('hello')\n")
        (self.model / "src.txt").write_text("sorts before src/ by code points, after it by path elements\n")
        for name in ("release", "other"):
            self.sealstone("keygen", "--out", name, "--no-passphrase")
        packed = self.sealstone_json("pack", "model", "-o", "bundle:1.0.0")
        self.digest = packed["digest"]
        self.repository_name = self.repository(IMMUTABLE, "sealed")
        self.place = f"{self.host}/{self.repository_name}"
        self.sealstone("push", "oci:bundle:1.0.0", self.place)
        self.subject = f"{self.place}@{self.digest}"
        self.signed = self.sealstone_json("sign", self.subject, "--key", "release.key")
        self.manifest = self.home / "manifest.json"
        self.manifest.write_bytes(self.get(f"manifests/{self.digest}"))

    def sealstone(self, *words, **options):
        return self.run(sealstone(), *words, **options)

    def sealstone_json(self, *words):
        lines = self.sealstone("--output", "json", *words).strip().splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return next(line for line in reversed(found) if "digest" in line)

    def get(self, path):
        """Something of the repository, over HTTP."""
        headers = {"Authorization": self.server.basic(), "Accept": OCI}
        request = urllib.request.Request(f"{self.server.url}/v2/{self.repository_name}/{path}", headers=headers)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.read()

    def bundles(self, predicate_type):
        """The attached bundles of a predicate type, as values."""
        listed = json.loads(self.get(f"referrers/{self.digest}"))["manifests"]
        found = []
        for descriptor in listed:
            if descriptor.get("annotations", {}).get(PREDICATE_TYPE) != predicate_type:
                continue
            referrer = json.loads(self.get(f"manifests/{descriptor['digest']}"))
            found.append(json.loads(self.get(f"blobs/{referrer['layers'][0]['digest']}")))
        return found

    def attest(self, kind, predicate, *words):
        """A statement by the release keys, attached; the bundle of each key by its algorithm."""
        path = self.write_json("predicate.json", predicate)
        attested = self.sealstone_json("attest", self.subject, "--type", kind, "--predicate", path, "--key", "release.key", *words)
        found = {}
        for row in attested["attestations"]:
            referrer = json.loads(self.get(f"manifests/{row['referrer']}"))
            found[row["algorithm"]] = json.loads(self.get(f"blobs/{referrer['layers'][0]['digest']}"))
        return found

    def signature_by(self, algorithm):
        """The signature bundle of the Ed25519 key or of its P-256 companion."""
        ids = [row["keyId"] for row in self.signed["signatures"] if row["algorithm"] == algorithm]
        for bundle in self.bundles(SIGNATURE):
            if bundle["verificationMaterial"]["publicKey"]["hint"] in ids:
                return bundle
        raise CheckFailed(f"no bundle of {algorithm} is attached")

    def model_signature(self):
        [bundle] = self.bundles(MODEL_SIGNATURE)
        return bundle

    def trusted_root(self):
        """The log's key as sigstore's tools read it, as a file; and what the P-256 signature's bundle says of the log."""
        try:
            with urllib.request.urlopen(f"{self.server.url}/api/v1/log/trusted_root.json", timeout=20) as answer:
                root = json.loads(answer.read())
        except urllib.error.HTTPError as reason:
            raise NotHere(f"the registry has no log: {reason}") from None
        bundle = self.signature_by("ecdsa-p256-sha256")
        if not bundle["verificationMaterial"].get("tlogEntries"):
            raise CheckFailed("the registry has a log, and the P-256 bundle no entry of it")
        return self.write_json("trusted_root.json", root), bundle

    def public_der(self, name):
        """A public key of ours as SPKI in DER; it ends with the 32 bytes of an Ed25519 key."""
        lines = (self.home / name).read_text().splitlines()
        return base64.b64decode("".join(line for line in lines if not line.startswith("-----")))

    def write_json(self, name, value):
        path = self.home / name
        path.write_text(json.dumps(value))
        return path

    def copy_of_model(self, name):
        """A fresh copy of the model's directory, to be damaged."""
        target = self.home / name
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(self.model, target)
        return target


def flipped(text):
    """Base64 with another content, of the same length."""
    return ("B" if text[0] != "B" else "C") + text[1:]


def with_payload_changed(bundle):
    changed = json.loads(json.dumps(bundle))
    changed["dsseEnvelope"]["payload"] = flipped(changed["dsseEnvelope"]["payload"])
    return changed


def with_signature_of(bundle, other):
    changed = json.loads(json.dumps(bundle))
    changed["dsseEnvelope"]["signatures"][0]["sig"] = other["dsseEnvelope"]["signatures"][0]["sig"]
    return changed


def with_two_signatures(bundle):
    changed = json.loads(json.dumps(bundle))
    changed["dsseEnvelope"]["signatures"] *= 2
    return changed


def with_proof_changed(bundle):
    """The bundle with another hash at the end of its inclusion proof, or another root where the proof is empty."""
    changed = json.loads(json.dumps(bundle))
    proof = changed["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]
    if proof["hashes"]:
        proof["hashes"][-1] = flipped(proof["hashes"][-1])
    else:
        proof["rootHash"] = flipped(proof["rootHash"])
    return changed


def log_id(name, der):
    """The name of a log and its Ed25519 key as one hash, which is how both sigstore and signed notes name the two."""
    return hashlib.sha256(name.encode() + b"\n\x01" + der[-32:]).digest()


def verifier_key(name, der):
    """The line of a log's key, as a policy names it."""
    return f"{name}+{log_id(name, der)[:4].hex()}+{base64.b64encode(bytes([1]) + der[-32:]).decode()}"


def roots_of_others(root, der):
    """Trusted roots that look like `root` and are another log's: under its own id, under the id of ours, and of no log at all."""
    changed = lambda: json.loads(json.dumps(root))  # noqa: E731
    another, disguised, empty = changed(), changed(), changed()
    name = root["tlogs"][0]["baseUrl"].split("://", 1)[1].split("/", 1)[0].rsplit(":", 1)[0]
    for each in (another, disguised):
        each["tlogs"][0]["publicKey"]["rawBytes"] = base64.b64encode(der).decode()
    another["tlogs"][0]["logId"]["keyId"] = base64.b64encode(log_id(name, der)).decode()
    empty["tlogs"] = []
    return {"another": another, "disguised": disguised, "empty": empty}


def tool_folder(name):
    return pathlib.Path(servers.TOOLS) / name
