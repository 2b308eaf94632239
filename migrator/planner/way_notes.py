"""How memory is taken to go, in words, where that is not plain: by images, or by nodes that do not tell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from migrator.model.facts import NodeFacts
from migrator.model.memory_way import memory_way
from migrator.model.modes import ANEW, Mode, restart_pause_s
from migrator.model.plan_policy import PlanPolicy
from migrator.model.units import counted, format_seconds


def way_notes(pairs: Iterable[tuple[NodeFacts, NodeFacts]], policy: PlanPolicy) -> Iterator[str]:
    """Notes on the moves of a plan, given as source and target of each."""
    taken = [(policy.way(source, target), memory_way(source, target)) for source, target in pairs]
    whole = counted(len(taken), "move")
    untold = sum(way == "stream" != sure.name for way, sure in taken)
    if untold:
        yield (
            f"memory way: {untold} of {whole} counted as streamed, though a node does not tell whether it can "
            "(memory_way: images in the policy counts images instead)"
        )
    by_images = [sure.why for way, sure in taken if way == "images"]
    if by_images:
        yield f"memory way: {len(by_images)} of {whole} by images; {by_images[0]}"
    if policy.mode == Mode.RESTART:
        yield f"mode: restart for all; {_restarts(policy)}"
        return
    allowed = {mode for each in policy.allow for mode in each.modes}
    if Mode.RESTART in allowed:
        yield f"mode: restart for those that the policy allows it and that cannot be dumped; {_restarts(policy)}"
    if policy.mode == Mode.POST_COPY or Mode.POST_COPY in allowed:
        which = "all" if policy.mode == Mode.POST_COPY else "those that the policy allows it"
        yield f"mode: post-copy for {which}; pauses are predicted as for stop-and-copy, which are longer"


def _restarts(policy: PlanPolicy) -> str:
    longest = format_seconds(restart_pause_s(policy.stop_timeout_s))
    return (
        f"{ANEW}, connections end, and a pause lasts up to {longest} where the container takes all of its "
        f"{format_seconds(policy.stop_timeout_s)} to end; sizes and pauses are predicted as for stop-and-copy"
    )
