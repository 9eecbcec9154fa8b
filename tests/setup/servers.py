"""Starts a registry on a free loopback port, in an empty directory, and stops it again.

Owns the command lines and configuration files of the registries that conformance, interoperability and benchmark
runs need: our own, Debian's docker-registry 2.8 and distribution 3. Does not judge what they answer.

Invariant: every server listens on 127.0.0.1 only, belongs to this process and is gone when its `with` block ends.
"""

import base64
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

USER = "tester"
PASSWORD = "open-sesame-for-tests-only"
# bcrypt, cost 5, of PASSWORD: these registries live for seconds and hold nothing.
HTPASSWD = f"{USER}:$2b$05$abcdefghijklmnopqrstuuqrfsoBVdGOMSVHkpJh0lUABqihwKB7K\n"

TOOLS = pathlib.Path(os.environ.get("SEALSTONE_TOOLS", os.path.expanduser("~/.cache/sealstone/tools")))


def tool(name):
    """The path of an installed client or peer, or None."""
    pinned = TOOLS / "bin" / name
    if pinned.exists():
        return str(pinned)
    found = shutil.which(name)
    if found is None and os.path.exists(f"/usr/sbin/{name}"):
        found = f"/usr/sbin/{name}"
    return found


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Unavailable(Exception):
    """This registry is not installed here; the text says which file was looked for."""


class Server:
    """One running registry. `kind`: sealstone, debian or distribution."""

    def __init__(self, kind, directory, auth=True, settings=None, wrapper=()):
        self.kind = kind
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.auth = auth
        self.settings = settings or {}
        self.wrapper = list(wrapper)
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.host}"
        self.log_path = self.directory / "server.log"
        self.process = None
        self.binary = find_binary(kind)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self, patience=60):
        command, environment = COMMANDS[self.kind](self)
        self.log = open(self.log_path, "ab")
        self.process = subprocess.Popen(
            self.wrapper + command,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
        )
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.kind} ended with {self.process.returncode} at start:\n{self.log_tail()}")
            if self.status("/v2/") in (200, 401):
                return
            time.sleep(0.05)
        self.stop()
        raise RuntimeError(f"{self.kind} did not answer on {self.host} within {patience} s:\n{self.log_tail()}")

    def stop(self, patience=20):
        """Asks the server to end, and ends it when it does not. Returns its exit code."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
            try:
                self.process.wait(patience)
            except subprocess.TimeoutExpired:
                self.signal(signal.SIGKILL)
                self.process.wait()
        self.log.close()
        code, self.process = self.process.returncode, None
        return code

    def signal(self, number):
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass

    def status(self, path, headers=None):
        """The status of an anonymous GET, or None when nobody answers."""
        try:
            with urllib.request.urlopen(urllib.request.Request(self.url + path, headers=headers or {}), timeout=2) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return None

    def basic(self):
        """The value of an Authorization header, or None for a registry without login."""
        if not self.auth:
            return None
        return "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

    @property
    def server_pid(self):
        """The registry's own process id, below a wrapper such as strace."""
        pid = self.process.pid
        if not self.wrapper:
            return pid
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(children[0]) if children else pid

    def log_tail(self, lines=30):
        if not self.log_path.exists():
            return "(no log)"
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])


def find_binary(kind):
    if kind == "sealstone":
        path = os.environ.get("SEALSTONE_REGISTRY_BIN", "")
        if not path or not os.path.exists(path):
            raise Unavailable(f"no server binary at '{path}': run `make build`")
        return path
    name = {"debian": "docker-registry", "distribution": "distribution"}[kind]
    path = tool(name)
    if path is None:
        raise Unavailable(f"{name} is not installed: run `make setup` or tests/setup/install.sh peers")
    return path


def sealstone_command(server):
    root = server.directory
    (root / "htpasswd").write_text(HTPASSWD)
    (root / "policy.toml").write_text(server.settings.get("policy", POLICY))
    (root / "sealstone.toml").write_text(
        SEALSTONE_CONFIG.format(listen=server.host, root=root, extra=server.settings.get("extra", ""))
        + (ACCESS_USER if server.auth else ACCESS_ANONYMOUS)
    )
    return [server.binary, "serve", "--config", str(root / "sealstone.toml")], {}


# `open/**` is for plain container use: tags move, nothing needs a signature. Everything else keeps the default,
# which is an immutable tag.
POLICY = """\
schema = "sealstone-policy/v1"

[[scope]]
repositories = ["open/**"]
tags = "mutable"
staging = false
"""

SEALSTONE_CONFIG = """\
policy = "{root}/policy.toml"
[server]
listen = "{listen}"
drain_seconds = 5
[storage]
path = "{root}/data"
[auth]
htpasswd = "{root}/htpasswd"
{extra}
"""

ACCESS_USER = f"""
[[access]]
repositories = ["**"]
who = ["user:{USER}"]
verbs = ["pull", "push", "tag", "delete", "sign"]
"""

ACCESS_ANONYMOUS = """
[[access]]
repositories = ["**"]
who = ["anonymous"]
verbs = ["pull", "push", "tag", "delete"]
"""


def distribution_command(server):
    root = server.directory
    config = [
        "version: 0.1",
        "log: {level: error, accesslog: {disabled: true}}",
        f"storage: {{filesystem: {{rootdirectory: {root}/data}}, delete: {{enabled: true}}}}",
        f"http: {{addr: '{server.host}', secret: for-tests-only}}",
    ]
    if server.auth:
        (root / "htpasswd").write_text(HTPASSWD)
        config.append(f"auth: {{htpasswd: {{realm: tests, path: {root}/htpasswd}}}}")
    (root / "config.yml").write_text("\n".join(config) + "\n")
    return [server.binary, "serve", str(root / "config.yml")], {"OTEL_TRACES_EXPORTER": "none", "OTEL_SDK_DISABLED": "true"}


COMMANDS = {"sealstone": sealstone_command, "debian": distribution_command, "distribution": distribution_command}
