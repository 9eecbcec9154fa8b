"""From raw rows to medians, and from medians to the table with its ratios.

Invariant: a ratio is taken within a round, between runs minutes apart on the same machine, and only then is the
median taken; rows of different rounds are never divided by each other.
"""

import statistics

from plan import SMALLER_IS_BETTER

UNITS = {"mb_per_s": "MB/s", "per_s": "/s", "p50_us": "us, median", "ms": "ms", "vmhwm_kib": "KiB peak", "seconds": "s", "fsyncs": "flushes"}

# (scenario prefix, goal as a ratio to the best peer), from the project's targets for this machine.
GOALS = [
    ("push 1 GiB, one", 2.0), ("push 8 GiB, one", 2.0), ("push 4 x", 3.0),
    ("pull 1 GiB, one", 1.0), ("pull 8 GiB, one", 1.0), ("pull 1 GiB, 4", 1.2), ("pull 8 GiB, 4", 1.2), ("pull 4 x", 1.2),
    ("small artifacts, 1 client", 6.0), ("small artifacts, 8 clients", 8.0),
    ("GET manifest", 6.0), ("HEAD manifest", 6.0), ("GET 4 KiB blob", 20.0),
    ("client push", 4.0), ("client pull", 5.0),
]  # fmt: skip

# Server CPU time, milliseconds for each GiB.
CPU_LIMITS = [("push", 2200), ("pull", 1150)]

# Peak memory, MiB: a base, and so much for each push at once.
MEMORY_BASE, MEMORY_EACH = 40, 3


def aggregate(rows):
    """One row for each peer and scenario: count, median, least and most of its metric, and the server's costs."""
    merged = {}
    for row in rows:
        merged.setdefault((row["scenario"], row["peer"]), []).append(row)
    result = []
    for (scenario, peer), group in merged.items():
        good = [row for row in group if "error" not in row]
        base = {"scenario": scenario, "peer": peer, "version": group[0].get("version"), "commit": group[0].get("commit"), "n": len(good)}
        if not good:
            result.append({**base, "error": group[0]["error"]})
            continue
        metric = good[0]["metric"]
        values = [row[metric] for row in good]
        base |= {"metric": metric, "median": statistics.median(values), "min": min(values), "max": max(values)}
        for extra in ("cpu_ms_per_gib", "cpu_us_per_operation", "p50_us", "p99_us", "p999_us", "vmhwm_kib", "entries", "fsyncs", "fsyncs_per_artifact"):
            numbers = [row[extra] for row in good if row.get(extra) is not None]
            if numbers:
                base[extra] = statistics.median(numbers)
        result.append(base)
    return result


def ratios(rows, ours="sealstone"):
    """For each scenario: the median over the rounds of ours to the best peer of that round."""
    by_round = {}
    for row in rows:
        if "error" not in row:
            by_round.setdefault((row["scenario"], row["round"]), {})[row["peer"]] = row
    collected = {}
    for (scenario, _), peers in by_round.items():
        others = {peer: row for peer, row in peers.items() if peer != ours}
        if ours not in peers or not others:
            continue
        metric = peers[ours]["metric"]
        if metric in SMALLER_IS_BETTER:
            ratio = min(row[metric] for row in others.values()) / peers[ours][metric]
        else:
            ratio = peers[ours][metric] / max(row[metric] for row in others.values())
        collected.setdefault(scenario, []).append(ratio)
    return {scenario: statistics.median(values) for scenario, values in collected.items()}


def goal_of(scenario):
    return next((goal for prefix, goal in GOALS if scenario.startswith(prefix)), None)


def table(rows, peers):
    """Markdown: a line for each scenario, a column for each peer, our ratio to the best peer, and the goal."""
    summary = {(row["scenario"], row["peer"]): row for row in aggregate(rows)}
    scenarios = list(dict.fromkeys(row["scenario"] for row in rows))
    ratio = ratios(rows)
    lines = ["| scenario | unit | " + " | ".join(peers) + " | ratio | goal | our p50, p99, p99.9 | our server's CPU | our peak MiB |", "| --- | --- |" + " --- |" * (len(peers) + 5)]
    for scenario in scenarios:
        found = [summary.get((scenario, peer)) for peer in peers]
        metric = next((row["metric"] for row in found if row and "metric" in row), "")
        cells = [cell(row) for row in found]
        ours = summary.get((scenario, "sealstone"), {})
        reached, goal = ratio.get(scenario), goal_of(scenario)
        lines.append(
            f"| {scenario} | {UNITS.get(metric, metric)} | {' | '.join(cells)} | {f'{reached:.2f}x' if reached else ''} |"
            f" {goal_text(reached, goal)} | {quantiles(ours)} | {cost(ours)} | {mebibytes(ours)} |"
        )
    return "\n".join(lines + [""] + absolute(summary)) + "\n"


def absolute(summary, ours="sealstone"):
    """The goals that are no ratio: CPU time, memory, and lists whose first page does not depend on their length."""
    lines = []
    mine = {scenario: row for (scenario, peer), row in summary.items() if peer == ours and "error" not in row}
    for scenario, row in mine.items():
        limit = next((limit for prefix, limit in CPU_LIMITS if scenario.startswith(prefix)), None)
        if limit and row.get("cpu_ms_per_gib") is not None:
            lines.append(verdict(f"{scenario}: server CPU", row["cpu_ms_per_gib"], limit, "ms/GiB"))
        if scenario.startswith("memory, "):
            streams = int(scenario.split()[1])
            lines.append(verdict(f"{scenario}: peak", row["vmhwm_kib"] / 1024, MEMORY_BASE + MEMORY_EACH * streams, "MiB"))
    tags = {int(row["entries"]): row["median"] for scenario, row in mine.items() if scenario.startswith("first page")}
    if len(tags) > 1:
        most = max(tags)
        base = min((size for size in tags if size >= 1000), default=min(tags))
        lines.append(verdict(f"first page of {most} tags", tags[most], min(2000, 2 * tags[base]), f"us (2 ms, and twice the {tags[base]:.0f} us of {base} tags)"))
    for scenario, row in mine.items():
        if scenario.startswith("referrers"):
            lines.append(verdict(scenario, row["median"], 2000, "us"))
    return lines


def verdict(what, value, limit, unit):
    return f"- {what} {value:.0f}, limit {limit:.0f} {unit}: {'met' if value <= limit else 'MISSED'}"


def cell(row):
    if row is None:
        return ""
    if "error" in row:
        return "not measured"
    digits = 0 if row["median"] >= 100 else 2
    return f"{row['median']:.{digits}f} ({row['min']:.{digits}f}-{row['max']:.{digits}f}, n={row['n']})"


def goal_text(reached, goal):
    if goal is None:
        return ""
    if reached is None:
        return f">= {goal}x"
    return f">= {goal}x, {'met' if reached >= goal else 'MISSED'}"


def quantiles(row):
    """How long one operation took, in milliseconds; the last only where there are enough of them to have one."""
    found = [row.get(name) for name in ("p50_us", "p99_us", "p999_us")]
    return ", ".join(f"{value / 1000:.2f}" for value in found if value is not None) + " ms" if found[0] is not None else ""


def cost(row):
    if row.get("cpu_ms_per_gib") is not None:
        return f"{row['cpu_ms_per_gib']:.0f} ms/GiB"
    if row.get("cpu_us_per_operation") is not None:
        return f"{row['cpu_us_per_operation']:.0f} us/op"
    return ""


def mebibytes(row):
    return f"{row['vmhwm_kib'] / 1024:.0f}" if row.get("vmhwm_kib") else ""
