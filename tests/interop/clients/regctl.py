"""regctl: chunked uploads, referrers, artifacts, tag deletion."""

import json

import servers
from harness import IMMUTABLE, Client, contains, same, sealstone_only


class Regctl(Client):
    name = "regctl"
    tools = ("regctl",)

    def layout(self, tag):
        return f"ocidir://{self.images.directory}:{tag}"

    def check_login(self):
        self.run("regctl", "registry", "set", "--skip-check", "--tls", "disabled", self.host)
        self.run("regctl", "registry", "login", "-u", servers.USER, "--pass-stdin", self.host, stdin=servers.PASSWORD)

    def check_push_and_pull(self):
        self.run("regctl", "image", "copy", self.layout("one"), self.reference("one"))
        same(self.run("regctl", "image", "digest", self.reference("one")).strip(), self.images.one["digest"], "digest")
        self.run("regctl", "image", "copy", self.reference("one"), f"ocidir://{self.home / 'pulled'}:one")
        self.run("regctl", "image", "copy", self.layout("both"), self.reference("both"))

    def check_chunked_push(self):
        self.run("regctl", "registry", "set", "--blob-chunk", "700000", "--blob-max", "600000", self.host)
        self.run("regctl", "image", "copy", self.layout("two"), self.reference("chunked", name="chunked"))
        self.run("regctl", "registry", "set", "--blob-chunk", "0", "--blob-max", "0", self.host)
        same(self.run("regctl", "image", "digest", self.reference("chunked", name="chunked")).strip(), self.images.two["digest"], "digest")

    def check_copy_between_repositories(self):
        self.run("regctl", "image", "copy", self.reference("one"), self.reference("one", name="copy"))

    def check_artifact_and_referrers(self):
        put = ("regctl", "artifact", "put", "--artifact-type", "application/vnd.test.note", "--subject", self.reference("one"))
        self.run(*put, stdin="a note")
        found = json.loads(self.run("regctl", "artifact", "list", "--format", "{{json .}}", self.reference("one")))
        manifests = found.get("manifests") or found.get("descriptors") or found.get("Descriptors")
        contains([each["artifactType"] for each in manifests], "application/vnd.test.note", "referrers")

    def check_blobs(self):
        repository = self.reference("").rstrip(":")
        digest = self.run("regctl", "blob", "put", repository, stdin="a blob").strip()
        same(self.run("regctl", "blob", "get", repository, digest), "a blob", "the fetched blob")
        self.run("regctl", "blob", "head", repository, digest)

    def check_tags_and_repositories(self):
        contains(self.run("regctl", "tag", "ls", self.reference("").rstrip(":")).split(), "one", "tags")
        contains(self.run("regctl", "repo", "ls", self.host).split(), self.repository(), "repositories")

    def check_delete_tag(self):
        target = self.reference("doomed", name="doomed")
        self.run("regctl", "image", "copy", self.layout("two"), target)
        self.run("regctl", "tag", "rm", target)
        self.refused("regctl", "manifest", "head", target, says=())

    @sealstone_only
    def check_an_immutable_tag_stays(self):
        target = self.reference("v1", IMMUTABLE)
        self.run("regctl", "image", "copy", self.layout("one"), target)
        self.refused("regctl", "image", "copy", self.layout("two"), target, says=())
        same(self.run("regctl", "image", "digest", target).strip(), self.images.one["digest"], "digest after the refusal")
