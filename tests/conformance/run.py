"""Runs the OCI conformance suite against a registry, once per version, each on an empty store.

Owns starting both and the closing line. `results.py` judges. `--server debian` shows what the driver says about a
registry that does not pass.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "setup")]

import results as suite_results  # noqa: E402
import servers  # noqa: E402

# The suite's own limit is none; a run takes 11 to 16 s on two cores.
PATIENCE_SECONDS = 300


def run_version(version, kind, directory, show_log):
    suite = servers.tool("conformance")
    if suite is None:
        raise servers.Unavailable("the conformance suite is not installed: run tests/setup/install.sh conformance")
    output = directory / "results"
    with servers.Server(kind, directory / "server") as server:
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("OCI_")},
            "OCI_REGISTRY": server.host,
            "OCI_TLS": "disabled",
            "OCI_VERSION": version,
            "OCI_USERNAME": servers.USER,
            "OCI_PASSWORD": servers.PASSWORD,
            "OCI_REPO1": "open/conformance-one",
            "OCI_REPO2": "open/conformance-two",
            "OCI_RESULTS_DIR": str(output),
        }
        started = time.monotonic()
        with open(directory / "suite.log", "wb") as log:
            code = subprocess.run(
                [suite], cwd=directory, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=PATIENCE_SECONDS
            ).returncode
        seconds = time.monotonic() - started
        alive = server.process.poll() is None
        log_tail = server.log_tail()
    judged = suite_results.read(output, version)
    if not alive:
        judged.problems.append("the server ended during the run")
    if code != 0 and judged.good:
        judged.problems.append(f"the suite ended with exit code {code}; see its log:\n{(directory / 'suite.log').read_text(errors='replace')[-2000:]}")
    print(
        f"conformance {version}: {judged.passed} passed, {judged.failed} failed, {judged.skipped} skipped,"
        f" {judged.disabled} disabled by the version, in {seconds:.1f} s"
    )
    for problem in judged.problems:
        print(f"  {problem}")
    if judged.problems and show_log:
        print(f"--- the server's last lines\n{log_tail}")
    return judged


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", choices=["sealstone", "debian", "distribution"], default="sealstone")
    parser.add_argument("--version", choices=["1.1", "dev"], action="append", help="default: both")
    parser.add_argument("--keep", metavar="DIR", help="leave results and logs in this directory")
    parser.add_argument("--log", action="store_true", help="print the end of the server's log when something failed")
    arguments = parser.parse_args()

    totals = suite_results.Results()
    with tempfile.TemporaryDirectory(prefix="sealstone-conformance-") as temporary:
        base = pathlib.Path(arguments.keep or temporary).resolve()
        for version in arguments.version or ["1.1", "dev"]:
            directory = base / version
            directory.mkdir(parents=True, exist_ok=True)
            try:
                judged = run_version(version, arguments.server, directory, arguments.log)
            except (servers.Unavailable, RuntimeError, subprocess.TimeoutExpired) as error:
                print(f"conformance {version}: did not run: {error}")
                judged = suite_results.Results(failed=1, problems=[str(error)])
            totals.passed += judged.passed
            totals.failed += judged.failed
            totals.skipped += judged.skipped
            totals.problems += judged.problems
    # A problem that no count shows, such as an early end, must still be seen in the closing line.
    failed = max(totals.failed, 0 if totals.good else 1)
    if totals.skipped and not totals.failed:
        print("a skipped conformance test is a missing feature: this run fails")
    print(f"{totals.passed} passed, {failed} failed, {totals.skipped} skipped")
    return 0 if totals.good else 1


if __name__ == "__main__":
    sys.exit(main())
