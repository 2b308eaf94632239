"""Where a container that is to be made would best be: the planner asked for one that is nowhere yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migrator.errors import Refused

if TYPE_CHECKING:
    from migrator.executor.fleet import Fleet
    from migrator.executor.wanted import Wanted
    from migrator.model.plan import Refusal


class Nowhere(Refused):
    """No node takes it; `refusal` says why, node by node."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.intent)
        self.refusal = refusal


async def best_place(fleet: Fleet, wanted: Wanted) -> tuple[str, str]:
    """The node, and why that one."""
    from migrator.cli.plan import policy_of
    from migrator.executor.creation import descriptor_of
    from migrator.executor.ranges import free_ranges
    from migrator.model.plan import Refusal
    from migrator.planner.newcomer import place_new

    cluster = await fleet.probe()
    (id_index,) = free_ranges(cluster, 1)
    chosen = place_new(cluster, descriptor_of(wanted, "-", id_index), policy_of({}, cluster))
    if isinstance(chosen, Refusal):
        raise Nowhere(chosen)
    return chosen.target, chosen.said()
