"""One table out of several runs: `merge.py NAME DIR...` takes the rows of each and writes results/NAME.jsonl and .md.

A full run takes over an hour, and a machine is seldom quiet for so long: groups may be run one by one with `--only`.
Invariant: rounds are numbered anew, run by run, so that no ratio is taken between rows of two runs.
"""

import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "setup")]

import bench  # noqa: E402
import report  # noqa: E402


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    name, directories = sys.argv[1], sys.argv[2:]
    rows = []
    for run, directory in enumerate(directories):
        for line in (pathlib.Path(directory) / "rows.jsonl").read_text().splitlines():
            row = json.loads(line)
            rows.append({**row, "round": f"{run}.{row['round']}"})
    peers = [peer for peer in ("sealstone", "distribution", "debian", *bench.TOOLS) if any(row["peer"] == peer for row in rows)]
    commits = sorted({row["commit"] for row in rows if row["peer"] == "sealstone"})
    versions = sorted({f"{row['peer']} {row['version']}" for row in rows if row.get("version") and row["peer"] not in ("sealstone", *bench.TOOLS)})
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    (results / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    heading = f"# Benchmark {name}\n\n{bench.machine()}. sealstone {', '.join(commits)}; {', '.join(versions)}. {len(directories)} runs.\n"
    (results / f"{name}.md").write_text(heading + bench.READING + report.table(rows, peers))
    print(results / f"{name}.md")


if __name__ == "__main__":
    main()
