"""The planner's figures: cases and their reaches, lines, and the section of docs/benchmarks.md that shows them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from migrator.demo.bench_report import host_facts
from migrator.demo.cost import Cost
from migrator.demo.curve import plot
from migrator.model.rates import DEFAULT_RATES

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
    *(Case(n, c, e, "10Gbit", 4, cpu_s, mb, with_peer=True) for n, c, e, cpu_s, mb in FLEETS),
    *(Case(n, c, e, "10Gbit", parallel) for n, c, e, *_ in FLEETS[1:] for parallel in (2, 8)),
    *(Case(n, c, e, "1Gbit", parallel) for n, c, e, *_ in FLEETS[:2] for parallel in (2, 3, 4)),
)


@dataclass(frozen=True, slots=True)
class Peer:
    """What hbal needed, and how many moves it wants in how many job sets, one after the other."""

    cost: Cost
    moves: int
    job_sets: int


@dataclass(frozen=True, slots=True)
class Times:
    """What a plan tells of its times: `pauses_s` is when the busiest link has had all its pauses, if they come one
    after the other from the first moment on at which one may begin; `pause_s` is the longest pause of all.
    """

    moves: int
    makespan_s: float
    bound_s: float
    pauses_s: float
    pause_s: float


@dataclass(frozen=True, slots=True)
class Result:
    """One case, measured; `given` is whether the fleet was, or is of our own making."""

    case: Case
    given: bool
    cost: Cost
    in_turn: Times
    together: Times
    peer: Peer | None = None

    @property
    def moves(self) -> int:
        return self.in_turn.moves

    @property
    def bound_s(self) -> float:
        """The busiest link's bytes over its speed."""
        return self.in_turn.bound_s

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
        f"{result.in_turn.makespan_s:.0f} s where the pauses of one link need {result.in_turn.pauses_s:.0f} s "
        f"({result.together.makespan_s:.0f} s with overlapping pauses) where the busiest link needs "
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
    """Each case with its bound: with pauses in turn, beside what these need at the least, and with pauses that overlap.

    Behind each makespan is its part over the bound, and the longest pause.
    """
    head = "| drain | links | `--parallel` | bound | pauses in turn | makespan | over | longest pause |"
    lines = [f"{head} `--overlapping-pauses` | over | longest pause |", "|---|---|" + "--:|" * 9]
    for r in results:
        both = (
            f"{times.makespan_s:.1f} s | {r.over(times.makespan_s):.1%} | {times.pause_s:.0f} s"
            for times in (r.in_turn, r.together)
        )
        told = f"{r.bound_s:.1f} s | {r.in_turn.pauses_s:.1f} s | {' | '.join(both)}"
        lines.append(f"| {r.case.name} | {r.case.link} | {r.case.parallel} | {told} |")
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


def _stream() -> str:
    rate = DEFAULT_RATES["stream"].send_bytes_per_s // MB
    return f"One stream of pages is no faster than {rate} MB/s, which is what ssh reaches with a core at each end."


def _used() -> str:
    return f"{DEFAULT_RATES['stream'].send_bytes_per_s / 1.25e9:.0%}"


def _constant() -> str:
    return f"{DEFAULT_RATES['stream'].pause_s:g} s"


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
from the start of Python to the written plan; CPU is user and system time, memory the peak of resident memory. Of
three runs the one with the least CPU is shown: whatever else a machine does only adds to it.
`migrator check` holds every plan. An imported fleet does not tell whether its nodes can stream memory, and is planned
as if they could (`memory_way`).

{cost_table(results)}

*Ratio* is hbal's CPU seconds over ours.

### The makespan and its bound

{makespan_table(results)}

The bound is the busiest link's bytes over its speed: the time of a link that is never idle. *Pauses in turn* is a
second bound, for plans without `--overlapping-pauses`, where no two containers are paused on one link at a time: the
pauses of one link added up, and the set-up of the first. No order of the moves is below it, for every pause is as
short as it can be.

What is between the two bounds is the rule and the machinery, and not the order:

- {_stream()}
  So at 10 Gb/s, which is 1,250 MB/s, one pause at a time uses {_used()} of the link, and pauses that may overlap fill
  it from two streams on. At 1 Gb/s one stream fills it.
- Each pause has {_constant()} in which its pages do not flow (freeze, dump without pages, the last pass over the
  files, verify, seal, release), and nobody else's pages flow then either if pauses come in turn. With the sixteen
  containers of a busy node that is {16 * DEFAULT_RATES["stream"].pause_s:.1f} s of the time that its bytes need.

With pauses that overlap three moves on a link are enough at 10 Gb/s: while one is set up, or in the constant part of
its pause, two others send. With two the link is idle then, in part. With many more a large container, which gets no
more than its share, is left alone at the end, and alone it does not fill the link; and every pause is longer, for the
link is shared. What is left over the bound is the first set-up and the constant part of one pause.

What streams need of nodes is counted as in docs/plan-format.md: no images lie on the source, so even a full node sends
as many at a time as it has turns.

### Swap rings

{rings_line(turned)[0].upper()}{rings_line(turned)[1:]}. Each node
holds one container of 48 GiB and has no room for a second one; each container is wished on the next node
(`migrator plan move CT=NODE ...`). A ring of n needs n + 1 moves: one container has to be put aside.

### The cost curve

Made fleets of ten containers a node, one node in twenty emptied, `--parallel 4`.

![CPU seconds over containers]({plot_name})

{growth(points)} The line is n log n through
{_anchor(points).containers:,} containers; below that, starting Python is most of the cost.

{curve_table(points)}

Measured {datetime.now(UTC):%Y-%m-%d}: {machine}.
"""
