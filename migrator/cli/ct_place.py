"""Where containers that are to be made would best be: the planner asked for what is nowhere yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migrator.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    return (await best_places(fleet, (wanted,)))[0]


async def best_places(fleet: Fleet, wanted: Sequence[Wanted]) -> list[tuple[str, str]]:
    """The node of each, and why that one: of all at once, for a place is one's alone and rules are about all."""
    from migrator.cli.plan import policy_of
    from migrator.executor.creation import descriptor_of
    from migrator.executor.ranges import free_ranges
    from migrator.model.plan import Refusal
    from migrator.planner.newcomer import place_all

    cluster = await fleet.probe()
    ranges = free_ranges(cluster, len(wanted))
    cts = [descriptor_of(each, "-", id_index) for each, id_index in zip(wanted, ranges, strict=True)]
    chosen = place_all(cluster, cts, policy_of({}, cluster))
    if isinstance(chosen, Refusal):
        raise Nowhere(chosen)
    return [(chosen[each.name].target, chosen[each.name].said()) for each in wanted]
