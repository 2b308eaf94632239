"""How the memory of each move goes, by the checker's own reading of the facts, and what it takes meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from migrator.model.facts import Cluster, ContainerFacts, NodeFacts
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


def lying_at_target_bytes(container: ContainerFacts, streamed: bool) -> int:
    """Memory beside the restored: all of it once more as images, or what streamed pages may wait for their process."""
    if not streamed:
        return container.anon_bytes + IMAGE_MARGIN_BYTES
    return IMAGE_MARGIN_BYTES + (
        container.anon_bytes if container.anon_bytes < STREAM_KEPT_BYTES else STREAM_KEPT_BYTES
    )


def lying_at_source_bytes(container: ContainerFacts, streamed: bool) -> int:
    """Memory beside the container's own: its images, or of streamed memory their small rest."""
    return IMAGE_MARGIN_BYTES if streamed else container.anon_bytes + IMAGE_MARGIN_BYTES
