"""The benchmark: our registry and its peers, taken in turn on this machine, never as a timed test.

Owns building with optimised workspace crates, turns, rounds and files. The load client `sealbench` does the timing,
`plan.py` says what is run, `report.py` makes the table. Everything stays on loopback and below the directory given.
Invariant: peers run one at a time, each on an empty directory, in an order that is reversed every other round.
"""

import argparse
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE.parent / "setup")]

import plan  # noqa: E402
import report  # noqa: E402
import servers  # noqa: E402
import transfers  # noqa: E402

OURS = "sealstone"
# What our client, and our server, are compared with.
TOOLS = ("skopeo", "cmp", "numpy", "raw disk")
# What makes bytes durable. sync_file_range does not: it asks for writing to begin.
FLUSHES = ("fsync", "fdatasync", "msync")
READING = """\
Load client and server share the cores. Payloads are unique and incompressible. Pulls come from the page cache, but for
"first pull": ours writes past the cache, so that one comes from the disk. Servers have no login; every server flushes
before it answers (counted below). Cells: median (least-most).
`ratio` is ours to the best peer, within a round, then the median; over 1 is better for us.

"""


def build():
    """Builds the workspace's crates as a release would; dependencies keep their flags, so RocksDB is not built again."""
    flags = {"OPT_LEVEL": "3", "DEBUG_ASSERTIONS": "false", "OVERFLOW_CHECKS": "false"}
    flags = {f"CARGO_PROFILE_DEV_{name}": value for name, value in flags.items()}
    subprocess.run([ROOT / "tests/setup/build.sh"], env={**os.environ, **flags}, check=True)


def take_binaries(directory):
    """Copies the binaries away, so that a build in the meantime changes nothing."""
    target = pathlib.Path(os.environ["CARGO_TARGET_DIR"]) / "debug"
    directory = directory / "bin"
    directory.mkdir()
    for name, variable in (("sealstone-registry", "SEALSTONE_REGISTRY_BIN"), ("sealstone", "SEALSTONE_BIN"), ("sealbench", "SEALBENCH_BIN"), ("decisions", "DECISIONS_BIN")):
        source = pathlib.Path(os.environ.get(variable) or target / name)
        if source.exists():
            shutil.copy2(source, directory / name)
            os.environ[variable] = str(directory / name)


def version_of(kind):
    if kind == OURS:
        return commit()
    if kind == "distribution":
        lines = (HERE.parent / "setup" / "tools.tsv").read_text().splitlines()
        return next(line.split("\t")[2] for line in lines if line.startswith("distribution\t"))
    found = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", "docker-registry"], capture_output=True, text=True)
    return found.stdout.strip() or "unknown"


def commit():
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return found.stdout.strip() or "unknown"


class Bench:
    def __init__(self, arguments, directory):
        self.arguments = arguments
        self.directory = directory
        self.rows = []
        self.seed = int.from_bytes(os.urandom(5), "big")
        self.output = pathlib.Path(arguments.out)
        self.output.mkdir(parents=True, exist_ok=True)
        self.raw = open(self.output / "rows.jsonl", "w")

    def record(self, row):
        row = {"peer": row.get("peer"), "version": version_of(row["peer"]) if row.get("peer") in servers.COMMANDS else "", "commit": commit(), **row}
        self.rows.append(row)
        self.raw.write(json.dumps(row) + "\n")
        self.raw.flush()
        shown = row.get("error") or f"{row[row['metric']]:.1f} {report.UNITS[row['metric']]}"
        print(f"{row['peer']:<13} round {row['round']}  {row['scenario']:<42} {shown.splitlines()[0][:110]}", flush=True)

    def load(self, server, words, number):
        """One run of the load client; its row, or a row that says why there is none."""
        seeds = {"SEED": self.seed + 1000 * number, "SEED2": self.seed + 1000 * number + 1}
        seeds |= {f"MEMORY{streams}": self.seed + 1000 * number + 100 + streams for streams in (1, 2, 4, 8, 16, 32)}
        words = [str(seeds.get(word, word)) for word in words]
        command = [os.environ["SEALBENCH_BIN"], *words, "--target", server.host, "--pid", str(server.server_pid)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=3600, env={**os.environ, "RUST_BACKTRACE": "0"})
        if done.returncode != 0:
            return {"error": (done.stderr.strip() or "no output")[:400]}
        row = json.loads(done.stdout)
        row.pop("scenario")
        return row

    def group(self, group, peer, number):
        directory = self.directory / peer
        if not any(not step.only or peer in step.only for step in group.steps):
            return
        free = shutil.disk_usage(self.directory).free
        if free < group.stores + 2 * plan.GIB:
            error = f"{group.stores >> 30} GiB would be stored, and {free >> 30} are free"
            self.record({"scenario": group.steps[0].name, "peer": peer, "group": group.name, "round": number, "error": error})
            return
        try:
            with servers.Server(peer, directory, auth=False) as server:
                for step in group.steps:
                    if not step.only or peer in step.only:
                        if step.warm:
                            warm(directory / "data")
                        row = self.load(server, step.words, number)
                        self.record({"scenario": step.name, "peer": peer, "group": group.name, "metric": step.metric, "round": number, **row})
        except RuntimeError as error:
            self.record({"scenario": group.steps[0].name, "peer": peer, "group": group.name, "round": number, "error": str(error)})
        finally:
            shutil.rmtree(directory, ignore_errors=True)
            os.sync()

    def fsyncs(self, peer):
        """Counts the flushes of a push and of small artifacts, in a run of its own: tracing slows a server down."""
        strace = servers.tool("strace")
        if strace is None:
            print("bench: strace is not installed, so flushes are not counted")
            return
        directory = self.directory / f"{peer}-traced"
        steps = [("fsyncs, one push of 64 MiB", ["push", "--bytes", 64 * plan.MIB, "--seed", "SEED"], 1)]
        steps += [(f"fsyncs of a small artifact, {clients} clients", ["small", "--count", 64, "--streams", clients, "--seed", "SEED2"], 64) for clients in (1, 8)]
        for name, words, divisor in steps:
            counts = directory / "strace.txt"
            directory.mkdir(parents=True, exist_ok=True)
            wrapper = [strace, "-f", "-c", "-o", str(counts), "-e", "trace=" + ",".join(FLUSHES)]
            try:
                with servers.Server(peer, directory, auth=False, wrapper=wrapper) as server:
                    answered = self.load(server, words, 0)
                number = sum(int(line.split()[3]) for line in counts.read_text().splitlines() if line.split()[-1:] and line.split()[-1] in FLUSHES)
                row = {"fsyncs": number / divisor} if "error" not in answered else answered
            except (RuntimeError, OSError) as error:
                row = {"error": str(error)}
            self.record({"scenario": name, "peer": peer, "group": "fsyncs", "metric": "fsyncs", "round": 0, **row})
            shutil.rmtree(directory, ignore_errors=True)

    def clients(self, number, shards, shard_bytes):
        """One round of our client and skopeo, each with an empty server."""
        layout = self.directory / "bundle"
        size = transfers.make_bundle(layout, shards, shard_bytes)
        directory = self.directory / "clients"
        try:
            for client in [OURS, "skopeo"] if number % 2 == 0 else ["skopeo", OURS]:
                with servers.Server(OURS, directory / "server", auth=False) as server:
                    for row in transfers.compare(server, directory, size, number, [client], layout, warm):
                        self.record({"group": "clients", **row})
                shutil.rmtree(directory, ignore_errors=True)
        except RuntimeError as error:
            self.record({"scenario": "client push of a bundle", "peer": OURS, "group": "clients", "round": number, "error": str(error)})
        shutil.rmtree(layout, ignore_errors=True)

    def alone(self, script):
        """A benchmark without peers: its rows are recorded like the others, what else it prints is shown."""
        full, quick = script.measure
        free = shutil.disk_usage(self.directory).free
        failure = {"scenario": script.name, "peer": OURS, "group": script.name, "round": 0}
        stores = script.stores if not self.arguments.quick else script.stores * float(quick) / float(full)
        if free < stores + 2 * plan.GIB:
            self.record({**failure, "error": f"{stores / plan.GIB:.1f} GiB would be stored, and {free >> 30} are free"})
            return
        command = [sys.executable, HERE / f"{script.name}.py", os.environ["SEALSTONE_BIN"], quick if self.arguments.quick else full, self.directory]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as running:
            for line in running.stdout:
                if line.startswith("{"):
                    self.record(json.loads(line))
                else:
                    print(line, end="", flush=True)
        if running.returncode != 0:
            self.record({**failure, "error": f"{script.name}.py ended with {running.returncode}"})

    def run(self, jobs, rounds, deadline):
        """Round after round through all jobs, so that time that runs out costs repeats and no row."""
        took = {}
        for number in range(rounds):
            for place, (most_rounds, job) in enumerate(jobs):
                started = time.monotonic()
                if number >= most_rounds or (number > 0 and started + took[place] > deadline):
                    continue
                job(number)
                took[place] = time.monotonic() - started


def jobs(bench, peers, arguments, wanted):
    """What one round consists of: (most rounds, what to run with the round's number)."""

    def in_turn(group):
        def job(number):
            for peer in peers if number % 2 == 0 else reversed(peers):
                bench.group(group, peer, number)

        return job

    made = [(group.most_rounds, in_turn(group)) for group in (plan.quick() if arguments.quick else plan.full()) if wanted(group.name, group.on_request)]
    if wanted("clients") and OURS in peers:
        shards = (4, 16 * plan.MIB) if arguments.quick else (16, 64 * plan.MIB)
        made.append((3, lambda number: bench.clients(number, *shards)))
    if wanted("fsyncs"):
        made.append((1, lambda number: [bench.fsyncs(peer) for peer in peers]))
    # They repeat what they measure by themselves.
    made += [(1, lambda number, script=script: bench.alone(script)) for script in plan.ALONE if wanted(script.name, on_request=True)]
    return made


def warm(directory):
    """Reads what a server stores in large files, so that the page cache holds it."""
    for path in directory.rglob("*"):
        if path.is_file() and path.stat().st_size > plan.MIB:
            with open(path, "rb", buffering=0) as file:
                while file.read(plan.MIB):
                    pass


def machine():
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    memory = int(next(line.split()[1] for line in open("/proc/meminfo") if line.startswith("MemTotal"))) // (1 << 20)
    return f"{os.cpu_count()} cores ({model}), {memory} GiB of memory, Linux {platform.release()}"


def choose(names):
    chosen = []
    for name in names:
        try:
            servers.find_binary(name)
            chosen.append(name)
        except servers.Unavailable as reason:
            print(f"bench: {name} is left out: {reason}")
    return chosen


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, two rounds: shows that it works, not how fast")
    parser.add_argument("--rounds", type=int, help="default 5, quick 2; some groups need fewer")
    parser.add_argument("--minutes", type=float, default=18, help="no second round begins that would end later (default 18); the first of each group is always run")
    parser.add_argument("--only", action="append", default=[], help="groups whose name starts with this; also fsyncs and clients; what plan.py calls on request is left out otherwise")
    parser.add_argument("--peers", default=f"{OURS},distribution", help="comma separated: sealstone, distribution, debian")
    parser.add_argument("--directory", help="where the servers keep their data (default: a temporary directory)")
    parser.add_argument("--out", default=str(HERE / "out"), help="where rows and table are written")
    parser.add_argument("--save", metavar="NAME", help="also copy rows and table to tests/bench/results/NAME.*")
    parser.add_argument("--no-build", action="store_true", help="use the binaries that are there")
    arguments = parser.parse_args()

    if not arguments.no_build:
        build()
    # The peers log errors only.
    os.environ.setdefault("SEALSTONE__LOG__FILTER", "warn")
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sealstone-bench-", dir=arguments.directory) as temporary:
        directory = pathlib.Path(temporary)
        take_binaries(directory)
        peers = choose(arguments.peers.split(","))
        if peers == [OURS]:
            peers += choose(["debian"])
        bench = Bench(arguments, directory)
        rounds = arguments.rounds or (2 if arguments.quick else 5)

        def wanted(name, on_request=False):
            return any(name.startswith(prefix) for prefix in arguments.only) or not (arguments.only or on_request)

        bench.run(jobs(bench, peers, arguments, wanted), rounds, started + 60 * arguments.minutes)
        bench.raw.close()

    text = document(bench, peers, rounds, arguments.quick, time.monotonic() - started)
    (bench.output / "table.md").write_text(text)
    print("\n" + text)
    if arguments.save:
        results = HERE / "results"
        results.mkdir(exist_ok=True)
        shutil.copy2(bench.output / "rows.jsonl", results / f"{arguments.save}.jsonl")
        shutil.copy2(bench.output / "table.md", results / f"{arguments.save}.md")
    errors = sum("error" in row for row in bench.rows)
    print(f"bench: {len(bench.rows) - errors} rows, {errors} not measured, {(time.monotonic() - started) / 60:.1f} minutes")
    return 0 if bench.rows and errors < len(bench.rows) else 1


def document(bench, peers, rounds, quick, seconds):
    rows_of = {row["peer"] for row in bench.rows}
    columns = [peer for peer in peers if peer in rows_of] + [tool for tool in TOOLS if tool in rows_of]
    versions = ", ".join(f"{peer} {version_of(peer)}" for peer in peers)
    return (
        f"# Benchmark {time.strftime('%Y-%m-%d')}{' (quick: sizes too small to judge)' if quick else ''}\n\n"
        f"{machine()}. {versions}. Up to {rounds} rounds in {seconds / 60:.0f} minutes, peers in turn.\n"
        + READING
        + report.table(bench.rows, columns)
    )


if __name__ == "__main__":
    sys.exit(main())
