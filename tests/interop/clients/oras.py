"""oras: artifacts, referrers, copies with their referrers, blobs and manifests by themselves."""

import hashlib
import json

import servers
from harness import IMMUTABLE, Client, contains, same, sealstone_only


class Oras(Client):
    name = "oras"
    tools = ("oras",)

    def oras(self, *words):
        return ("oras", *words, "--plain-http")

    def write(self, name, content):
        (self.home / name).write_text(content)
        return name

    def check_login(self):
        self.run(*self.oras("login", "-u", servers.USER, "--password-stdin", self.host), stdin=servers.PASSWORD, says="Login Succeeded")

    def check_push_and_pull(self):
        name = self.write("model.txt", "a model\n" * 20000)
        self.run(*self.oras("push", "--artifact-type", "application/vnd.test.model", self.reference("v1"), f"{name}:text/plain"))
        self.run(*self.oras("pull", "-o", "pulled", self.reference("v1")))
        same((self.home / "pulled" / name).read_text(), "a model\n" * 20000, "the pulled file")

    def check_attach_and_discover(self):
        name = self.write("signature.txt", "a signature")
        self.run(*self.oras("attach", "--artifact-type", "application/vnd.test.signature", self.reference("v1"), name))
        self.run(*self.oras("attach", "--artifact-type", "application/vnd.test.report", self.reference("v1"), name))
        found = self.discovered()
        same(sorted(found), ["application/vnd.test.report", "application/vnd.test.signature"], "referrers")
        only = self.discovered("--artifact-type", "application/vnd.test.report")
        same(only, ["application/vnd.test.report"], "filtered referrers")

    @sealstone_only
    def check_referrers_come_from_the_interface(self):
        same(len(self.discovered("--distribution-spec", "v1.1-referrers-api")), 2, "referrers")
        tags = self.run(*self.oras("repo", "tags", self.reference("").rstrip(":"))).split()
        same([tag for tag in tags if tag.startswith("sha256-")], [], "fallback tags")

    def discovered(self, *words):
        answer = json.loads(self.run(*self.oras("discover", "--format", "json", *words, self.reference("v1"))))
        return [each["artifactType"] for each in answer.get("referrers") or answer.get("manifests") or []]

    def check_copy_with_referrers(self):
        target = self.reference("v1", name="copy")
        self.run("oras", "cp", "-r", "--from-plain-http", "--to-plain-http", self.reference("v1"), target)
        answer = json.loads(self.run(*self.oras("discover", "--format", "json", target)))
        same(len(answer.get("referrers") or answer.get("manifests")), 2, "referrers of the copy")

    def check_blobs(self):
        name = self.write("blob.txt", "a blob")
        self.run(*self.oras("blob", "push", self.reference("").rstrip(":"), name))
        digest = "sha256:" + hashlib.sha256(b"a blob").hexdigest()
        place = f"{self.reference('').rstrip(':')}@{digest}"
        same(self.run(*self.oras("blob", "fetch", "-o", "-", place)), "a blob", "the fetched blob")
        self.run(*self.oras("blob", "delete", "--force", place))
        self.refused(*self.oras("blob", "fetch", "-o", "-", place), says=())

    def check_tags_and_repositories(self):
        self.run(*self.oras("tag", self.reference("v1"), "v2"))
        contains(self.run(*self.oras("repo", "tags", self.reference("").rstrip(":"))).split(), "v2", "tags")
        contains(self.run(*self.oras("repo", "ls", self.host)).split(), self.repository(), "repositories")
        same(self.run(*self.oras("resolve", self.reference("v2"))), self.run(*self.oras("resolve", self.reference("v1"))), "digests")

    def check_several_tags_in_one_push(self):
        self.run(*self.oras("push", self.reference("a,b,c", name="tags"), self.write("tags.txt", "tags")))
        same(sorted(self.run(*self.oras("repo", "tags", self.reference("", name="tags").rstrip(":"))).split()), ["a", "b", "c"], "tags")

    def check_manifest_index(self):
        self.run(*self.oras("manifest", "index", "create", self.reference("index"), "v1", "v2"))
        self.run(*self.oras("manifest", "fetch", self.reference("index")), says="image.index")

    def check_delete(self):
        target = self.reference("doomed", name="doomed")
        self.run(*self.oras("push", target, self.write("doomed.txt", "doomed")))
        self.run(*self.oras("manifest", "delete", "--force", target))
        self.refused(*self.oras("pull", target), says="not found")

    @sealstone_only
    def check_an_immutable_tag_stays(self):
        target = self.reference("v1", IMMUTABLE)
        self.run(*self.oras("push", target, self.write("first.txt", "first")))
        self.refused(*self.oras("push", target, self.write("second.txt", "second")))
        self.run(*self.oras("push", self.reference("v2", IMMUTABLE), self.write("second.txt", "second")))
        self.refused(*self.oras("tag", self.reference("v2", IMMUTABLE), "v1"))
