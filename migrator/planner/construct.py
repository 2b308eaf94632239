"""Places for many containers among many nodes, quickly: the first try at every plan.

Theory. Largest first, each to the node that is least loaded with it, among those whose link is free soon enough: no
target's link may be busy for longer than the busiest source's, for then it would decide the makespan. Where that
leaves some without a place, those go first the next time, a few times over. What fits here fits whatever the order of
arrival; where that is too strict, search.py looks more closely. A source that has no room for the images of what goes
where memory is not streamed sends some of it where it is, and tries again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from migrator.model.estimate import send_rate_bytes_per_s
from migrator.model.facts import Cluster, Link, NodeFacts
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rates import DEFAULT_RATES
from migrator.planner.arrays import Floats, Mask, Targets
from migrator.planner.ordering import Leg, stranded
from migrator.planner.placement import Mover
from migrator.planner.room import room_of
from migrator.planner.together import Together

REPAIRS_MAX = 8
BROKEN = 100.0  # shares of a node that it is worth to leave no hard rule broken that was


@dataclass(frozen=True, slots=True)
class Choice:
    """Where one container goes, and what else there was: `fitting` nodes, the least loaded and the next of them."""

    target: str
    share: float
    fitting: int
    best: str
    best_share: float
    next_best: str | None
    ruled: bool = False  # whether rules made it another than the least loaded

    def said(self) -> str:
        """The choice in words."""
        use = f"{self.share:.0%} full by then"
        if self.next_best is None:
            return f"the only node that fits ({use})"
        if self.ruled:
            return f"so that rules hold ({use}); {self.best} would be less loaded ({self.best_share:.0%})"
        if self.best == self.target:
            return f"least loaded of {self.fitting} that fit ({use}); next best {self.next_best}"
        return f"so that all find a place ({use}); {self.best} would be less loaded ({self.best_share:.0%})"


@dataclass(frozen=True, slots=True)
class Built:
    """`choices` in the order in which they were made; `stuck` found no place beside them."""

    choices: dict[str, Choice]
    stuck: tuple[Mover, ...]


def construct(
    movers: Sequence[Mover],
    nodes: Sequence[NodeFacts],
    policy: PlanPolicy,
    cluster: Cluster | None = None,
) -> Built:
    """A node for every container, or for as many as the best of a few tries found one for.

    `cluster` tells what the nodes share, and whose containers count for rules over domains; without it `nodes` are all.
    """
    return construct_on(movers, Targets(nodes, policy, cluster), len(movers))


def construct_on(movers: Sequence[Mover], targets: Targets, stuck_max: int) -> Built:
    """The same on nodes as they stand, which are not changed; given up once a try leaves more than so many stuck.

    Those whose source has no room for their images go where memory is streamed, if that leaves none without a place.
    """
    first = built = _constructed(movers, targets, stuck_max)
    streamed: set[str] = set()
    while not built.stuck and (blocked := _unsent(movers, built, targets) - streamed):
        streamed |= blocked
        built = _constructed(movers, targets, stuck_max, streamed)
        if built.stuck and len(blocked) > 1:  # one that leaves makes room for the images of the others
            streamed -= blocked - {max(blocked, key=_memory(movers).__getitem__)}
            built = _constructed(movers, targets, stuck_max, streamed)
    return first if built.stuck else built


def _memory(movers: Sequence[Mover]) -> dict[str, tuple[int, str]]:
    """The memory of each container, with its name so that no two are equal."""
    return {mover.name: (mover.container.anon_bytes, mover.name) for mover in movers}


def _unsent(movers: Sequence[Mover], built: Built, targets: Targets) -> set[str]:
    """Those that go by images and that their source has no room to send, whatever leaves before them."""
    nodes, policy = {node.name: node for node in targets.nodes}, targets.policy
    leaving: dict[str, list[Leg]] = defaultdict(list)
    for mover in movers:
        target = nodes[built.choices[mover.name].target]
        leaving[mover.source.name].append(Leg(mover, target.name, policy.way(mover.source, target), asked=policy.mode))
    found: set[str] = set()
    for legs in leaving.values():
        room = room_of(legs[0].mover.source, policy)
        if max(leg.out_bytes for leg in legs) > room.measured.memory_bytes:
            found |= {leg.name for leg in stranded(legs, room) if leg.way == "images"}
    return found


def _constructed(movers: Sequence[Mover], targets: Targets, stuck_max: int, streamed: Collection[str] = ()) -> Built:
    """The best of a few tries; `streamed` go nowhere by images."""
    limit_s = _busiest_source_s(movers, targets)
    largest = targets.largest
    together = Together(movers, targets.rules)
    order = together.order(sorted(movers, key=lambda m: _size(m, largest)))
    best = last = _once(order, targets.closing(), limit_s, stuck_max, together, streamed)
    for _ in range(REPAIRS_MAX):
        if not best.stuck or len(last.stuck) > stuck_max:
            break
        first = {mover.name for mover in last.stuck}
        again = together.order([*last.stuck, *(mover for mover in order if mover.name not in first)])
        if again == order:  # those that were first are stuck all the same
            break
        order = again
        last = _once(order, targets.closing(), limit_s, stuck_max, together, streamed)
        best = min(best, last, key=lambda built: len(built.stuck))
    return best


def _once(
    order: Sequence[Mover],
    targets: Targets,
    limit_s: float,
    stuck_max: int,
    together: Together,
    streamed: Collection[str],
) -> Built:
    choices: dict[str, Choice] = {}
    stuck = []
    targets.rules.leave(order)
    for mover in order:
        fits = targets.fitting(mover)
        if mover.name in streamed:
            fits &= targets.streaming(mover)
        fitting = np.flatnonzero(together.narrowed(mover, targets, fits))
        if not len(fitting):
            stuck.append(mover)
            if len(stuck) > stuck_max:
                break
            continue
        price = None
        if targets.rules.rules:
            price = targets.rules.price(mover, BROKEN) + together.price(mover, targets)
        index, choice = _choose(mover, targets, fitting, limit_s, price)
        choices[mover.name] = choice
        targets.place(mover, index, _sending_s(mover, targets.nodes[index], targets))
    return Built(choices, tuple(stuck))


def _choose(
    mover: Mover, targets: Targets, fitting: NDArray[np.intp], limit_s: float, price: Floats | None
) -> tuple[int, Choice]:
    """One of the nodes that fit: the least loaded, with the price of the rules that it breaks there, if any."""
    shares = targets.share(mover)[fitting]
    prices = np.zeros(len(fitting)) if price is None else price[fitting]
    order = np.argsort(shares + prices, kind="stable")  # names are sorted, so equal shares go to the first name
    sending_s = np.array([_sending_s(mover, targets.nodes[fitting[0]], targets)])
    cheap = prices <= prices[order[0]]  # no rule is broken to be done sooner
    soon = (targets.inflow_s[fitting] + sending_s <= limit_s) & cheap
    at = int(order[np.argmax(soon[order])]) if soon.any() else _soonest(targets.inflow_s[fitting], cheap)
    best = int(order[0]) if price is None else int(np.argmin(shares))
    others = [targets.nodes[fitting[i]].name for i in order[:2] if i != at]
    index = int(fitting[at])
    choice = Choice(
        target=targets.nodes[index].name,
        share=float(shares[at]),
        fitting=len(fitting),
        best=targets.nodes[fitting[best]].name,
        best_share=float(shares[best]),
        next_best=others[0] if others else None,
        ruled=bool(prices[at] < prices[best]),
    )
    return index, choice


def _soonest(inflow_s: Floats, cheap: Mask) -> int:
    """The first of those whose link is free first."""
    return int(np.argmin(np.where(cheap, inflow_s, np.inf)))


def _sending_s(mover: Mover, target: NodeFacts, targets: Targets) -> float:
    """How long its bytes keep the target's link busy."""
    rates = DEFAULT_RATES[targets.policy.way(mover.source, target)]
    shared = targets.crossings.speeds(mover.source.name, target.name)
    return _bytes(mover) / send_rate_bytes_per_s(mover.source.link, target.link, rates, shared)


def _busiest_source_s(movers: Sequence[Mover], targets: Targets) -> float:
    """How long the busiest of the sources' links sends, at best: the best way that its memory goes to any target."""
    busy: dict[str, float] = defaultdict(float)
    rates: dict[str, int] = {}
    for mover in movers:
        source = mover.source
        if source.name not in rates:
            way = DEFAULT_RATES[targets.best_way(source)]
            rates[source.name] = send_rate_bytes_per_s(source.link, Link(), way)
        busy[source.name] += _bytes(mover) / rates[source.name]
    return max(busy.values(), default=0.0)


def _bytes(mover: Mover) -> int:
    return mover.container.anon_bytes + mover.container.files_bytes


def _size(mover: Mover, largest: Floats) -> tuple[float, str]:
    """Sorts the largest first: by its largest share of the largest node."""
    demand = mover.container.reserved
    wanted = (demand.cpu_milli, demand.memory_bytes, demand.disk_bytes)
    return (-max(w / whole if whole else 0.0 for w, whole in zip(wanted, largest, strict=True)), mover.name)
