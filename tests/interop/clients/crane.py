"""crane, and with it every tool on go-containerregistry: push, pull, copy with mounts, tag, delete, validate."""

import json
import shutil
import subprocess

import servers
from harness import IMMUTABLE, Client, contains, same, sealstone_only


class Crane(Client):
    name = "crane"
    tools = ("crane",)

    def crane(self, *words):
        return ("crane", *words, "--insecure")

    def set_up(self):
        """crane pushes a layout that holds one image: cut the shared layout down to one per image."""
        self.layouts = {}
        for tag in ("one", "two", "both"):
            layout = self.home / f"layout-{tag}"
            shutil.copytree(self.images.directory, layout)
            only = [entry for entry in self.images.index["manifests"] if entry["annotations"]["org.opencontainers.image.ref.name"] == tag]
            (layout / "index.json").write_text(json.dumps({**self.images.index, "manifests": only}))
            self.layouts[tag] = layout

    def check_login(self):
        self.run(*self.crane("auth", "login", self.host, "-u", servers.USER, "--password-stdin"), stdin=servers.PASSWORD, says="logged in")

    def check_push_and_pull(self):
        self.run(*self.crane("push", self.layouts["one"], self.reference("one")))
        same(self.run(*self.crane("digest", self.reference("one"))).strip(), self.images.one["digest"], "digest")
        self.run(*self.crane("pull", "--format", "oci", self.reference("one"), self.home / "pulled"))
        contains((self.home / "pulled" / "index.json").read_text(), self.images.one["digest"], "pulled index")

    def check_index(self):
        self.run(*self.crane("push", "--index", self.layouts["both"], self.reference("both")))
        self.run(*self.crane("pull", "--format", "oci", self.reference("both"), self.home / "pulled-both"))

    def check_validate(self):
        self.run(*self.crane("validate", "--remote", self.reference("one")), says="PASS")

    def check_copy_between_repositories(self):
        self.run(*self.crane("copy", self.reference("one"), self.reference("one", name="copy")))
        same(self.run(*self.crane("manifest", self.reference("one", name="copy"))).encode(), self.images.read(self.images.one["digest"]), "manifest bytes")

    def check_tags_and_catalog(self):
        self.run(*self.crane("tag", self.reference("one"), "again"))
        contains(self.run(*self.crane("ls", self.reference("").rstrip(":"))).split(), "again", "tags")
        contains(self.run(*self.crane("catalog", self.host)).split(), self.repository(), "repositories")

    def check_blob(self):
        layer = self.images.largest_layer()
        target = self.home / "layer"
        with open(target, "wb") as file:
            subprocess.run([servers.tool("crane"), "blob", "--insecure", f"{self.reference('').rstrip(':')}@{layer['digest']}"], env=self.environment, stdout=file, check=True, timeout=60)
        same(target.read_bytes(), self.images.read(layer["digest"]), "the layer")

    def check_mutate(self):
        self.run(*self.crane("mutate", self.reference("one"), "-l", "team=tests", "-t", self.reference("labelled")))
        contains(json.loads(self.run(*self.crane("config", self.reference("labelled"))))["config"]["Labels"], "team", "labels")

    @sealstone_only
    def check_delete(self):
        target = self.reference("doomed", name="doomed")
        self.run(*self.crane("push", self.layouts["two"], target))
        self.run(*self.crane("delete", target))
        self.refused(*self.crane("digest", target), says=())

    @sealstone_only
    def check_an_immutable_tag_stays(self):
        target = self.reference("v1", IMMUTABLE)
        self.run(*self.crane("push", self.layouts["one"], target))
        self.run(*self.crane("push", self.layouts["one"], target))
        self.refused(*self.crane("push", self.layouts["two"], target))
