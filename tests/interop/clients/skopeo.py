"""skopeo: copies in every direction, Docker media types, multi-platform images, sync, delete."""

import json

import servers
from harness import IMMUTABLE, Client, contains, same, sealstone_only


class Skopeo(Client):
    name = "skopeo"
    tools = ("skopeo",)

    def layout(self, tag):
        return f"oci:{self.images.directory}:{tag}"

    def remote(self, tag, *place):
        return "docker://" + self.reference(tag, *place)

    def to(self, *words):
        return ("skopeo", "copy", "--dest-tls-verify=false", *words)

    def check_login_with_a_wrong_password(self):
        self.refused("skopeo", "login", "--tls-verify=false", "-u", servers.USER, "--password-stdin", self.host, stdin="wrong", says=())

    def check_login(self):
        self.run("skopeo", "login", "--tls-verify=false", "-u", servers.USER, "--password-stdin", self.host, stdin=servers.PASSWORD, says="Login Succeeded")

    def check_push_and_pull(self):
        self.run(*self.to(self.layout("one"), self.remote("one")))
        pulled = self.home / "pulled"
        self.run("skopeo", "copy", "--src-tls-verify=false", self.remote("one"), f"oci:{pulled}:one")
        digest = json.loads((pulled / "index.json").read_text())["manifests"][0]["digest"]
        same(digest, self.images.one["digest"], "digest of the pulled image")
        blobs = {path.name for path in (pulled / "blobs" / "sha256").iterdir()}
        for layer in self.images.manifest(self.images.one)["layers"]:
            contains(blobs, layer["digest"].removeprefix("sha256:"), "pulled layers")

    def check_docker_media_types(self):
        self.run(*self.to("--format", "v2s2", self.layout("one"), self.remote("docker")))
        raw = self.run("skopeo", "inspect", "--raw", "--tls-verify=false", self.remote("docker"))
        same(json.loads(raw)["mediaType"], "application/vnd.docker.distribution.manifest.v2+json", "media type")
        self.run("skopeo", "copy", "--src-tls-verify=false", self.remote("docker"), f"dir:{self.home / 'docker'}")

    def check_all_platforms(self):
        self.run(*self.to("--all", self.layout("both"), self.remote("both")))
        self.run("skopeo", "copy", "--all", "--src-tls-verify=false", self.remote("both"), f"oci:{self.home / 'both'}:both")

    def check_inspect(self):
        facts = json.loads(self.run("skopeo", "inspect", "--tls-verify=false", self.remote("one")))
        same(facts["Digest"], self.images.one["digest"], "digest")
        contains(facts["RepoTags"], "one", "tags")

    def check_list_tags(self):
        tags = json.loads(self.run("skopeo", "list-tags", "--tls-verify=false", "docker://" + self.reference("").rstrip(":")))["Tags"]
        contains(tags, "one", "tags")

    def check_copy_between_repositories(self):
        source, target = self.remote("one"), "docker://" + self.reference("one", name="copy")
        self.run("skopeo", "copy", "--src-tls-verify=false", "--dest-tls-verify=false", source, target)
        raw = self.run("skopeo", "inspect", "--raw", "--tls-verify=false", target)
        same(raw.encode(), self.images.read(self.images.one["digest"]), "manifest bytes")

    def check_sync_to_a_directory(self):
        source = self.reference("").rstrip(":")
        self.run("skopeo", "sync", "--src", "docker", "--dest", "dir", "--src-tls-verify=false", source, self.home / "sync")

    def check_a_mutable_tag_moves(self):
        self.run(*self.to(self.layout("one"), self.remote("latest")))
        self.run(*self.to(self.layout("two"), self.remote("latest")))
        facts = json.loads(self.run("skopeo", "inspect", "--tls-verify=false", self.remote("latest")))
        same(facts["Digest"], self.images.two["digest"], "digest after the second push")

    @sealstone_only
    def check_an_immutable_tag_stays(self):
        self.run(*self.to(self.layout("one"), self.remote("v1", IMMUTABLE)))
        self.run(*self.to(self.layout("one"), self.remote("v1", IMMUTABLE)))
        self.refused(*self.to(self.layout("two"), self.remote("v1", IMMUTABLE)))

    def check_delete(self):
        self.run(*self.to(self.layout("two"), self.remote("doomed", *("open/interop", "doomed"))))
        target = self.remote("doomed", "open/interop", "doomed")
        self.run("skopeo", "delete", "--tls-verify=false", target)
        self.refused("skopeo", "inspect", "--tls-verify=false", target, says=())
