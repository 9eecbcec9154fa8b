"""@sigstore/verify, sigstore's verifier in JavaScript: bundles of both keys, and the model signature."""

import pathlib

from harness import sealstone_only
from sealed import (
    Verifier,
    sealstone,
    tool_folder,
    with_payload_changed,
    with_proof_changed,
    with_signature_of,
    with_two_signatures,
)

SCRIPT = pathlib.Path(__file__).parents[1] / "scripts" / "sigstore_verify.cjs"


class SigstoreJs(Verifier):
    name = "sigstore-js"
    tools = ("node",)

    @classmethod
    def missing(cls):
        if sealstone() is None:
            return "sealstone (SEALSTONE_BIN)"
        return super().missing() if (tool_folder("sigstore-js") / "ready").exists() else "@sigstore/verify"

    def set_up(self):
        self.environment["NODE_PATH"] = str(tool_folder("sigstore-js") / "node_modules")
        super().set_up()

    def verify(self, bundle, key, *root):
        # This verifier looks at a log's entry wherever there is one, asked for or not.
        if not root and bundle["verificationMaterial"].get("tlogEntries"):
            root = self.trusted_root()[:1]
        return ("node", SCRIPT, self.write_json("bundle.json", bundle), key, *root)

    def check_both_signatures(self):
        self.run(*self.verify(self.signature_by("ed25519"), "release.pub"), says="verified")
        self.run(*self.verify(self.signature_by("ecdsa-p256-sha256"), "release-p256.pub"), says="verified")

    def check_the_model_signature(self):
        self.run(*self.verify(self.model_signature(), "release-p256.pub"), says="verified")
        self.refused(*self.verify(self.model_signature(), "other-p256.pub"), says="SIGNATURE_ERROR")

    def check_another_key_is_refused(self):
        self.refused(*self.verify(self.signature_by("ed25519"), "other.pub"), says="SIGNATURE_ERROR")
        self.refused(*self.verify(self.signature_by("ecdsa-p256-sha256"), "other-p256.pub"), says="SIGNATURE_ERROR")

    def check_a_changed_payload_is_refused(self):
        for algorithm, key in (("ed25519", "release.pub"), ("ecdsa-p256-sha256", "release-p256.pub")):
            changed = with_payload_changed(self.signature_by(algorithm))
            self.refused(*self.verify(changed, key), says=("refused", "_ERROR"))

    def check_a_foreign_signature_is_refused(self):
        changed = with_signature_of(self.signature_by("ecdsa-p256-sha256"), self.model_signature())
        self.refused(*self.verify(changed, "release-p256.pub"), says=("refused", "_ERROR"))
        changed = with_signature_of(self.model_signature(), self.signature_by("ecdsa-p256-sha256"))
        self.refused(*self.verify(changed, "release-p256.pub"), says="SIGNATURE_ERROR")

    def check_two_signatures_are_refused(self):
        self.refused(*self.verify(with_two_signatures(self.signature_by("ed25519")), "release.pub"), says=())

    @sealstone_only
    def check_the_signature_is_in_our_log(self):
        root, bundle = self.trusted_root()
        self.run(*self.verify(bundle, "release-p256.pub", root), says="verified")
        self.refused(*self.verify(with_proof_changed(bundle), "release-p256.pub", root), says="TLOG")
        self.refused(*self.verify(with_payload_changed(bundle), "release-p256.pub", root), says="refused")
        self.refused(*self.verify(self.signature_by("ed25519"), "release.pub", root), says="TLOG")
