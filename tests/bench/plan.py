"""What is measured: groups of steps, each on a fresh, empty server, in the order of the table that they feed.

A step is one run of the load client. Invariant: sizes and counts are bounded here, and every step names its metric:
`mb_per_s` and `per_s` are better when larger, `p50_us` and `ms` when smaller.
"""

import dataclasses

MIB = 1 << 20
GIB = 1 << 30


@dataclasses.dataclass
class Step:
    name: str
    words: list
    metric: str
    # Peers that have no such endpoint, or would take hours.
    only: tuple = ()
    # Whether the server's files are read into the page cache first, outside of any clock.
    warm: bool = False


@dataclasses.dataclass
class Group:
    name: str
    steps: list
    # Rounds that are worth their time: seeding a list once is enough.
    most_rounds: int = 99
    # Too long for a run of everything: only when it is named.
    on_request: bool = False
    # Bytes that it leaves on the disk until its server ends.
    stores: int = 0


def large(label, size, rounds=99):
    """One blob: pushed, pulled as the push left it (ours wrote past the page cache), then warm: whole and in four ranges."""
    pull = ["pull", "--bytes", size, "--seed", "SEED"]
    return Group(
        f"large-{label}",
        [
            Step(f"push {label}, one stream", ["push", "--bytes", size, "--seed", "SEED"], "mb_per_s"),
            Step(f"first pull of {label} after its push", pull, "mb_per_s"),
            Step(f"pull {label}, one stream", pull, "mb_per_s", warm=True),
            Step(f"pull {label}, 4 ranges", [*pull, "--ranges", 4], "mb_per_s", warm=True),
        ],
        rounds,
        stores=size,
    )


def at_once(label, size):
    return Group(
        "at-once",
        [
            Step(f"push 4 x {label} at once", ["push", "--bytes", size, "--streams", 4, "--seed", "SEED"], "mb_per_s"),
            Step(f"pull 4 x {label} at once", ["pull", "--bytes", size, "--streams", 4, "--seed", "SEED"], "mb_per_s", warm=True),
            Step(f"push {label}, one stream, POST PATCH PUT", ["push", "--bytes", size, "--seed", "SEED2", "--style", "patch"], "mb_per_s"),
        ],
        most_rounds=3,
        stores=5 * size,
    )


def small(few, many):
    return Group(
        "small",
        [
            Step("small artifacts, 1 client", ["small", "--count", few, "--seed", "SEED"], "per_s"),
            Step("small artifacts, 8 clients", ["small", "--count", many, "--streams", 8, "--seed", "SEED2"], "per_s"),
        ],
        most_rounds=3,
    )


def mebibytes(few, many):
    """Unique blobs of 1 MiB, as the shards of many data sets are: too large for the metadata store, too small to stream."""
    return Group(
        "mebibytes",
        [
            Step("push of 1 MiB, 1 client", ["blobs", "--bytes", MIB, "--count", few, "--seed", "SEED"], "per_s"),
            Step("push of 1 MiB, 8 clients", ["blobs", "--bytes", MIB, "--count", many, "--streams", 8, "--seed", "SEED2"], "per_s"),
        ],
        most_rounds=3,
        stores=(few + many) * MIB,
    )


def appends(few, many):
    """Tags that are answered after a checkpoint of the transparency log contains them: entries per second."""
    return Group(
        "log",
        [
            Step("log appends, 1 client", ["appends", "--count", few, "--seed", "SEED"], "per_s", ("sealstone",)),
            Step("log appends, 32 clients", ["appends", "--count", many, "--streams", 32, "--seed", "SEED2"], "per_s", ("sealstone",)),
        ],
        most_rounds=2,
    )


def reads(count):
    kinds = {
        "manifest-tag": "GET manifest by tag",
        "manifest-digest": "GET manifest by digest",
        "head-tag": "HEAD manifest by tag",
        "head-digest": "HEAD manifest by digest",
        "blob": "GET 4 KiB blob",
    }
    return Group(
        "reads",
        [
            Step(f"{text}, 8 clients", ["requests", "--kind", kind, "--count", count, "--streams", 8, "--seconds", 60], "per_s")
            for kind, text in kinds.items()
        ],
        most_rounds=3,
    )


def tag_steps(sizes, peers_most, seconds):
    steps, have = [], 0
    for size in sizes:
        only = () if size <= peers_most else ("sealstone",)
        words = ["tags", "--count", size, "--have", have, "--samples", 300, "--seconds", seconds]
        steps.append(Step(f"first page of {size} tags", words, "p50_us", only))
        have = size
    return steps


def lists(sizes, peers_most, referrers, seconds):
    words = ["referrers", "--count", referrers, "--samples", 300, "--seconds", seconds]
    step = Step(f"referrers, first page of {referrers} of one subject", words, "p50_us", ("sealstone",))
    return Group("lists", [*tag_steps(sizes, peers_most, seconds), step], most_rounds=1)


def million():
    """A million tags, and the thousand that they are compared with, on one server."""
    return Group("million", tag_steps([1_000, 1_000_000], 0, 1500), most_rounds=1, on_request=True)


def memory(label, size, streams):
    """A server of its own for each number of pushes: what they leave would fill the disk together."""
    return [
        Group(
            "memory",
            [Step(f"memory, {number} x {label} pushed at once", ["push", "--bytes", size, "--streams", number, "--seed", f"MEMORY{number}"], "vmhwm_kib", ("sealstone",))],
            most_rounds=1,
            stores=number * size,
        )
        for number in streams
    ]


def full():
    """What the goals speak of, in an order that puts the most telling rows first."""
    return [
        large("1 GiB", GIB),
        at_once("1 GiB", GIB),
        large("8 GiB", 8 * GIB, rounds=2),
        small(300, 1500),
        mebibytes(300, 1200),
        reads(8_000),
        *memory("1 MiB", MIB, [1, 32]),
        *memory("1 GiB", GIB, [1, 2, 4, 8, 16, 32]),
        *memory("8 GiB", 8 * GIB, [1]),
        lists([100, 1_000, 10_000], 10_000, 10_000, 120),
        appends(300, 5000),
        million(),
    ]


def quick():
    return [
        large("64 MiB", 64 * MIB),
        at_once("64 MiB", 64 * MIB),
        small(50, 200),
        mebibytes(20, 80),
        reads(2_000),
        *memory("64 MiB", 64 * MIB, [1, 4]),
        lists([100, 1_000], 1_000, 100, 60),
        appends(50, 500),
    ]


@dataclasses.dataclass
class Alone:
    """A script that starts what it measures itself, and prints a row a line. It runs only when it is named."""

    name: str
    # What it is told after the program: (in full, in quick).
    measure: tuple
    stores: int


ALONE = [
    Alone("compare", ("5", "0.125"), 15 * GIB),
    Alone("replays", ("5", "1"), GIB),
    Alone("decisions", ("1000", "100"), GIB),
    Alone("collect", ("1000000", "5000"), 8 * GIB),
    Alone("disk", ("20", "0.125"), 21 * GIB),
]

SMALLER_IS_BETTER = {"p50_us", "vmhwm_kib", "ms", "fsyncs", "seconds"}
