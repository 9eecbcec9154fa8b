"""securesystemslib, the Python library below in-toto and TUF: the envelopes of both keys."""

import pathlib

from sealed import Verifier, sealstone, tool_folder, with_payload_changed, with_signature_of

SCRIPT = pathlib.Path(__file__).parents[1] / "scripts" / "securesystemslib_verify.py"


class Securesystemslib(Verifier):
    name = "securesystemslib"

    @classmethod
    def missing(cls):
        if sealstone() is None:
            return "sealstone (SEALSTONE_BIN)"
        return None if (tool_folder("securesystemslib") / "ready").exists() else "securesystemslib"

    def verify(self, bundle, key):
        path = self.write_json("bundle.json", bundle)
        key_id = bundle["verificationMaterial"]["publicKey"]["hint"]
        return (tool_folder("securesystemslib") / "bin" / "python", SCRIPT, path, key, key_id)

    def check_both_signatures(self):
        self.run(*self.verify(self.signature_by("ed25519"), "release.pub"), says="verified")
        self.run(*self.verify(self.signature_by("ecdsa-p256-sha256"), "release-p256.pub"), says="verified")

    def check_another_key_is_refused(self):
        self.refused(*self.verify(self.signature_by("ed25519"), "other.pub"), says="threshold")
        self.refused(*self.verify(self.signature_by("ecdsa-p256-sha256"), "other-p256.pub"), says="threshold")

    def check_a_changed_payload_is_refused(self):
        changed = with_payload_changed(self.signature_by("ed25519"))
        self.refused(*self.verify(changed, "release.pub"), says="threshold")

    def check_a_foreign_signature_is_refused(self):
        changed = with_signature_of(self.signature_by("ecdsa-p256-sha256"), self.model_signature())
        self.refused(*self.verify(changed, "release-p256.pub"), says="threshold")
