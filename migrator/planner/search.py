"""Where does each container go, so that all of them fit?

Theory. Largest first, each to the node that is least loaded with it. Where that leaves some without a place, those
go first the next time, a few times over. If it still fails and there are few, every arrangement is tried, up to a
number of steps: nodes that are in the same state are tried once. What is found is a matter of the input alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from migrator.planner.placement import Mover, Site

REPAIRS_MAX = 8
EXACT_CONTAINERS_MAX = 12
EXACT_STEPS_MAX = 20_000

Sites = dict[str, Site]
Barred = Mapping[tuple[str, str], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Found:
    """`targets` names a node for each container, in the order in which they were placed. `stuck` found no place on
    `sites`, which hold the others. `proved` is whether it is sure that not all can be placed.
    """

    targets: dict[str, str]
    sites: Sites
    stuck: tuple[Mover, ...] = ()
    proved: bool = False


def assign(movers: Sequence[Mover], sites: Sites, barred: Barred) -> Found:
    """Places every container, or as many as the best of several tries did."""
    largest_first = sorted(movers, key=lambda mover: _size(mover, sites))
    best = _greedy(largest_first, sites, barred)
    if any(next(options(mover, sites, barred), None) is None for mover in best.stuck):
        return replace(best, proved=True)  # no place even on its own
    order, last = largest_first, best
    for _ in range(REPAIRS_MAX):
        if not best.stuck:
            return best
        order = [*last.stuck, *(mover for mover in order if mover not in last.stuck)]
        last = _greedy(order, sites, barred)
        best = min(best, last, key=lambda found: len(found.stuck))
    if not best.stuck or len(movers) > EXACT_CONTAINERS_MAX:
        return best
    search = _Exact(barred)
    return search.run(largest_first, sites) or replace(best, proved=search.steps < EXACT_STEPS_MAX)


def options(mover: Mover, sites: Sites, barred: Barred) -> Iterator[tuple[float, str]]:
    """The nodes that fit, as (use of the fullest resource afterwards, name), in no order."""
    for name, site in sites.items():
        if (mover.name, name) not in barred and not site.lacks(mover):
            yield site.utilisation(mover), name


def _greedy(order: Sequence[Mover], sites: Sites, barred: Barred) -> Found:
    sites, targets, stuck = dict(sites), {}, []
    for mover in order:
        best = min(options(mover, sites, barred), default=None)
        if best is None:
            stuck.append(mover)
            continue
        _, name = best
        sites[name] = sites[name].place(mover)
        targets[mover.name] = name
    return Found(targets, sites, tuple(stuck))


class _Exact:
    """Every arrangement, depth first, within a number of steps."""

    def __init__(self, barred: Barred) -> None:
        self.barred = barred
        self.steps = 0

    def run(self, movers: Sequence[Mover], sites: Sites) -> Found | None:
        if not movers:
            return Found({}, sites)
        mover, rest = movers[0], movers[1:]
        tried = set()
        for _, name in sorted(options(mover, sites, self.barred)):
            likeness = self._likeness(sites[name], movers)
            if likeness in tried:
                continue
            tried.add(likeness)
            self.steps += 1
            if self.steps >= EXACT_STEPS_MAX:
                return None
            below = self.run(rest, sites | {name: sites[name].place(mover)})
            if below is not None:
                return Found({mover.name: name} | below.targets, below.sites)
        return None

    def _likeness(self, site: Site, movers: Sequence[Mover]) -> object:
        """Equal for nodes on which the rest of the search would go the same."""
        taken = tuple(comer.name for comer in site.comers)
        closed = tuple((mover.name, site.node.name) in self.barred for mover in movers)
        return (site.room, taken, frozenset(site.groups), closed)


def _size(mover: Mover, sites: Sites) -> tuple[float, str]:
    """Sorts the largest first: by its largest share of the largest node."""
    demand = mover.container.reserved
    largest = [
        (demand.cpu_milli, max((site.usable.cpu_milli for site in sites.values()), default=0)),
        (demand.memory_bytes, max((site.usable.memory_bytes for site in sites.values()), default=0)),
        (demand.disk_bytes, max((site.usable.disk_bytes for site in sites.values()), default=0)),
    ]
    return (-max(wanted / whole if whole else 0.0 for wanted, whole in largest), mover.name)
