"""How memory is taken to go, in words, where that is not plain: by images, or by nodes that do not tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from migrator.model.facts import NodeFacts
from migrator.model.memory_way import memory_way
from migrator.model.modes import ANEW, Mode
from migrator.model.plan_policy import PlanPolicy
from migrator.model.rates import DEFAULT_RATES
from migrator.model.rounds import WRITTEN_BYTES_PER_S_MAX, WRITTEN_SHARE_PER_S
from migrator.model.units import counted, format_bytes, format_rate, format_seconds

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
        guess = f"{WRITTEN_SHARE_PER_S:.0%} of it a second, at most {format_bytes(WRITTEN_BYTES_PER_S_MAX)}"
        yield (
            "mode: pre-copy for all; pauses and rounds are predicted by how fast each container was seen to write its "
            f"memory ({guess}, where nobody has), and while it moves its target has to keep one and a half times that "
            "memory beside it"
        )
    if policy.mode == Mode.POST_COPY or Mode.POST_COPY in allowed:
        shorter = "those that the policy allows it and that it pauses for less"
        which = "all" if policy.mode == Mode.POST_COPY else shorter
        yield (
            f"mode: post-copy for {which}; its memory follows after the pause, and is lost with a node or a link that "
            "fails until it has"
        )


def _restarts(policy: PlanPolicy) -> str:
    longest = format_seconds(policy.stop_timeout_s + DEFAULT_RATES["stream"].constant_s(Mode.RESTART))
    told = "" if policy.mode == Mode.RESTART else "; sizes and pauses are predicted as if they could be"
    return (
        f"{ANEW}, connections end, and a pause lasts up to {longest} where the container takes all of its "
        f"{format_seconds(policy.stop_timeout_s)} to end{told}"
    )
