"""oras-py, the Python client, in a virtual environment of its own."""

import pathlib

import servers
from harness import IMMUTABLE, Client, CheckFailed, same, sealstone_only

SCRIPT = pathlib.Path(__file__).parents[1] / "scripts" / "oras_py.py"


class OrasPy(Client):
    name = "oras-py"

    @classmethod
    def missing(cls):
        return None if (servers.TOOLS / "oras-py" / "ready").exists() else "oras-py"

    def call(self, *words, backend="basic"):
        return (servers.TOOLS / "oras-py" / "bin" / "python", SCRIPT, self.host, servers.USER, servers.PASSWORD, backend, *words)

    def write(self, name, content):
        path = self.home / name
        path.write_bytes(content)
        return path.name

    def check_push_and_pull(self):
        self.run(*self.call("push", self.reference("v1"), self.write("weights.bin", b"weights " * 5000)))
        self.run(*self.call("pull", self.reference("v1"), "pulled"))
        same((self.home / "pulled" / "weights.bin").read_bytes(), b"weights " * 5000, "the pulled file")

    @sealstone_only
    def check_pull_with_a_token(self):
        # Only the pull: this client keeps its first token, which covers reading, and does not ask for a wider one.
        self.run(*self.call("pull", self.reference("v1"), "token-pulled", backend="token"))
        same((self.home / "token-pulled" / "weights.bin").read_bytes(), b"weights " * 5000, "the pulled file")

    def check_chunked_push(self):
        self.run(*self.call("push-chunked", self.reference("chunked"), self.write("chunked.bin", bytes(range(256)) * 20000)))
        self.run(*self.call("pull", self.reference("chunked"), "chunked-pulled"))
        same((self.home / "chunked-pulled" / "chunked.bin").read_bytes(), bytes(range(256)) * 20000, "the pulled file")

    def check_list_tags(self):
        output = self.run(*self.call("tags", self.reference("v1")))
        if "v1" not in output.split():
            raise CheckFailed(f"v1 is not among the tags: {output}")

    @sealstone_only
    def check_delete_tag(self):
        self.run(*self.call("push", self.reference("doomed", name="doomed"), self.write("doomed.bin", b"doomed")))
        self.run(*self.call("delete", self.reference("doomed", name="doomed"), "doomed"), says="True")

    @sealstone_only
    def check_an_immutable_tag_stays(self):
        target = self.reference("v1", IMMUTABLE)
        self.run(*self.call("push", target, self.write("first.bin", b"first")))
        self.refused(*self.call("push", target, self.write("second.bin", b"second")))
