"""containerd's ctr with a containerd of its own, in a scratch directory: pull, push, several platforms."""

import subprocess
import time

import servers
from harness import IMMUTABLE, Client, CheckFailed, contains, same, sealstone_only


class Containerd(Client):
    name = "containerd"
    tools = ("ctr", "containerd")
    daemon = None

    def set_up(self):
        self.socket = self.home / "containerd.sock"
        config = self.home / "config.toml"
        config.write_text(
            "version = 2\n"
            f'root = "{self.home}/root"\nstate = "{self.home}/state"\n'
            'disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.devmapper"]\n'
            f'[grpc]\naddress = "{self.socket}"\n[ttrpc]\naddress = "{self.home}/ttrpc.sock"\n'
        )
        self.log = open(self.home / "containerd.log", "wb")
        self.daemon = subprocess.Popen(
            [servers.tool("containerd"), "--config", str(config)],
            env=self.environment, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, start_new_session=True,
        )
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if self.socket.exists() and self.execute(*self.ctr("version"))[0] == 0:
                break
            if self.daemon.poll() is not None:
                break
            time.sleep(0.2)
        else:
            raise CheckFailed("containerd does not answer")
        if self.daemon.poll() is not None:
            raise CheckFailed("containerd ended: " + (self.home / "containerd.log").read_text(errors="replace")[-500:])
        layout = self.home / "layout.tar"
        subprocess.run(["tar", "-C", str(self.images.directory), "-cf", str(layout), "."], check=True)
        self.run(*self.ctr("images", "import", "--all-platforms", "--no-unpack", "--base-name", "fixture", layout))

    def tear_down(self):
        if self.daemon is not None and self.daemon.poll() is None:
            self.daemon.terminate()
            try:
                self.daemon.wait(15)
            except subprocess.TimeoutExpired:
                self.daemon.kill()
                self.daemon.wait()

    def ctr(self, *words):
        return ("ctr", "--address", self.socket, *words)

    def login(self):
        return ("--plain-http", "--user", f"{servers.USER}:{servers.PASSWORD}")

    def check_push(self):
        listed = self.run(*self.ctr("images", "ls", "-q")).split()
        contains(listed, "fixture:one", "imported images")
        self.run(*self.ctr("images", "push", *self.login(), self.reference("one"), "fixture:one"))

    def check_pull_and_unpack(self):
        self.run(*self.ctr("images", "rm", "fixture:one"))
        self.run(*self.ctr("images", "pull", *self.login(), "--snapshotter", "native", self.reference("one")))
        contains(self.run(*self.ctr("images", "ls")), self.images.one["digest"], "pulled images")

    def check_push_and_pull_all_platforms(self):
        self.run(*self.ctr("images", "push", *self.login(), self.reference("both"), "fixture:both"))
        self.run(*self.ctr("content", "fetch", *self.login(), "--all-platforms", self.reference("both")))

    def check_fetch_by_digest(self):
        layer = self.images.largest_layer()
        self.run(*self.ctr("content", "fetch-object", *self.login(), self.reference("one"), layer["digest"]))

    def check_wrong_password_is_refused(self):
        self.refused(*self.ctr("images", "pull", "--plain-http", "--user", f"{servers.USER}:wrong", self.reference("one")), says=())

    @sealstone_only
    def check_an_immutable_tag_stays(self):
        target = self.reference("v1", IMMUTABLE)
        self.run(*self.ctr("images", "push", *self.login(), target, "fixture:two"))
        self.refused(*self.ctr("images", "push", *self.login(), target, "fixture:both"), says=("409",))
