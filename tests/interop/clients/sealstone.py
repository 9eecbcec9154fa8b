"""Our own client: pack, push, sign, verify, pull, copy, list, through nothing that a plain OCI registry would not have.

With `--server debian` these checks show that it works against a registry that knows nothing of bundles: no referrers,
no tree of BLAKE3 groups, no policy. The login comes from a live credential helper.
"""

import json
import os
import pathlib
import shutil
import stat

import servers
from harness import Client, NotHere, contains, same

HELPER = """#!/bin/sh
# The credential helper protocol of docker: one word says what is wanted, the registry comes on standard input.
[ "$1" = get ] || exit 1
read -r asked
echo "$asked" >> "$HOME/asked"
printf '{"ServerURL":"%s","Username":"%s","Secret":"%s"}' "$asked" "{user}" "{password}"
"""


def executable():
    """The client that was built, which is not on anybody's PATH."""
    path = os.environ.get("SEALSTONE_BIN", "")
    return path if os.path.exists(path) else None


class Sealstone(Client):
    name = "sealstone"

    @classmethod
    def missing(cls):
        return None if executable() else "sealstone"

    def sealstone(self, *words):
        return (executable(), *words)

    def set_up(self):
        model = self.home / "model"
        (model / "tokenizer").mkdir(parents=True)
        (model / "weights.safetensors").write_bytes(os.urandom(9 << 20))
        (model / "tokenizer" / "vocab.txt").write_text("one\ntwo\n")
        (model / "README.md").write_text("# A model\n")
        self.environment["SEALSTONE_PASSPHRASE"] = "only for tests"
        programs = self.home / "bin"
        programs.mkdir()
        helper = programs / "docker-credential-tests"
        helper.write_text(HELPER.replace("{user}", servers.USER).replace("{password}", servers.PASSWORD))
        helper.chmod(helper.stat().st_mode | stat.S_IXUSR)
        self.environment["PATH"] = f"{programs}:{self.environment['PATH']}"
        self.run(*self.sealstone("keygen", "--out", "alice"))
        self.run(*self.sealstone("keygen", "--out", "mallory"))
        packed = self.json(*self.sealstone("pack", str(model), "-o", "bundle:1.0.0"))
        self.digest = packed["digest"]

    def json(self, *command):
        """The last object of a command that answers in JSON lines."""
        output = self.run(*command, "--output", "json")
        return json.loads(output.strip().splitlines()[-1])

    def exact(self, code, *command):
        """Runs a command that must end with this exit code; answers everything that it said."""
        found, _, everything = self.execute(*command)
        same(found, code, f"exit code of {' '.join(map(str, command[1:3]))}: {everything.strip()[-600:]}")
        return everything

    def at_digest(self):
        return f"{self.host}/{self.repository()}@{self.digest}"

    def check_nobody_may_push_without_a_login(self):
        self.exact(6, *self.sealstone("push", "oci:bundle:1.0.0", self.reference("1.0.0")))

    def check_push_with_a_credential_helper(self):
        folder = self.home / ".docker"
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps({"credHelpers": {self.host: "tests"}}))
        self.run(*self.sealstone("push", "oci:bundle:1.0.0", self.reference("1.0.0")))
        contains((self.home / "asked").read_text(), self.host, "what the helper was asked for")

    def check_what_is_there_is_not_sent_again(self):
        again = self.json(*self.sealstone("push", "oci:bundle:1.0.0", self.reference("1.0.0")))
        same((again["bytesMoved"], again["blobsPresent"] > 3), (0, True), "bytes sent again, and blobs found there")

    def check_sign_and_verify(self):
        self.run(*self.sealstone("sign", self.at_digest(), "--key", "alice.key"))
        self.run(*self.sealstone("verify", self.reference("1.0.0"), "--key", "alice.pub"))
        self.exact(3, *self.sealstone("verify", self.reference("1.0.0"), "--key", "mallory.pub"))

    def check_pull_is_verified(self):
        self.run(*self.sealstone("pull", self.reference("1.0.0"), "--key", "alice.pub", "-o", "pulled"))
        for path in ("weights.safetensors", "tokenizer/vocab.txt", "README.md"):
            same((self.home / "pulled" / path).read_bytes(), (self.home / "model" / path).read_bytes(), path)

    def check_pull_by_the_wrong_key_leaves_nothing(self):
        self.exact(3, *self.sealstone("pull", self.reference("1.0.0"), "--key", "mallory.pub", "-o", "refused"))
        same((self.home / "refused").exists(), False, "a refused pull left a directory")

    def check_list_and_inspect(self):
        contains(self.run(*self.sealstone("list", f"{self.host}/{self.repository()}")), "1.0.0", "tags")
        contains(self.run(*self.sealstone("inspect", self.reference("1.0.0"))), self.digest, "inspect")

    def check_copy_carries_the_signatures(self):
        self.run(*self.sealstone("copy", self.reference("1.0.0"), self.reference("1.0.0", name="copy")))
        self.run(*self.sealstone("verify", self.reference("1.0.0", name="copy"), "--key", "alice.pub"))
        self.run(*self.sealstone("copy", self.reference("1.0.0"), "oci:carried:1.0.0"))
        self.run(*self.sealstone("verify", "oci:carried:1.0.0", "--key", "alice.pub"))

    def check_a_byte_flipped_in_storage_halts_the_pull(self):
        if self.server.kind == "sealstone":
            raise NotHere("our registry refuses before the client can: tests/it/damage.rs")
        weights = max(pathlib.Path(self.server.directory, "data").rglob("data"), key=lambda path: path.stat().st_size)
        content = bytearray(weights.read_bytes())
        content[len(content) // 2] ^= 1
        weights.write_bytes(content)
        said = self.exact(4, *self.sealstone("pull", self.reference("1.0.0"), "--key", "alice.pub", "-o", "halted"))
        contains(said, "weights.safetensors", "which file")
        same((self.home / "halted").exists(), False, "a halted pull left a directory")

    def tear_down(self):
        shutil.rmtree(self.home / "model", ignore_errors=True)
