"""The planner's figures: cases and their reaches, lines, and the section of docs/benchmarks.md that shows them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from migrator.demo.bench_report import host_facts
from migrator.demo.cost import Cost
from migrator.demo.curve import plot

MB = 1_000_000
ANCHOR = 10_000  # where the line for comparison meets the curve: above, starting Python is a small part


@dataclass(frozen=True, slots=True)
class Case:
    """A drain of the marked nodes, and how far it is to reach; `cpu_s_max` is judged by CPU seconds."""

    nodes: int
    containers: int
    emptied: int
    link: str
    parallel: int
    cpu_s_max: float | None = None
    memory_mb_max: int | None = None
    with_peer: bool = False

    @property
    def name(self) -> str:
        return f"{self.emptied} of {self.nodes:,} nodes, {self.containers:,} containers"


FLEETS = ((100, 1_000, 5, 1.0, 150), (1_000, 10_000, 50, 3.0, 250), (5_000, 50_000, 250, 15.0, 800))
CASES = (
    *(Case(n, c, e, "10Gbit", 8, cpu_s, mb, with_peer=True) for n, c, e, cpu_s, mb in FLEETS),
    *(Case(n, c, e, "1Gbit", parallel) for n, c, e, *_ in FLEETS[:2] for parallel in (2, 3, 4)),
)


@dataclass(frozen=True, slots=True)
class Peer:
    """What hbal needed, and how many moves it wants in how many job sets, one after the other."""

    cost: Cost
    moves: int
    job_sets: int


@dataclass(frozen=True, slots=True)
class Result:
    """One case, measured; `given` is whether the fleet was, or is of our own making. `makespan_s` is with the pauses on
    each link one after the other, `together_s` with pauses that overlap.
    """

    case: Case
    given: bool
    cost: Cost
    moves: int
    makespan_s: float
    together_s: float
    bound_s: float
    peer: Peer | None = None

    def over(self, makespan_s: float) -> float:
        """By which part a makespan is above the bound."""
        return makespan_s / self.bound_s - 1 if self.bound_s else 0.0


RINGS = range(2, 21)


@dataclass(frozen=True, slots=True)
class Ring:
    """Full nodes that pass their containers on, with one free node: the moves of the plan, None if there was none."""

    size: int
    moves: int | None
    cost: Cost


@dataclass(frozen=True, slots=True)
class Scaled:
    """One point of the cost curve."""

    containers: int
    moves: int
    cost: Cost


def line(result: Result) -> str:
    """A result in one line, its peer beside it."""
    case, cost, peer = result.case, result.cost, result.peer
    own = f"{cost.cpu_s:.2f} CPU-s, {cost.wall_s:.2f} s, {cost.memory_bytes / MB:.0f} MB, {result.moves} moves"
    times = (
        f"{result.makespan_s:.0f} s ({result.together_s:.0f} s with overlapping pauses) where the busiest link needs "
        f"{result.bound_s:.0f} s"
    )
    beside = f"; hbal: {_peer(peer)}" if peer else ""
    return f"{case.name}, {case.link}, --parallel {case.parallel}: {own}, {times}{beside}"


def rings_line(turned: Sequence[Ring]) -> str:
    """How many rings were turned, with how many moves beyond the least possible, and what the largest cost."""
    solved = [(ring.size, ring.moves) for ring in turned if ring.moves is not None]
    over = max((moves - size - 1 for size, moves in solved), default=0)
    return (
        f"swap rings of {turned[0].size} to {turned[-1].size} full nodes with one free: {len(solved)} of {len(turned)} "
        f"planned, at most {over} moves over the least possible, {turned[-1].cost.cpu_s:.2f} CPU-s for the largest"
    )


def _peer(peer: Peer) -> str:
    if not peer.cost.ended:
        return f"nothing in {peer.cost.wall_s:.0f} s"
    memory = f"{peer.cost.memory_bytes / MB:.0f} MB"
    return f"{peer.cost.cpu_s:.1f} CPU-s, {memory}, {peer.moves} moves in {peer.job_sets} job sets"


def cost_table(results: Sequence[Result]) -> str:
    """Cases with a reach: what they cost, and the peer from the same run."""
    head = (
        "| drain, links 10 Gb/s | fleet | CPU | reach | wall | memory | reach | moves | hbal on the same file | ratio |"
    )
    lines = [head, "|---|---|--:|--:|--:|--:|--:|--:|---|--:|"]
    for r in results:
        if r.case.cpu_s_max is None:
            continue
        cells = (
            r.case.name,
            "given" if r.given else "made",
            f"{r.cost.cpu_s:.2f} s",
            f"{r.case.cpu_s_max:g} s",
            f"{r.cost.wall_s:.2f} s",
            f"{r.cost.memory_bytes / MB:.0f} MB",
            f"{r.case.memory_mb_max} MB",
            str(r.moves),
            _peer(r.peer) if r.peer else "not installed",
            _ratio(r),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _ratio(r: Result) -> str:
    """How many times our CPU seconds the peer took; at least so many where it was ended before it had an answer."""
    if r.peer is None:
        return "-"
    least = "" if r.peer.cost.ended else "over "
    return f"{least}{r.peer.cost.cpu_s / r.cost.cpu_s:.0f}"


def makespan_table(results: Sequence[Result]) -> str:
    head = "| drain | links | `--parallel` | bound | makespan | over it | `--overlapping-pauses` | over it |"
    lines = [head, "|---|---|--:|--:|--:|--:|--:|--:|"]
    for r in results:
        both = (f"{makespan_s:.0f} s | {r.over(makespan_s):.1%}" for makespan_s in (r.makespan_s, r.together_s))
        times = f"{r.bound_s:.0f} s | {' | '.join(both)}"
        lines.append(f"| {r.case.name} | {r.case.link} | {r.case.parallel} | {times} |")
    return "\n".join(lines)


def curve_table(points: Sequence[Scaled]) -> str:
    lines = ["| containers | moves | CPU | wall | memory |", "|--:|--:|--:|--:|--:|"]
    for p in points:
        cost = f"{p.cost.cpu_s:.2f} s | {p.cost.wall_s:.2f} s | {p.cost.memory_bytes / MB:.0f} MB"
        lines.append(f"| {p.containers:,} | {p.moves:,} | {cost} |")
    return "\n".join(lines)


def growth(points: Sequence[Scaled]) -> str:
    """How the cost grows from the anchor to the largest point, beside n log n."""
    anchor, last = _anchor(points), points[-1]
    if last.containers <= anchor.containers:
        return "The curve ends too early to judge its growth."
    seen = last.cost.cpu_s / anchor.cost.cpu_s
    wanted = _n_log_n(last.containers) / _n_log_n(anchor.containers)
    verdict = "no faster than" if seen <= wanted else "faster than"
    sizes = f"From {anchor.containers:,} to {last.containers:,} containers"
    return f"{sizes} the cost grows {seen:.1f} times, {verdict} n log n ({wanted:.1f} times)."


def _anchor(points: Sequence[Scaled]) -> Scaled:
    return next((p for p in points if p.containers >= ANCHOR), points[0])


def _n_log_n(count: float) -> float:
    return count * math.log2(count)


def curve(points: Sequence[Scaled]) -> str:
    """The plot: CPU seconds over containers, and n log n through the anchor."""
    anchor = _anchor(points)
    scale = anchor.cost.cpu_s / _n_log_n(anchor.containers)
    return plot(
        "Planning a drain of one node in twenty: snapshot file to plan file",
        "containers",
        "CPU seconds",
        [(p.containers, p.cost.cpu_s) for p in points],
        [(p.containers, scale * _n_log_n(p.containers)) for p in points],
        "n log n",
    )


def section(results: Sequence[Result], turned: Sequence[Ring], points: Sequence[Scaled], plot_name: str) -> str:
    """The section of the page, whole."""
    machine = ", ".join(f"{name} {value}" for name, value in host_facts().items())
    return f"""## Planning for a fleet

`make bench-planner` writes this section and its plot. The given fleets are read from `../shared/bench` beside the
checkout, or from where `make bench-planner DATA=FOLDER` says (`FOLDER/fleets/d_NODES_CONTAINERS.data`, Ganeti's text
format); fleets that are not there are made by `python -m migrator.demo.fleets NODES CONTAINERS EMPTIED`, always the
same. hbal is run beside it where Debian's package ganeti-htools is installed and `hbal` is on the path
(`hbal -t FILE --evac-mode -C`, ended after 150 s). hbal reads its own small text file and knows no links, images or
waits; it is the nearest that there is. All of one table is from one run.

The figures are of whole processes: `migrator plan drain --cordoned --snapshot FILE -o PLAN --max-blackout 86400`,
from the start of Python to the written plan; CPU is user and system time, memory the peak of resident memory.
`migrator check` holds every plan.

{cost_table(results)}

*Ratio* is hbal's CPU seconds over ours.

### The makespan and its bound

{makespan_table(results)}

The bound is the busiest link's bytes over its speed: the time of a link that is never idle. Plans are over it. The
first reason is that pauses on one link come one after the other unless `--overlapping-pauses` is given: a pause is
dump, send and restore, and the link carries pages in the second of these alone, for 12 GiB in 26 of 48 s at 10 Gb/s
and in 103 of 125 s at 1 Gb/s. So the pauses of the busiest node, added up, are the time of its plan, and `--parallel`
changes little. What that buys is that no container is paused for longer than by itself; with pauses that overlap all
is done sooner, and each pause on a link that is full is longer. These are the reasons that remain then:

- One stream of pages is no faster than 500 MB/s, which is what the machinery reaches; a link of 10 Gb/s carries
  1,250 MB/s, so three have to send at one time to fill it.
- While a move dumps and restores (1,200 MB/s each), and while it sets up (2 s), it leaves the link idle. A move of
  32 GiB sends for 69 s of its 128 s. So five moves or more have to be under way to fill 10 Gb/s, and two to fill
  1 Gb/s; and the last restore comes after the last byte. A move of 64 GiB, as in the made fleets, takes 254 s by
  itself at 10 Gb/s, which is more than the bound of the whole plan.
- Images lie in the memory of the source until the move has ended. A node that is nearly full has no room for a large
  image, and none for several: it sends small ones first, and the large ones last, a few at a time or alone. Room is
  counted at the worst moment that the waits allow, so more turns (`--parallel`) may also mean more waiting.

So 2 % is out of reach at 10 Gb/s, whatever the order, with pauses that overlap too. In the made fleets one move of
64 GiB is longer than the bound. In the given fleet of 1,000 nodes the busiest source has 26 GiB free and holds five
containers of 32 GiB and 69 GiB of others. To end by 201 s, each of the five has to start before 73 s and ends after
128 s, so all five images, 160 GiB, lie there at one time; but there is room for 95 GiB, even if all others have left.
At 1 Gb/s the same reasons cost less, because sending is most of a move; how far plans are from the best order there is
not known.

### Swap rings

{rings_line(turned)[0].upper()}{rings_line(turned)[1:]}. Each node
holds one container of 48 GiB and has no room for a second one; each container is wished on the next node
(`migrator plan move CT=NODE ...`). A ring of n needs n + 1 moves: one container has to be put aside.

### The cost curve

Made fleets of ten containers a node, one node in twenty emptied, `--parallel 8`.

![CPU seconds over containers]({plot_name})

{growth(points)} The line is n log n through
{_anchor(points).containers:,} containers; below that, starting Python is most of the cost.

{curve_table(points)}

Measured {datetime.now(UTC):%Y-%m-%d}: {machine}.
"""
