"""Drives real, unmodified clients against a running registry and says, client by client, what worked.

`--server debian` runs the same checks against Debian's docker-registry, which shows that the checks themselves are
right: there, what only our registry promises is skipped. A client that is not installed is named. The checks of those in
REQUIRED fail then: Debian and PyPI bring them, so nothing but forgetting keeps them away. Those of all others are counted
as skipped; `--strict` makes that a failure, too.
"""

import argparse
import pathlib
import sys
import tempfile
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "setup")]

import harness  # noqa: E402
import images  # noqa: E402
import servers  # noqa: E402
from clients import ALL  # noqa: E402


# Clients and servers whose absence is a failure: ours, and what tests/setup/install.sh clients installs.
REQUIRED = {"skopeo", "podman", "oras-py", "http", "sealstone"}
REQUIRED_SERVERS = {"sealstone", "debian"}


class Tally:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.rows = []

    def add(self, client, passed, failed, skipped, note=""):
        self.passed += passed
        self.failed += failed
        self.skipped += skipped
        self.rows.append((client, passed, failed, skipped, note))

    def print(self):
        print("\nclient            passed  failed skipped")
        for client, passed, failed, skipped, note in self.rows:
            print(f"{client:<16} {passed:>7} {failed:>7} {skipped:>7}  {note}".rstrip())


def run_client(client_class, context, kind, tally, verbose):
    checks = client_class.checks()
    absent = client_class.missing()
    if absent is not None:
        required = client_class.name in REQUIRED
        print(f"interop {client_class.name}: MISSING, {absent} is not installed ({'required' if required else 'optional'})")
        failed = len(checks) if required else 0
        tally.add(client_class.name, 0, failed, len(checks) - failed, f"missing: {absent}")
        return
    client, passed, failed, skipped = client_class(context), 0, 0, 0
    started = time.monotonic()
    try:
        client.set_up()
        for name, check in checks:
            label = f"interop {client.name}: {name}"
            if kind != "sealstone" and getattr(check, "sealstone_only", False):
                skipped += 1
                continue
            try:
                check(client)
                passed += 1
                if verbose:
                    print(f"{label} ... ok")
            except harness.NotHere as reason:
                skipped += 1
                print(f"{label} ... skipped: {reason}")
            except harness.CheckFailed as reason:
                failed += 1
                print(f"{label} ... FAILED\n  {reason}")
            except Exception:  # a broken check must be seen, and the others must still run
                failed += 1
                print(f"{label} ... FAILED\n{traceback.format_exc()}")
    except Exception as reason:
        failed += len(checks) - passed - failed - skipped
        print(f"interop {client.name}: set-up failed, so all its checks fail: {reason}")
    finally:
        client.tear_down()
    tally.add(client.name, passed, failed, skipped, f"{time.monotonic() - started:.1f} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", choices=["sealstone", "debian", "distribution"], default="sealstone")
    parser.add_argument("--only", action="append", metavar="CLIENT", help="one of: " + ", ".join(each.name for each in ALL))
    parser.add_argument("--strict", action="store_true", help="a missing client is a failure")
    parser.add_argument("--verbose", action="store_true", help="print passed checks too")
    parser.add_argument("--log", action="store_true", help="print the end of the server's log")
    arguments = parser.parse_args()

    unknown = REQUIRED - {each.name for each in ALL}
    assert not unknown, f"required, and no client: {unknown}"
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="sealstone-interop-", ignore_cleanup_errors=True) as temporary:
        base = pathlib.Path(temporary)
        try:
            server = servers.Server(arguments.server, base / "server")
            server.start()
        except servers.Unavailable as reason:
            failed = int(arguments.strict or arguments.server in REQUIRED_SERVERS)
            print(f"interop: MISSING, every check against {arguments.server} is left out: {reason}")
            print(f"0 passed, {failed} failed, {1 - failed} skipped")
            return failed
        except RuntimeError as reason:
            print(f"interop: the registry did not start: {reason}")
            print("0 passed, 1 failed, 0 skipped")
            return 1
        try:
            context = harness.Context(server, base / "clients", images.Images(base / "layout"))
            for client_class in ALL:
                if not arguments.only or client_class.name in arguments.only:
                    run_client(client_class, context, arguments.server, tally, arguments.verbose)
                    if server.process.poll() is not None:
                        tally.add("server", 0, 1, 0, f"ended with {server.process.returncode}")
                        print(server.log_tail())
                        break
            if arguments.log:
                print(server.log_tail(60))
        finally:
            server.stop()
    tally.print()
    missing = [row[0] for row in tally.rows if row[4].startswith("missing")]
    failed = tally.failed + (len(set(missing) - REQUIRED) if arguments.strict else 0)
    if missing:
        print(f"interop: {len(missing)} of {len(tally.rows)} clients are missing: {', '.join(missing)}")
    if not tally.passed and not failed:
        failed = 1
        print("interop: no check ran")
    print(f"{tally.passed} passed, {failed} failed, {tally.skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
