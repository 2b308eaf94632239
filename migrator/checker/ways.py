"""How the memory of each move goes, by the checker's own reading of the facts, and what it takes meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from migrator.model.estimate import Estimate, Manner, estimate_move
from migrator.model.facts import Cluster, ContainerFacts, NodeFacts
from migrator.model.modes import AUTO, Mode
from migrator.model.plan_policy import IMAGE_MARGIN_BYTES, STREAM_KEPT_BYTES, PlanPolicy
from migrator.model.rates import Rates, Way


def streams(source: NodeFacts, target: NodeFacts, policy: PlanPolicy) -> bool:
    """Whether memory is streamed between these nodes: both can, or the policy takes it so of one that says nothing."""
    for said in (source.stream_out, target.stream_in):
        if said not in ("yes", ""):
            return False
    return policy.memory_way == "stream" or (source.stream_out == "yes" and target.stream_in == "yes")


def rates_by_facts(source: NodeFacts, target: NodeFacts, policy: PlanPolicy) -> Rates:
    """What a move between these nodes is to be estimated with; neither memory nor files are sent faster than is let."""
    way: Way = "stream" if streams(source, target, policy) else "images"
    rates, most = policy.rates_unbounded(source.name, target.name, way), policy.bandwidth_bytes_per_s
    if most is not None and rates.send_bytes_per_s > most:
        rates = replace(rates, send_bytes_per_s=most)
    if most is not None and rates.files_bytes_per_s > most:
        rates = replace(rates, files_bytes_per_s=most)
    return rates


def speeds_by_facts(cluster: Cluster) -> Callable[[str, str], list[int]]:
    """Asked for two nodes, tells how fast each shared link is that pages cross between them: one with just one of the
    nodes behind it, where its speed that way is told.
    """
    outwards: dict[str, dict[str, int | None]] = {}
    inwards: dict[str, dict[str, int | None]] = {}
    for link in cluster.links:
        for node in link.nodes:
            outwards.setdefault(node, {})[link.name] = link.up_bytes_per_s
            inwards.setdefault(node, {})[link.name] = link.down_bytes_per_s

    def between(source: str, target: str) -> list[int]:
        left, entered = outwards.get(source, {}), inwards.get(target, {})
        crossed = [speed for name, speed in left.items() if name not in entered]
        crossed += [speed for name, speed in entered.items() if name not in left]
        return [speed for speed in crossed if speed is not None]

    return between


def expected(
    container: ContainerFacts, source: NodeFacts, target: NodeFacts, policy: PlanPolicy, shared: Iterable[int]
) -> tuple[Mode, Estimate]:
    """The mode that a move is to be counted with, and what it is to be estimated at.

    One that is asked for holds for all. Else a container is paused for all of its memory, unless the policy lets its
    memory follow, both nodes can stream, and that pause is the shorter one.
    """
    rates, names = rates_by_facts(source, target, policy), [policy.mode]
    if policy.mode == AUTO:
        names = [Mode.STOP_AND_COPY]
        labels = container.descriptor.labels if container.descriptor else {}
        if streams(source, target, policy) and container.descriptor is not None:
            names += [m for m in policy.modes_allowed(container.name, labels) if m == Mode.POST_COPY]
    written = policy.written_bytes_per_s.get(container.name)
    found = []
    for name in names:
        manner = Manner(Mode(name), policy.stop_timeout_s, policy.target_blackout_s, written_bytes_per_s=written)
        found.append((manner.mode, estimate_move(container, source.link, target.link, rates, shared, manner)))
    return min(found, key=lambda each: each[1].blackout_s)


def lying_at_target_bytes(container: ContainerFacts, streamed: bool, asked: str) -> int:
    """Memory beside the restored: all of it once more as images, or what streamed pages may wait for their process.

    By the mode that is asked for: rounds of pre-copy lie there with half as much again, a restart brings nothing.
    """
    if asked == Mode.RESTART:
        return IMAGE_MARGIN_BYTES
    if asked == Mode.PRE_COPY:
        return IMAGE_MARGIN_BYTES + 3 * container.anon_bytes // 2
    if not streamed:
        return container.anon_bytes + IMAGE_MARGIN_BYTES
    pages_bytes = max(0, container.anon_bytes - container.tmpfs_bytes)
    waiting_bytes = pages_bytes if pages_bytes < STREAM_KEPT_BYTES else STREAM_KEPT_BYTES
    return IMAGE_MARGIN_BYTES + waiting_bytes + container.tmpfs_bytes


def lying_at_source_bytes(container: ContainerFacts, streamed: bool, asked: str) -> int:
    """Memory beside the container's own: its images, or of streamed memory their small rest and files in memory."""
    if asked == Mode.RESTART:
        return IMAGE_MARGIN_BYTES
    return IMAGE_MARGIN_BYTES + (container.tmpfs_bytes if streamed else container.anon_bytes)
