#!/usr/bin/env python3
"""What a replay costs over the bare commands: tests/examples/digits, and a project whose stages do nothing.

    replays.py PATH-TO-SEALSTONE [ROUNDS] [DIRECTORY]     ROUNDS is 5 if not stated

Prints one JSON row for each measurement, in the manner of bench.py's rows, then a table of medians: wall time and processor time
(of the command and all that it started). `bare` is the stages' own commands one after another in a prepared environment, the tests
of the recipe included; `run` is `sealstone run --force`; `replay` verifies, makes the environment anew and compares as well.
Wants a release build, and `tests/setup/install.sh examples` for the digits.
"""

import json
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[2]
SEALSTONE = str(pathlib.Path(sys.argv[1]).resolve())
ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 else 5
SCRATCH = sys.argv[3] if len(sys.argv) > 3 else None
TOOLS = pathlib.Path(os.environ.get("SEALSTONE_TOOLS") or pathlib.Path.home() / ".cache/sealstone/tools")

IDLE = """
recipe = { version = 1, name = "idle", owner = "bench", risk = "low" }
environment = { kind = "host" }
determinism = { class = "bit_exact", seed = 1, threads = 1 }
isolation = { minimum = "I1" }
[stage.one]
kind = "prepare"
run = ["sh", "src/one.sh"]
in = ["src/one.sh"]
out = ["work/one"]
device = "cpu"
[stage.two]
kind = "train"
run = ["sh", "src/two.sh"]
in = ["work/one", "src/two.sh"]
out = ["work/two"]
device = "cpu"
"""


def timed(commands, directory, environment):
    """Wall and processor seconds of commands, one after another."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    for command in commands:
        ended = subprocess.run(command, cwd=directory, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if ended.returncode != 0:
            raise SystemExit(f"{command}: exit {ended.returncode}\n{ended.stdout[-2000:]}{ended.stderr[-2000:]}")
    wall = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def bare_of_digits(project):
    """The commands of the recipe as somebody would type them, in the environment that set-up made of the same lock."""
    recipe = tomllib.loads((project / "recipe.toml").read_text())
    params = tomllib.loads((project / "params.toml").read_text())
    (project / "params.json").write_text(json.dumps(params))
    python = str(TOOLS / "example-digits/venv/bin/python")
    commands = [[python, *stage["run"][1:]] for stage in recipe["stage"].values()]
    (project / "scratch").mkdir(exist_ok=True)
    for test in recipe["test"].values():
        if "run" in test:
            words = {"{model}": test["model"], "{in}": test.get("inputs", ""), "{out}": "scratch/answer"}
            commands.append([python, *(words.get(word, word) for word in test["run"][1:])])
    threads = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    environment = {"PATH": "/usr/bin:/bin", "PYTHONHASHSEED": "0", "SEALSTONE_SEED": str(recipe["determinism"]["seed"]), "SEALSTONE_PARAMS": "params.json", **threads}
    return commands, environment


def make_idle(project):
    (project / "src").mkdir(parents=True)
    (project / "recipe.toml").write_text(IDLE)
    (project / "src/one.sh").write_text("mkdir -p work\necho 1 >work/one\n")
    (project / "src/two.sh").write_text("cat work/one >work/two\n")
    return [["sh", "src/one.sh"], ["sh", "src/two.sh"]], {"PATH": "/usr/bin:/bin"}


def make_digits(project):
    fetched = TOOLS / "example-digits"
    if not (fetched / "ready").exists():
        return None
    shutil.copytree(ROOT / "tests/examples/digits", project)
    for folder in ("data", "wheels"):
        shutil.copytree(fetched / folder, project / folder)
    return bare_of_digits(project)


def main():
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/root")}
    collected = {}
    with tempfile.TemporaryDirectory(prefix="sealstone-replays-", dir=SCRATCH) as scratch:
        for name, make in (("idle", make_idle), ("digits", make_digits)):
            project = pathlib.Path(scratch, name)
            made = make(project)
            if made is None:
                print(f"replays: {name} is left out: tests/setup/install.sh examples brings it", file=sys.stderr)
                continue
            bare, bare_environment = made
            # The first run also makes what later ones find: environment and golden answers.
            timed([[SEALSTONE, "run", "--quiet"]], project, environment)
            for number in range(ROUNDS):
                measured = [
                    ("bare", bare, bare_environment),
                    ("run", [[SEALSTONE, "run", "--force", "--quiet"]], environment),
                    ("replay", [[SEALSTONE, "replay", "."]], environment),
                    ("replay, infer", [[SEALSTONE, "replay", ".", "--scope", "infer"]], environment),
                ]
                for what, commands, variables in measured:
                    wall, cpu = timed(commands, project, variables)
                    collected.setdefault((name, what), []).append((wall, cpu))
                    row = {"scenario": f"{name}, {what}", "peer": "sealstone", "group": "replays", "metric": "seconds", "round": number, "seconds": round(wall, 3), "cpu_seconds": round(cpu, 3)}
                    print(json.dumps(row), flush=True)
    print(f"\n{'':<24} {'wall':>8} {'cpu':>8} {'over bare':>10}   (medians of {ROUNDS})")
    for (name, what), rows in collected.items():
        wall, cpu = (statistics.median(column) for column in zip(*rows))
        over = wall - statistics.median(row[0] for row in collected[(name, "bare")])
        print(f"{name + ', ' + what:<24} {wall:7.2f}s {cpu:7.2f}s {over:+9.2f}s")


if __name__ == "__main__":
    main()
