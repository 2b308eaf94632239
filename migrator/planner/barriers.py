"""What keeps a container from a node whatever else moves: the machines, what is there, a pause that is too long.

Theory. A refusal in a large fleet asks this of every container and every node. Nodes are of few kinds, and for a
container all of one kind are alike but for what is on them; so only that is asked of each node.
"""

from __future__ import annotations

from collections import defaultdict

from migrator.model.compatibility import differences, lacks, machine_of, obstacles
from migrator.model.facts import NodeFacts
from migrator.model.links import Crossings
from migrator.model.plan_policy import PlanPolicy
from migrator.model.predict import predict
from migrator.model.units import format_seconds
from migrator.planner.placement import Mover

Against = tuple[tuple[str, ...], tuple[str, ...], float]  # texts on the machine, texts on the pause, the pause in s


class Barriers:
    """Asked of pairs of one cluster, under one policy; of a node there may be several with other containers."""

    def __init__(self, policy: PlanPolicy, crossings: Crossings) -> None:
        self.policy, self._crossings = policy, crossings
        self._learnt = {name for targets in policy.learnt.values() for name in targets}
        self._kinds: dict[object, int] = {}
        self._nodes: dict[int, _There] = {}
        self._alike: dict[tuple[object, object], tuple[str, ...]] = {}
        self._known: dict[tuple[str, str, int], Against] = {}

    def against(self, mover: Mover, target: NodeFacts) -> tuple[str, ...]:
        """Why this node cannot take this container, a text each; empty if nothing is against it."""
        if target.error:
            return (f"no answer: {target.error}",)
        if target.cordon is not None:
            return (f"cordoned (by {target.cordon})",)
        there = self._nodes.get(id(target)) or self._seen(target)
        known = self._of_kind(mover, target, there.kind)
        if not there.concerns(mover):
            return known[0] + known[1]
        return (*known[0], *obstacles(mover.descriptor, target), *known[1])

    def pause_s(self, mover: Mover, target: NodeFacts) -> float:
        """The predicted pause of a move to this node, which has to answer."""
        there = self._nodes.get(id(target)) or self._seen(target)
        return self._of_kind(mover, target, there.kind)[2]

    def _of_kind(self, mover: Mover, target: NodeFacts, kind: int) -> Against:
        """What all nodes of the target's kind have against this container, and the pause of a move to one."""
        key = (mover.name, mover.source.name, kind)
        if key not in self._known:
            self._known[key] = self._asked(mover, target)
        return self._known[key]

    def _asked(self, mover: Mover, target: NodeFacts) -> Against:
        pair = (machine_of(mover.source), machine_of(target))
        if pair not in self._alike:
            self._alike[pair] = tuple(differences(mover.source, target, self.policy.checks_waived))
        machine, pause_s, limit_s = self._alike[pair], self._predicted_s(mover, target), self.policy.blackout_s_max
        if mover.container.needs or mover.container.runtime != "runc":
            machine += tuple(lacks(mover.container, target, self.policy.checks_waived))
        if pause_s <= limit_s:
            return machine, (), pause_s
        predicted, limit = format_seconds(pause_s), format_seconds(limit_s)
        text = f"its pause is predicted at {predicted}, over the limit of {limit}; allow it with --max-blackout"
        return machine, (text,), pause_s

    def _predicted_s(self, mover: Mover, target: NodeFacts) -> float:
        source = mover.source
        shared = self._crossings.speeds(source.name, target.name)
        return predict(mover.container, source, target, self.policy, shared).blackout_s

    def _seen(self, node: NodeFacts) -> _There:
        own = node.name if node.name in self._learnt else ""
        kind = (machine_of(node), node.kernel, node.link, node.stream_in, own, self._crossings.behind(node.name))
        there = _There(node, self._kinds.setdefault(kind, len(self._kinds)))
        self._nodes[id(node)] = there
        return there


class _There:
    """A node of some kind, and what is on it, to know quickly whether that may be in a container's way."""

    def __init__(self, node: NodeFacts, kind: int) -> None:
        self.node, self.kind = node, kind  # the node is kept, so that its id stays its own
        self.names = {container.name for container in node.containers}
        self.ranges: dict[int, set[str]] = defaultdict(set)
        self.publishes = False
        for container in node.containers:
            if container.descriptor is not None:
                self.ranges[container.descriptor.id_index].add(container.name)
                self.publishes = self.publishes or bool(container.descriptor.published)

    def concerns(self, mover: Mover) -> bool:
        """Whether a name, a range of user ids, volumes, devices, bridges, ports or groups are to be looked at."""
        ct = mover.descriptor
        if ct.nics or ct.init != "plain" or (ct.published and self.publishes):
            return True
        if mover.name in self.names or ct.volumes or ct.devices:
            return True
        return ct.id_index in self.ranges and bool(self.ranges[ct.id_index] - {mover.name})
