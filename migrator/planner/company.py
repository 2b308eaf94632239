"""Who must not be on a node together with whom, as things that no two of them may both have there."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from migrator.model.facts import Cluster
from migrator.model.plan_policy import PlanPolicy
from migrator.model.ports import Port
from migrator.model.ranges import kept_ranges
from migrator.planner.movers import groups_of
from migrator.planner.placement import Mover


@dataclass(frozen=True, slots=True)
class Company:
    """What has to be known of a whole cluster for it: the ranges of ids that cannot be shifted, and the ports that
    containers publish, by what they take.
    """

    kept: frozenset[int] = frozenset()
    ports: Mapping[str, Collection[Port]] = field(default_factory=dict)

    @classmethod
    def of(cls, cluster: Cluster) -> Company:
        """That of a cluster."""
        held = [c.descriptor for node in cluster.nodes for c in node.containers if c.descriptor]
        ports: dict[str, dict[str, Port]] = {}
        for port in (port for ct in held for port in ct.published):
            ports.setdefault(port.taken, {})[port.host_ip] = port
        return cls(kept_ranges(cluster), {taken: tuple(at.values()) for taken, at in ports.items()})

    def apart(self, mover: Mover, policy: PlanPolicy) -> frozenset[object]:
        """What a container must not share with another on a node.

        A port is told as every published one that it would meet, so that two that meet share one at least.
        """
        ct = mover.descriptor
        ranges = {ct.id_index} & self.kept
        ports = {other.at for mine in ct.published for other in self.ports.get(mine.taken, ()) if mine.meets(other)}
        return frozenset({*groups_of(ct, policy), *ranges, *ports})


ANYBODY = Company()  # where only rooms are asked for
