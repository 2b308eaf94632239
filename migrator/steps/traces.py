"""What steps leave on the nodes, by which one is known to have happened after its reply was lost.

Several leave nothing that a node tells of. Such a step is known by the next that does: nothing is frozen before all is
checked, reserved and seeded, nothing is held before dump and last pass are complete, nothing is sealed before the
held copy was compared. So nothing is ever taken for done that was not; the other way round it is done again.
"""

from __future__ import annotations

from migrator.model.observation import Observation


def leased(source: Observation, target: Observation) -> bool:
    return source.run != "-" and target.state != "absent"


def frozen(source: Observation, target: Observation) -> bool:
    return source.state in ("fenced", "sealed")


def held(source: Observation, target: Observation) -> bool:
    return target.holds


def sealed(source: Observation, target: Observation) -> bool:
    return source.state == "sealed"


def released(source: Observation, target: Observation) -> bool:
    return target.state in ("released", "serving")


def filled(source: Observation, target: Observation) -> bool:
    return target.state == "serving" or (target.state == "released" and target.same_boot and target.memory == "none")


def source_removed(source: Observation, target: Observation) -> bool:
    return source.state == "absent"


def settled(source: Observation, target: Observation) -> bool:
    return target.state == "serving" and target.run == "-"
