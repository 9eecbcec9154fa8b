"""cosign as verifier of what sealstone signs: by key, without any outside service; and the other way round."""

import hashlib
import json
import pathlib
import shlex

from harness import CheckFailed, NotHere, same, sealstone_only
from sealed import (
    MODEL_SIGNATURE,
    OFFLINE,
    PLAIN,
    PROVENANCE,
    PROVENANCE_TYPE,
    SIGNATURE,
    Verifier,
    roots_of_others,
    sealstone,
    with_payload_changed,
    with_proof_changed,
    with_two_signatures,
)

README = pathlib.Path(__file__).resolve().parents[3] / "README.md"
TEST_RESULT = {"result": "PASSED", "configuration": [{"name": "data", "digest": {"sha256": hashlib.sha256(b"data").hexdigest()}}]}
OTHER_TYPES = ("https://cyclonedx.org/bom", "https://in-toto.io/attestation/release/v0.1", "slsaprovenance", "spdx")


def commands_of_the_readme():
    """The commands under the heading of cosign, as lists of words."""
    block = README.read_text().split("**cosign**", 1)[1].split("```sh\n", 1)[1].split("```", 1)[0]
    return [shlex.split(line, comments=True) for line in block.replace("\\\n", " ").splitlines() if line.strip()]


class CosignVerify(Verifier):
    name = "cosign-verify"
    tools = ("cosign",)

    def set_up(self):
        self.environment["COSIGN_PASSWORD"] = "for tests only"
        self.environment["SEALSTONE_PASSPHRASE"] = "for tests only"
        self.environment["SIGSTORE_ROOT_FILE"] = "/dev/null"
        super().set_up()

    def verify(self, key):
        return ("cosign", "verify", "--key", key, *OFFLINE, *PLAIN, self.subject)

    def verify_blob(self, key, bundle, kind, *words):
        return ("cosign", "verify-blob-attestation", "--key", key, "--insecure-ignore-tlog=true", "--bundle", bundle, "--type", kind, *words)

    def check_verify_ed25519(self):
        self.run(*self.verify("release.pub"))

    def check_verify_p256(self):
        self.run(*self.verify("release-p256.pub"))

    def check_another_key_is_refused(self):
        for key in ("other.pub", "other-p256.pub"):
            self.refused(*self.verify(key), says=())

    def check_the_older_tag_scheme(self):
        older = "--new-bundle-format=false"
        code, _, everything = self.execute(*self.verify("release.pub"), older)
        if code != 0 and "unknown flag" in everything:
            raise NotHere("this cosign has no older scheme")
        for key in ("release.pub", "release-p256.pub"):
            self.run(*self.verify(key), older)
        self.refused(*self.verify("other.pub"), older, says=())

    def check_verify_blob_attestation(self):
        for algorithm, key in (("ed25519", "release.pub"), ("ecdsa-p256-sha256", "release-p256.pub")):
            bundle = self.write_json("signature.json", self.signature_by(algorithm))
            self.run(*self.verify_blob(key, bundle, SIGNATURE, self.manifest))
            digest = self.digest.removeprefix("sha256:")
            self.run(*self.verify_blob(key, bundle, SIGNATURE, "--digest", digest, "--digestAlg", "sha256"))

    def check_other_content_type_key_or_payload_is_refused(self):
        good = self.signature_by("ecdsa-p256-sha256")
        bundle = self.write_json("signature.json", good)
        other = self.home / "other-manifest.json"
        other.write_bytes(self.manifest.read_bytes() + b"\n")
        self.refused(*self.verify_blob("release-p256.pub", bundle, SIGNATURE, other), says=())
        self.refused(*self.verify_blob("release-p256.pub", bundle, "https://slsa.dev/provenance/v1", self.manifest), says=())
        self.refused(*self.verify_blob("other-p256.pub", bundle, SIGNATURE, self.manifest), says=())
        for changed in (with_payload_changed(good), with_two_signatures(good)):
            path = self.write_json("changed.json", changed)
            self.refused(*self.verify_blob("release-p256.pub", path, SIGNATURE, self.manifest), says=())

    def check_the_model_signature(self):
        bundle = self.write_json("model.sig", self.model_signature())
        words = ("--check-claims=false",)
        self.run(*self.verify_blob("release-p256.pub", bundle, MODEL_SIGNATURE, *words))
        self.refused(*self.verify_blob("other-p256.pub", bundle, MODEL_SIGNATURE, *words), says=())
        self.refused(*self.verify_blob("release-p256.pub", bundle, SIGNATURE, *words), says=())

    def check_a_key_of_cosign_signs_with_sealstone(self):
        self.run("cosign", "generate-key-pair")
        self.sealstone("sign", self.subject, "--key", "cosign.key")
        self.run(*self.verify("cosign.pub"))
        self.sealstone("verify", self.subject, "--key", "cosign.pub")

    def check_what_cosign_signs_sealstone_verifies(self):
        # cosign writes either of the two forms of an ECDSA signature; sealstone reads one of them and says so.
        directory = self.home / "theirs"
        directory.mkdir()
        self.run("cosign", "generate-key-pair", cwd=directory)
        sign = ("cosign", "sign", "--yes", "--key", "theirs/cosign.key", "--tlog-upload=false", "--use-signing-config=false", *PLAIN, self.subject)
        for _ in range(12):
            self.run(*sign)
            code, _, everything = self.execute(sealstone(), "verify", self.subject, "--key", "theirs/cosign.pub")
            if code == 0:
                return
            if "high one of its two possible s" not in everything:
                raise CheckFailed(f"refused for another reason: {everything[-1000:]}")
        raise CheckFailed("twelve signatures in a row had a high s")

    def verify_attestation(self, key, kind, *words):
        return ("cosign", "verify-attestation", "--key", key, "--type", kind, *(words or OFFLINE), *PLAIN, self.subject)

    def check_verify_attestation(self):
        self.attestations = self.attest("slsa-provenance", PROVENANCE)
        for key in ("release.pub", "release-p256.pub"):
            output = self.run(*self.verify_attestation(key, PROVENANCE_TYPE))
            if "payload" not in output:
                raise CheckFailed(f"no attestation was printed: {output[:500]}")

    def check_an_attestation_by_another_key_or_of_another_type_is_refused(self):
        for key in ("other.pub", "other-p256.pub"):
            self.refused(*self.verify_attestation(key, PROVENANCE_TYPE), says=())
        for key in ("release.pub", "release-p256.pub"):
            for kind in OTHER_TYPES:
                self.refused(*self.verify_attestation(key, kind), says=())

    def check_verify_blob_attestation_of_an_attestation(self):
        for algorithm, key in (("ed25519", "release.pub"), ("ecdsa-p256-sha256", "release-p256.pub")):
            good = self.attestations[algorithm]
            bundle = self.write_json("attestation.json", good)
            self.run(*self.verify_blob(key, bundle, PROVENANCE_TYPE, self.manifest))
            # A file of weights is a subject of provenance as well, and another file of the bundle is none.
            self.run(*self.verify_blob(key, bundle, PROVENANCE_TYPE, self.model / "model.safetensors"))
            self.refused(*self.verify_blob(key, bundle, PROVENANCE_TYPE, self.model / "config.json"), says=())
            self.refused(*self.verify_blob(key, bundle, SIGNATURE, self.manifest), says=())
            for changed in (with_payload_changed(good), with_two_signatures(good)):
                path = self.write_json("changed.json", changed)
                self.refused(*self.verify_blob(key, path, PROVENANCE_TYPE, self.manifest), says=())

    @sealstone_only
    def check_the_attestation_is_in_our_log(self):
        root, _ = self.trusted_root()
        logged = self.attestations["ecdsa-p256-sha256"]
        if not logged["verificationMaterial"].get("tlogEntries"):
            raise CheckFailed("the registry has a log, and the attestation no entry of it")
        against = ("--trusted-root", root)
        self.run(*self.verify_attestation("release-p256.pub", PROVENANCE_TYPE, *against))
        self.refused(*self.verify_attestation("other-p256.pub", PROVENANCE_TYPE, *against), says=())
        for kind in OTHER_TYPES:
            self.refused(*self.verify_attestation("release-p256.pub", kind, *against), says=())
        words = ("cosign", "verify-blob-attestation", "--key", "release-p256.pub", *against, "--type", PROVENANCE_TYPE)
        self.run(*words, "--bundle", self.write_json("logged.json", logged), self.manifest)
        changed = self.write_json("changed.json", with_proof_changed(logged))
        self.refused(*words, "--bundle", changed, self.manifest, says=())

    @sealstone_only
    def check_the_signature_is_in_our_log(self):
        root, bundle = self.trusted_root()
        words = ("cosign", "verify-blob-attestation", "--key", "release-p256.pub", "--trusted-root", root, "--type", SIGNATURE)
        good = self.write_json("logged.json", bundle)
        self.run(*words, "--bundle", good, self.manifest)
        changed = self.write_json("changed.json", with_proof_changed(bundle))
        self.refused(*words, "--bundle", changed, self.manifest, says=())
        unlogged = self.write_json("unlogged.json", {**bundle, "verificationMaterial": {**bundle["verificationMaterial"], "tlogEntries": []}})
        self.refused(*words, "--bundle", unlogged, self.manifest, says=())
        self.run(*self.verify_logged("release-p256.pub", root))

    def verify_logged(self, key, root):
        return ("cosign", "verify", "--key", key, "--trusted-root", root, *PLAIN, self.subject)

    @sealstone_only
    def check_what_is_in_our_log_is_refused_by_another_key_or_another_log(self):
        root, bundle = self.trusted_root()
        self.refused(*self.verify_logged("other-p256.pub", root), says=())
        # Ed25519 signatures are in the log as events, which cosign does not read.
        self.refused(*self.verify_logged("release.pub", root), says=())
        good = self.write_json("logged.json", bundle)
        for name, value in roots_of_others(json.loads(root.read_text()), self.public_der("other.pub")).items():
            other = self.write_json(f"{name}_root.json", value)
            self.refused(*self.verify_logged("release-p256.pub", other), says=())
            self.refused(*self.verify_attestation("release-p256.pub", PROVENANCE_TYPE, "--trusted-root", other), says=())
            words = ("cosign", "verify-blob-attestation", "--key", "release-p256.pub", "--trusted-root", other, "--type", SIGNATURE)
            self.refused(*words, "--bundle", good, self.manifest, says=())

    @sealstone_only
    def check_the_commands_of_the_readme(self):
        self.attest("test-result", TEST_RESULT)
        self.write_json("bundle.json", self.attestations["ecdsa-p256-sha256"])
        weights = hashlib.sha256((self.model / "model.safetensors").read_bytes()).hexdigest()
        commands = commands_of_the_readme()
        kinds = [command[1] for command in commands if command[0] == "cosign"]
        same(kinds, ["verify"] * 2 + ["verify-attestation"] * 2 + ["verify-blob-attestation"], "the commands of README.md")
        for command in commands:
            words = [{"$IT": self.subject, "HEX": weights}.get(word, word).replace("localhost:5000", self.host) for word in command]
            if words[1] in ("verify", "verify-attestation"):
                words.append("--allow-http-registry")
            self.run(*words)
            if words[0] == "cosign":
                self.refused(*[word.replace("release", "other") if word.endswith(".pub") else word for word in words], says=())
