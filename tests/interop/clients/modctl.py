"""modctl, the reference client of CNCF ModelPack: pulls what sealstone pushed, file by file."""

import pathlib

import servers
from harness import CheckFailed, sealstone_only
from sealed import Verifier, sealstone


class Modctl(Verifier):
    name = "modctl"
    tools = ("modctl",)

    def set_up(self):
        super().set_up()
        # modctl pulls by tag.
        self.tagged = f"{self.place}:1.0.0"
        self.sealstone("release", self.subject, "1.0.0")
        self.storage = ("--storage-dir", self.home / "storage", "--no-progress")

    def modctl(self, *words):
        return ("modctl", *self.storage, *words)

    def check_login(self):
        # With --password-stdin it wants a terminal all the same.
        self.run(*self.modctl("login", "--plain-http", "-u", servers.USER, "-p", servers.PASSWORD, "--password-stdin=false", self.host))

    def check_pull(self):
        self.run(*self.modctl("pull", "--plain-http", self.tagged))
        listed = self.run(*self.modctl("ls"))
        if self.repository_name not in listed:
            raise CheckFailed(f"not listed: {listed}")

    def check_the_files_are_those_of_the_bundle(self):
        target = self.home / "extracted"
        self.run(*self.modctl("pull", "--plain-http", "--extract-from-remote", "--extract-dir", target, self.tagged))
        self.sealstone("verify", self.subject, "--key", "release.pub", "--files", target)
        names = sorted(str(path.relative_to(target)) for path in target.rglob("*") if path.is_file())
        own = sorted(str(path.relative_to(self.model)) for path in pathlib.Path(self.model).rglob("*") if path.is_file())
        if names != own:
            raise CheckFailed(f"{names} where {own} was expected")

    @sealstone_only
    def check_what_is_not_there_is_refused(self):
        self.refused(*self.modctl("pull", "--plain-http", f"{self.place}:9.9.9"), says=())
