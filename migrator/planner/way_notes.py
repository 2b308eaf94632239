"""How memory is taken to go, in words, where that is not plain: by images, or by nodes that do not tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from migrator.model.facts import NodeFacts
from migrator.model.memory_way import memory_way
from migrator.model.modes import ANEW, Mode, restart_pause_s
from migrator.model.plan_policy import PlanPolicy
from migrator.model.units import counted, format_rate, format_seconds

REASONS_MAX = 8
MEMORY_WAY = "memory way: "


def way_notes(pairs: Iterable[tuple[NodeFacts, NodeFacts]], policy: PlanPolicy) -> Iterator[str]:
    """Notes on the moves of a plan, given as source and target of each."""
    taken = [(policy.way(source, target), memory_way(source, target)) for source, target in pairs]
    whole = counted(len(taken), "move")
    untold = sum(way == "stream" != sure.name for way, sure in taken)
    if untold:
        yield (
            f"{MEMORY_WAY}{untold} of {whole} counted as streamed, though a node does not tell whether it can "
            "(memory_way: images in the policy counts images instead)"
        )
    by_images = Counter(sure.why for way, sure in taken if way == "images")
    if by_images:
        reasons = list(by_images)
        more = f", and {len(reasons) - REASONS_MAX} more reasons" if len(reasons) > REASONS_MAX else ""
        yield f"{MEMORY_WAY}{by_images.total()} of {whole} by images; {'; '.join(reasons[:REASONS_MAX])}{more}"
    if taken and policy.bandwidth_bytes_per_s is not None:
        yield f"bandwidth: each move sends at most {format_rate(policy.bandwidth_bytes_per_s)}, and is predicted so"
    if policy.mode == Mode.RESTART:
        yield f"mode: restart for all; {_restarts(policy)}"
        return
    allowed = {mode for each in policy.allow for mode in each.modes}
    if Mode.RESTART in allowed:
        yield f"mode: restart for those that the policy allows it and that cannot be dumped; {_restarts(policy)}"
    if policy.mode == Mode.PRE_COPY:
        yield (
            "mode: pre-copy for all; pauses are predicted as for stop-and-copy, which are longer, and what rounds keep "
            "on targets is not counted here: each move asks for it before it begins"
        )
    if policy.mode == Mode.POST_COPY or Mode.POST_COPY in allowed:
        which = "all" if policy.mode == Mode.POST_COPY else "those that the policy allows it"
        yield f"mode: post-copy for {which}; pauses are predicted as for stop-and-copy, which are longer"


def _restarts(policy: PlanPolicy) -> str:
    longest = format_seconds(restart_pause_s(policy.stop_timeout_s))
    return (
        f"{ANEW}, connections end, and a pause lasts up to {longest} where the container takes all of its "
        f"{format_seconds(policy.stop_timeout_s)} to end; sizes and pauses are predicted as for stop-and-copy"
    )
