"""podman: login, pull into its own storage, tag, push, and manifest lists. Runs no container."""

import json
import pathlib
import shutil
import tempfile

import servers
from harness import IMMUTABLE, Client, contains, same, sealstone_only


class Podman(Client):
    name = "podman"
    tools = ("podman",)

    def podman(self, *words):
        storage = ("--root", self.home / "storage", "--runroot", self.runroot, "--storage-driver", "vfs", "--events-backend", "none")
        return ("podman", *storage, *words)

    def set_up(self):
        # podman refuses a runroot of more than 50 characters, and TMPDIR may be any length.
        self.runroot = pathlib.Path(tempfile.mkdtemp(prefix="podman-", dir="/tmp"))
        (self.home / ".config" / "containers").mkdir(parents=True)
        (self.home / ".config" / "containers" / "policy.json").write_text('{"default":[{"type":"insecureAcceptAnything"}]}')
        self.environment["CONTAINERS_CONF"] = "/dev/null"
        # podman makes an image name of a layout's path, and the random name of a temporary folder may end in a letter
        # that no name may have: so it is named from the working directory.
        (self.home / "layout").symlink_to(self.images.directory)

    def tear_down(self):
        self.execute(*self.podman("system", "reset", "--force"))
        shutil.rmtree(self.runroot, ignore_errors=True)

    def check_login(self):
        self.run(*self.podman("login", "--tls-verify=false", "-u", servers.USER, "--password-stdin", self.host), stdin=servers.PASSWORD, says="Login Succeeded")

    def check_push(self):
        self.run(*self.podman("pull", "-q", "oci:layout:one"))
        image = json.loads(self.run(*self.podman("images", "--format", "json")))[0]["Id"]
        self.run(*self.podman("tag", image, self.reference("one")))
        self.run(*self.podman("push", "-q", "--tls-verify=false", self.reference("one")))

    def check_pull(self):
        before = json.loads(self.run(*self.podman("inspect", self.reference("one"))))[0]
        self.run(*self.podman("rmi", "-f", before["Id"]))
        self.run(*self.podman("pull", "-q", "--tls-verify=false", self.reference("one")))
        after = json.loads(self.run(*self.podman("inspect", self.reference("one"))))[0]
        same(after["RootFS"]["Layers"], before["RootFS"]["Layers"], "layers after the pull")
        same(after["Id"], before["Id"], "image id after the pull")

    def check_push_with_docker_media_types(self):
        self.run(*self.podman("push", "-q", "--tls-verify=false", "--format", "v2s2", self.reference("one"), self.reference("docker")))

    def check_manifest_list(self):
        names = self.reference("list")
        self.run(*self.podman("manifest", "create", "a-list"))
        self.run(*self.podman("manifest", "add", "--tls-verify=false", "a-list", "docker://" + self.reference("one")))
        self.run(*self.podman("manifest", "push", "-q", "--all", "--tls-verify=false", "a-list", "docker://" + names))
        self.run(*self.podman("pull", "-q", "--tls-verify=false", "--arch", "amd64", names))

    def check_search_lists_tags(self):
        output = self.run(*self.podman("search", "--tls-verify=false", "--list-tags", "--format", "{{.Tag}}", self.reference("").rstrip(":")))
        contains(output.split(), "one", "tags")

    @sealstone_only
    def check_an_immutable_tag_stays(self):
        target = self.reference("v1", IMMUTABLE)
        self.run(*self.podman("push", "-q", "--tls-verify=false", self.reference("one"), target))
        other = self.run(*self.podman("pull", "-q", "oci:layout:two")).split()[-1]
        self.refused(*self.podman("push", "-q", "--tls-verify=false", other, target))
