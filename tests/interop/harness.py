"""What every client's checks share: running commands, expecting success or a readable refusal, and the context.

Owns no knowledge of any client. Invariant: a check passes only when it ran to its end; a client that is not
installed is reported as missing and counted check by check: as failed if it is required (run.py), else as skipped.
"""

import base64
import json
import os
import pathlib
import subprocess

import servers

# Repositories below `open/` have movable tags; everywhere else the default holds, and a tag never moves.
MUTABLE = "open/interop"
IMMUTABLE = "models/interop"

PATIENCE_SECONDS = 180


class CheckFailed(Exception):
    """A check did not see what it must see; the text shows command and output."""


class NotHere(Exception):
    """A check cannot be made with this server or this client's version; the text says why."""


def sealstone_only(check):
    """Marks a check of something that only our registry promises."""
    check.sealstone_only = True
    return check


class Context:
    """The running registry, a scratch directory and the pushed fixtures."""

    def __init__(self, server, directory, images):
        self.server = server
        self.directory = pathlib.Path(directory)
        self.images = images

    def scratch(self, name):
        path = self.directory / name
        path.mkdir(parents=True, exist_ok=True)
        return path


class Client:
    """One client. Subclasses set `name` and `tools` and define `check_*` methods, run in the order written."""

    name = ""
    tools = ()

    def __init__(self, context):
        self.context = context
        self.server = context.server
        self.images = context.images
        self.home = context.scratch(self.name)
        self.host = context.server.host
        self.environment = {
            "PATH": f"{servers.TOOLS / 'bin'}:{os.environ['PATH']}:/usr/sbin:/sbin",
            "HOME": str(self.home),
            "XDG_RUNTIME_DIR": str(self.home / "run"),
            "DOCKER_CONFIG": str(self.home / ".docker"),
            "REGISTRY_AUTH_FILE": str(self.home / "auth.json"),
            "LANG": "C.UTF-8",
        }
        (self.home / "run").mkdir(exist_ok=True)

    @classmethod
    def missing(cls):
        """The first tool that is not installed, or None."""
        return next((name for name in cls.tools if servers.tool(name) is None), None)

    @classmethod
    def checks(cls):
        return [(name.removeprefix("check_").replace("_", " "), check) for name, check in vars(cls).items() if name.startswith("check_")]

    def set_up(self):
        """Runs before the checks; what it raises fails every check."""

    def tear_down(self):
        """Runs after the checks, whatever happened."""

    def repository(self, kind=MUTABLE, name=None):
        return f"{kind}/{self.name}/{name or 'app'}"

    def reference(self, tag, kind=MUTABLE, name=None):
        return f"{self.host}/{self.repository(kind, name)}:{tag}"

    def execute(self, *command, stdin=None, cwd=None, patience=PATIENCE_SECONDS):
        """Runs a command; answers exit code, standard output, and both outputs together."""
        command = [str(word) for word in command]
        command[0] = servers.tool(command[0]) or command[0]
        try:
            done = subprocess.run(
                command,
                input=stdin if stdin is not None else "",
                capture_output=True,
                text=True,
                errors="replace",
                cwd=cwd or self.home,
                env=self.environment,
                timeout=patience,
            )
        except subprocess.TimeoutExpired:
            raise CheckFailed(f"{' '.join(command)}\n  no end after {patience} s") from None
        return done.returncode, done.stdout, f"{done.stdout}\n{done.stderr}"

    def run(self, *command, says=(), **options):
        """Runs a command that must succeed, and whose output must contain every text of `says`."""
        code, output, everything = self.execute(*command, **options)
        if code != 0:
            raise CheckFailed(f"{shown(command)}\n  exit code {code}: {everything.strip()[-1500:]}")
        for text in [says] if isinstance(says, str) else says:
            if text not in everything:
                raise CheckFailed(f"{shown(command)}\n  does not say {text!r}: {everything.strip()[-1500:]}")
        return output

    def refused(self, *command, says=("immutable",), **options):
        """Runs a command that must fail, with every text of `says` in what it prints."""
        code, _, everything = self.execute(*command, **options)
        if code == 0:
            raise CheckFailed(f"{shown(command)}\n  succeeded and must be refused")
        for text in [says] if isinstance(says, str) else says:
            if text.lower() not in everything.lower():
                raise CheckFailed(f"{shown(command)}\n  refused, but does not say {text!r}: {everything.strip()[-1500:]}")
        return everything

    def write_login(self):
        """A docker config.json with the test user, for clients whose own login is not being checked."""
        secret = base64.b64encode(f"{servers.USER}:{servers.PASSWORD}".encode()).decode()
        content = json.dumps({"auths": {self.host: {"auth": secret}}})
        for path in (self.home / ".docker" / "config.json", self.home / "auth.json"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(content)


def shown(command):
    return " ".join("***" if str(word) == servers.PASSWORD else str(word) for word in command)


def same(actual, expected, what):
    if actual != expected:
        raise CheckFailed(f"{what}: {actual!r} where {expected!r} was expected")


def contains(values, value, what):
    if value not in values:
        raise CheckFailed(f"{what}: {value!r} is not among {values!r}")
