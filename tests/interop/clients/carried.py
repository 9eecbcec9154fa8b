"""Other people's copies and our archives: what oras and skopeo carry stays what it was, and stays verifiable."""

import json

from harness import IMMUTABLE, contains, same
from sealed import SIGNATURE, Verifier, sealstone


class Carried(Verifier):
    name = "carried"
    tools = ("oras", "skopeo")

    def other(self, name):
        return f"{self.host}/{self.repository(IMMUTABLE, name)}"

    def export(self, name="release.tar"):
        path = self.home / name
        if not path.exists():
            self.sealstone("export", self.subject, name)
        return path

    def check_oras_copies_bundle_and_signatures(self):
        target = self.other("by-oras")
        self.run("oras", "cp", "-r", "--from-plain-http", "--to-plain-http", self.subject, f"{target}:1.0.0")
        self.sealstone("verify", f"{target}:1.0.0", "--key", "release.pub")
        self.refused(sealstone(), "verify", f"{target}:1.0.0", "--key", "other.pub", says="policy does not hold")

    def check_oras_lists_the_signatures(self):
        output = self.run("oras", "discover", "--plain-http", "--format", "json", self.subject)
        kinds = json.dumps(json.loads(output))
        contains(kinds, SIGNATURE, "what oras discovers")

    def check_skopeo_copies_the_bundle_alone_and_that_is_seen(self):
        target = self.other("by-skopeo")
        self.run("skopeo", "copy", "--src-tls-verify=false", "--dest-tls-verify=false", f"docker://{self.subject}", f"docker://{target}:1.0.0")
        self.refused(sealstone(), "verify", f"{target}@{self.digest}", "--key", "release.pub", says="missing")
        self.sealstone("copy", self.subject, f"{target}")
        self.sealstone("verify", f"{target}@{self.digest}", "--key", "release.pub")

    def check_skopeo_reads_an_archive(self):
        self.sealstone("export", "oci:bundle:1.0.0", "tagged.tar")
        manifest = self.run("skopeo", "inspect", "--raw", "oci-archive:tagged.tar:1.0.0")
        same(manifest, self.manifest.read_text(), "the manifest in the archive")

    def check_an_archive_verifies_offline_and_goes_into_another_repository(self):
        self.export()
        offline = ("unshare", "--map-root-user", "--net") if self.execute("unshare", "--map-root-user", "--net", "true")[0] == 0 else ()
        self.run(*offline, sealstone(), "verify", "release.tar", "--key", "release.pub")
        self.refused(*offline, sealstone(), "verify", "release.tar", "--key", "other.pub", says="policy does not hold")
        target = self.other("imported")
        self.sealstone("import", "release.tar", f"{target}:1.0.0")
        self.sealstone("verify", f"{target}:1.0.0", "--key", "release-p256.pub")

    def check_a_changed_archive_is_refused(self):
        content = bytearray(self.export().read_bytes())
        place = content.index(b"weights weights ") + 1000
        content[place] ^= 1
        (self.home / "changed.tar").write_bytes(content)
        self.refused(sealstone(), "verify", "changed.tar", "--key", "release.pub", says="other content")
        self.refused(sealstone(), "import", "changed.tar", f"{self.other('never')}:1.0.0", says="other content")
