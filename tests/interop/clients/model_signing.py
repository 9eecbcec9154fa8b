"""model_signing, the reference of OpenSSF Model Signing, on what `sealstone pull --oms` writes."""

import servers
from sealed import Verifier, sealstone, tool_folder


class ModelSigning(Verifier):
    name = "model-signing"

    @classmethod
    def missing(cls):
        if sealstone() is None:
            return "sealstone (SEALSTONE_BIN)"
        return None if (tool_folder("model-signing") / "ready").exists() else "model-signing"

    def verify(self, directory, key="release-p256.pub", signature=None):
        tool = servers.TOOLS / "model-signing" / "bin" / "model_signing"
        return (tool, "verify", "key", directory, "--public_key", key, "--signature", signature or f"{directory}/model.sig")

    def set_up(self):
        super().set_up()
        self.sealstone("pull", self.subject, "--key", "release.pub", "--key", "release-p256.pub", "-o", "pulled", "--oms")

    def check_the_pulled_directory_verifies(self):
        self.run(*self.verify("pulled"), says="succeeded")

    def check_it_is_still_the_bundle(self):
        self.sealstone("verify", self.subject, "--key", "release.pub", "--files", "pulled")

    def check_a_changed_file_is_refused(self):
        model = self.copy_of_model("changed")
        (model / "config.json").write_text('{"model_type": "dema"}')
        self.refused(*self.verify(model, signature="pulled/model.sig"), says=())

    def check_an_added_file_is_refused(self):
        model = self.copy_of_model("added")
        self.run(*self.verify(model, signature="pulled/model.sig"))
        (model / "evil.py").write_text("")
        self.refused(*self.verify(model, signature="pulled/model.sig"), says=())

    def check_renamed_files_are_refused(self):
        # In the same order, so that the root stays what it was.
        model = self.copy_of_model("renamed")
        (model / "config.json").rename(model / "confih.json")
        self.refused(*self.verify(model, signature="pulled/model.sig"), says=())

    def check_another_key_is_refused(self):
        for key in ("other-p256.pub", "release.pub"):
            self.refused(*self.verify("pulled", key=key), says=())

    def check_a_changed_signature_is_refused(self):
        content = (self.home / "pulled" / "model.sig").read_text()
        place = content.index('"sig":"') + 20
        changed = content[:place] + ("A" if content[place] != "A" else "B") + content[place + 1 :]
        (self.home / "changed.sig").write_text(changed)
        self.refused(*self.verify("pulled", signature="changed.sig"), says=())
