"""Other people's copies and our archives: what oras and skopeo carry stays what it was, and stays verifiable."""

import json

from harness import IMMUTABLE, contains, same, sealstone_only
from sealed import OFFLINE, PLAIN, PROVENANCE, PROVENANCE_TYPE, SIGNATURE, Verifier, sealstone, verifier_key

# Signatures and provenance by the release keys, each proven to be in the log; the roots sign nothing here.
POLICY = """\
schema = "sealstone-policy/v2"
version = 1
expires = "2099-01-01T00:00:00Z"

[roots]
threshold = 1
keys = [\"""{root}\"""]

[[log]]
vkey = "{log}"

[[identity]]
name = "{name}"
roles = ["release", "builder"]
keys = [\"""{ed25519}\""", \"""{p256}\"""]

[[scope]]
repositories = ["models/**"]

[[scope.require]]
rule = "signatures"

[[scope.require]]
rule = "provenance"
builders = ["https://builds.example/*"]

[[scope.require]]
rule = "log"
"""


class Carried(Verifier):
    name = "carried"
    tools = ("oras", "skopeo", "cosign")

    def set_up(self):
        self.environment["SIGSTORE_ROOT_FILE"] = "/dev/null"
        super().set_up()
        self.attest("slsa-provenance", PROVENANCE)

    def other(self, name):
        return f"{self.host}/{self.repository(IMMUTABLE, name)}"

    def export(self, name="release.tar"):
        path = self.home / name
        if not path.exists():
            self.sealstone("export", self.subject, name)
        return path

    def policy(self, name, log, signer="release"):
        """A file with the policy above, by which `signer` releases and `log` is the log."""
        public = lambda which: (self.home / f"{which}.pub").read_text()  # noqa: E731
        path = self.home / name
        path.write_text(POLICY.format(root=public("root"), log=log, name=signer, ed25519=public(signer), p256=public(f"{signer}-p256")))
        return path

    def check_oras_copies_bundle_and_signatures(self):
        target = self.other("by-oras")
        self.run("oras", "cp", "-r", "--from-plain-http", "--to-plain-http", self.subject, f"{target}:1.0.0")
        self.sealstone("verify", f"{target}:1.0.0", "--key", "release.pub")
        self.refused(sealstone(), "verify", f"{target}:1.0.0", "--key", "other.pub", says="policy does not hold")

    def check_cosign_verifies_what_oras_copied(self):
        copied = f"{self.other('by-oras')}@{self.digest}"
        for pair in ("release", "other"):
            check = self.run if pair == "release" else lambda *words: self.refused(*words, says=())
            for key in (f"{pair}.pub", f"{pair}-p256.pub"):
                check("cosign", "verify", "--key", key, *OFFLINE, *PLAIN, copied)
                check("cosign", "verify-attestation", "--key", key, "--type", PROVENANCE_TYPE, *OFFLINE, *PLAIN, copied)
        self.refused("cosign", "verify-attestation", "--key", "release.pub", "--type", "https://cyclonedx.org/bom", *OFFLINE, *PLAIN, copied, says=())

    @sealstone_only
    def check_cosign_finds_what_oras_copied_in_our_log(self):
        root, _ = self.trusted_root()
        words = ("--trusted-root", root, *PLAIN, f"{self.other('by-oras')}@{self.digest}")
        self.run("cosign", "verify", "--key", "release-p256.pub", *words)
        self.run("cosign", "verify-attestation", "--key", "release-p256.pub", "--type", PROVENANCE_TYPE, *words)
        self.refused("cosign", "verify", "--key", "other-p256.pub", *words, says=())
        self.refused("cosign", "verify-attestation", "--key", "other-p256.pub", "--type", PROVENANCE_TYPE, *words, says=())

    @sealstone_only
    def check_what_oras_copied_holds_under_a_policy_with_our_log(self):
        copied = f"{self.other('by-oras')}:1.0.0"
        self.sealstone("keygen", "--out", "root", "--no-passphrase")
        ours = self.sealstone("log", "key", self.host).strip()
        self.sealstone("verify", copied, "--policy", self.policy("policy.toml", ours))
        strange = verifier_key(ours.split("+", 1)[0], self.public_der("other.pub"))
        for path in (self.policy("strange.toml", strange), self.policy("other.toml", ours, signer="other")):
            self.refused(sealstone(), "verify", copied, "--policy", path, says="policy does not hold")

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

    def check_skopeo_copies_the_older_signatures_where_it_is_told_to(self):
        places = self.home / "registries.d"
        places.mkdir()
        (places / "here.yaml").write_text(f"docker:\n  {self.host}:\n    use-sigstore-attachments: true\n")
        target = self.other("by-skopeo-signed")
        plain = ("--src-tls-verify=false", "--dest-tls-verify=false")
        self.run("skopeo", "--registries.d", places, "copy", *plain, f"docker://{self.subject}", f"docker://{target}:1.0.0")
        older = ("--new-bundle-format=false", *OFFLINE, *PLAIN, f"{target}@{self.digest}")
        self.run("cosign", "verify", "--key", "release-p256.pub", *older)
        self.refused("cosign", "verify", "--key", "other-p256.pub", *older, says=())

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
