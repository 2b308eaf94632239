"""The figures of rebalancing: lines, and the section of docs/benchmarks.md that shows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from migrator.demo.bench_report import host_facts
from migrator.demo.cost import Cost

MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Peer:
    """What hbal came to in its time: its moves, and its score after them."""

    cost: Cost
    moves: int
    score: float


@dataclass(frozen=True, slots=True)
class Balanced:
    """One fleet. Scores are hbal's: of the fleet at its start, after our plan, after hbal's steps. `least` is how many
    moves any plan needs; `as_good` after how many of ours the score is no worse than hbal's, None if never.
    """

    nodes: int
    containers: int
    given: bool
    least: int
    start: float
    cost: Cost
    moves: int
    score: float
    peer: Peer
    as_good: int | None

    @property
    def name(self) -> str:
        return f"{self.nodes:,} nodes, {self.containers:,} containers"


def line(found: Balanced) -> str:
    """A result in one line."""
    own = f"{found.cost.cpu_s:.1f} CPU-s, {found.cost.memory_bytes / MB:.0f} MB, {found.moves} moves"
    return (
        f"{found.name}: {found.start:.4f} -> {found.score:.4f} with {own}; hbal: {_peer(found.peer)}; {_reach(found)}"
    )


def _peer(peer: Peer) -> str:
    if not peer.moves:
        return f"no step in {peer.cost.wall_s:.0f} s"
    ended = "" if peer.cost.ended else ", not at its end"
    return f"{peer.score:.4f} with {peer.moves} moves in {peer.cost.cpu_s:.1f} CPU-s{ended}"


def _reach(found: Balanced) -> str:
    if not found.peer.moves:
        return "nothing to reach"
    return "not reached" if found.as_good is None else f"reached after {found.as_good} moves"


def table(results: Sequence[Balanced]) -> str:
    lines = [
        "| rebalance | fleet | score | after | moves | least possible | CPU | wall | memory | hbal | hbal's score |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|---|---|",
    ]
    for r in results:
        cells = (
            r.name,
            "given" if r.given else "made",
            f"{r.start:.4f}",
            f"{r.score:.4f}",
            f"{r.moves:,}",
            f"{r.least:,}",
            f"{r.cost.cpu_s:.1f} s",
            f"{r.cost.wall_s:.1f} s",
            f"{r.cost.memory_bytes / MB:.0f} MB",
            _peer(r.peer),
            _reach(r),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def section(results: Sequence[Balanced], seconds: float, peer_seconds: float) -> str:
    """The section of the page, whole."""
    machine = ", ".join(f"{name} {value}" for name, value in host_facts().items())
    return f"""## Evening out a fleet

`make bench-rebalance` writes this section, where Debian's package ganeti-htools is installed; `NODES="20 100"`
chooses fleets, `PEER_SECONDS` is hbal's time. The fleets are those of the section above, every node open. Ours is
`migrator plan rebalance --seconds {seconds:g} --min-gain 120 --policy FILE`, with
`weights: {{cpu: 16, containers: 10}}` in the policy because hbal weighs so: CPUs by what is there, not by the 16 that
are promised for each, and numbers of containers as they are. `migrator check` holds each plan, and
`migrator export ganeti` writes the fleet after it, of which `hbal -t FILE -l 0` prints the score: lower is better.
hbal itself (`hbal -t FILE`) is ended after {peer_seconds:g} s.

{table(results)}

*Least possible* is how many moves any plan needs after which all nodes hold equally many containers and no two of a
group are on one node. These two are nearly all of hbal's score: a plan with fewer moves leaves one of them wrong, and
one container too many on one node alone is 4 sqrt(2 / nodes) of it (1.26 with 20 nodes, 0.18 with 1,000). *hbal's
score*: after how many moves of ours, in the plan's order, the score is no worse than hbal's.

Measured {datetime.now(UTC):%Y-%m-%d}: {machine}.
"""
