"""Are two machines alike enough for a container to go on? Each check by name, by the checker's own reading of facts."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from migrator.model.facts import ContainerFacts, NodeFacts
from migrator.model.plan_policy import INODES_MIN

# What a plan may say that it does without. All else is found whatever it says: nothing could run there.
MAY_BE_WAIVED = frozenset(
    {
        "cpu-features",
        "cpu-state",
        "cgroup-controllers",
        "criu-version",
        "runtime-version",
        "kernel-features",
        "lsm",
        "filesystem-features",
        "inodes",
    }
)
Named = Iterator[tuple[str, str]]


def unlike(source: NodeFacts, container: ContainerFacts, target: NodeFacts, waived: Collection[str]) -> Iterator[str]:
    """Why the container cannot run on the target, machine by machine, but for what is waived."""
    without = MAY_BE_WAIVED.intersection(waived)
    for check in (_hardware, _software, _kernel, _disk):
        for name, why in check(source, target):
            if name not in without:
                yield why
    if container.runtime == "crun" and "crun" not in target.features:
        yield "it has no crun that can restore, and the container is crun's"
    for need in () if "kernel-features" in without else container.needs:
        if need not in target.features:
            yield f"its kernel has no {need}, which processes of the container use"


def _hardware(source: NodeFacts, target: NodeFacts) -> Named:
    if target.arch != source.arch:
        yield "architecture", f"it is {target.arch}, not {source.arch}"
    lacking = [flag for flag in source.cpu_flags if flag not in target.cpu_flags]
    if lacking:
        yield "cpu-features", f"its CPU has no {', '.join(lacking)}"
    saved, kept = _mask(source.cpu_state), _mask(target.cpu_state)
    if saved and kept and saved | kept != kept:
        yield "cpu-state", f"its CPU keeps registers by {kept:#x}, not by {saved:#x}"


def _software(source: NodeFacts, target: NodeFacts) -> Named:
    tools = {"criu": target.criu, "runc": target.runc, "rsync": target.rsync}
    for tool, installed in tools.items():
        if installed == "":
            yield "tools", f"it has no {tool}"
    if target.criu and _numbers(target.criu) < _numbers(source.criu):
        yield "criu-version", f"its CRIU {target.criu} is older than {source.criu}"
    if target.runc and _numbers(target.runc) < _numbers(source.runc):
        yield "runtime-version", f"its runc {target.runc} is older than {source.runc}"


def _kernel(source: NodeFacts, target: NodeFacts) -> Named:
    has_python = source.stream_out[:6] != "Python"
    if source.cgroup_version == 1 and target.cgroup_version == 2 and not has_python:
        yield "cgroup-version", "its cgroups are of version 2, and the source has version 1 and no Python"
    for controller in sorted(set(source.controllers) - set(target.controllers)):
        if controller in ("cpu", "memory", "pids"):
            yield "cgroup-controllers", f"its cgroups have no controller {controller}"
    for feature in sorted(set(source.features) - set(target.features)):
        if feature in ("userns", "timens", "network_lock_nftables"):
            yield "kernel-features", f"its kernel or CRIU has no {feature}"
    for module in sorted(set(source.lsm) - set(target.lsm)) if target.lsm else ():
        if module in ("apparmor", "selinux", "smack"):
            yield "lsm", f"its kernel runs without {module}"


def _disk(source: NodeFacts, target: NodeFacts) -> Named:
    for feature in ("overlay", "xattr", "idmap"):
        if feature in source.filesystem and f"no-{feature}" in target.filesystem:
            yield "filesystem-features", f"its disk for containers has no {feature}"
    if not any(bridge == target.bridge for bridge in target.bridges):
        yield "bridge", f"it has no bridge {target.bridge}"
    if target.inodes_available < INODES_MIN:
        yield "inodes", f"it has {target.inodes_available} inodes free"


def _mask(told: str) -> int:
    """Of "xfeatures=0xe7 xsave=2696" the first number; 0 for what is told in no such way."""
    key, _, rest = told.partition("=0x")
    digits = rest.partition(" ")[0]
    if key != "xfeatures" or not digits or len(digits) > 16 or set(digits) - set("0123456789abcdef"):
        return 0
    return int(digits, 16)


def _numbers(version: str) -> list[int]:
    """ "4.2-rc1" is [4, 2]: what comes after the first part that is no number is not compared."""
    numbers = []
    for part in version.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
        if digits != part:
            break
    return numbers
