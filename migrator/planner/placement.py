"""One step of planning, pure: a node that may take containers, and a container -> that node later, or why not."""

from __future__ import annotations

from dataclasses import dataclass, replace

from migrator.model.container import Descriptor
from migrator.model.facts import ContainerFacts, NodeFacts, Resources
from migrator.model.plan_policy import PlanPolicy
from migrator.model.ports import taken_by
from migrator.model.ranges import must_not_meet
from migrator.planner.room import Load, kept, room_of, shortfall, stay_of, transit_in, usable


@dataclass(frozen=True, slots=True)
class Mover:
    """A container that has to leave its node."""

    container: ContainerFacts
    descriptor: Descriptor
    source: NodeFacts

    @property
    def name(self) -> str:
        return self.container.name

    @property
    def turn(self) -> tuple[int, str]:
        """Sorts movers as they start: those with much memory first, since room beside what has come only gets less."""
        return (-self.container.anon_bytes, self.name)


@dataclass(frozen=True, slots=True)
class Site:
    """A node that may take containers, and those that come to it, in the order in which they do.

    `used` is against limits, by all that is there or comes; `groups` says for each label and value that must be
    alone who has it.
    """

    node: NodeFacts
    room: Load
    usable: Resources
    policy: PlanPolicy
    used: Resources
    groups: dict[tuple[str, str], str]
    comers: tuple[Mover, ...] = ()

    @classmethod
    def of(cls, node: NodeFacts, policy: PlanPolicy) -> Site:
        """The node before anything moves."""
        groups = {
            group: f"{container.name} of group {'='.join(group)} is there"
            for container in node.containers
            if container.descriptor
            for group in _groups(container.descriptor, policy)
        }
        return cls(node, room_of(node, policy), usable(node, policy), policy, node.reserved, groups)

    def lacks(self, mover: Mover) -> str:
        """What keeps one more container from coming, of all that the others there change; empty if nothing does."""
        for group in _groups(mover.descriptor, self.policy):
            if group in self.groups:
                return f"anti-affinity: {self.groups[group]}"
        for comer in self.comers:
            if must_not_meet(mover.descriptor, comer.descriptor):
                return f"container {comer.name} with the same range of user ids comes there"
            if taken := taken_by(mover.descriptor.published, comer.descriptor.published):
                return f"container {comer.name} with the same published port {taken} comes there"
        coming = Load()
        for comer in self._with(mover):
            coming = coming + stay_of(comer.container)
            lacking = shortfall(coming + self._transit(comer), self.room)
            if lacking:
                return self._said(lacking)
        return ""

    def short(self, mover: Mover) -> Load:
        """The room that is missing for one more container, at the worst of the moments at which one comes."""
        coming, most = Load(), Load()
        for comer in self._with(mover):
            coming = coming + stay_of(comer.container)
            most = most.over((coming + self._transit(comer)) - self.room)
        return most

    def place(self, mover: Mover) -> Site:
        """The site with one more container coming, which has to fit."""
        groups = {
            group: f"{mover.name} of group {'='.join(group)} comes there"
            for group in _groups(mover.descriptor, self.policy)
        }
        return replace(
            self,
            used=self.used + mover.container.reserved,
            groups=self.groups | groups,
            comers=self._with(mover),
        )

    def utilisation(self, mover: Mover) -> float:
        """Use of the fullest resource once this container has come; 1.0 is all but the headroom."""
        used = self.used + mover.container.reserved
        return max(
            _share(used.cpu_milli, self.usable.cpu_milli),
            _share(used.memory_bytes, self.usable.memory_bytes),
            _share(used.disk_bytes, self.usable.disk_bytes),
        )

    def _transit(self, comer: Mover) -> Load:
        return transit_in(comer.container, self.policy.way(comer.source, self.node), self.policy.mode)

    def _with(self, mover: Mover) -> tuple[Mover, ...]:
        return tuple(sorted((*self.comers, mover), key=lambda m: m.turn))

    def _said(self, lacking: str) -> str:
        free = f" ({kept(self.policy)})" if kept(self.policy) else ""
        names = sorted(comer.name for comer in self.comers)
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        return f"{lacking}{free}, with {', '.join(names[:3])}{more} coming" if names else f"{lacking}{free}"


def _groups(descriptor: Descriptor, policy: PlanPolicy) -> list[tuple[str, str]]:
    return [(key, descriptor.labels[key]) for key in policy.anti_affinity if key in descriptor.labels]


def _share(used: int, whole: int) -> float:
    return used / whole if whole > 0 else float(used > 0)
