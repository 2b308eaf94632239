"""What is compared of two machines before a container goes from one to the other, check by check, each with a name.

Theory. A restored process goes on where it was: with the CPU, the kernel and the tools that it and CRIU found at its
start. So the target has to have what the source has, wherever a program or an image may depend on it; more does no
harm. Nobody can ask a program which features of a CPU it has chosen code for, so all that the source shows to programs
count as in use. A check is passed where one side does not tell (an older kit, an importer's snapshot): what is not
known is shown as such, and keeps nothing apart. Who knows better can waive a check by its name, but those where nothing
could work: `firm` says why.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from migrator.model.facts import NodeFacts
from migrator.model.plan_policy import INODES_MIN

TOOLS = ("criu", "runc", "rsync")
RESTORES = ("network_lock_nftables", "timens", "userns")  # without which an image is not restored
CONTROLLERS = ("cpu", "memory", "pids")  # which a container's limits are kept by
LSMS = ("apparmor", "selinux", "smack")  # of which a process has a label that CRIU dumps and sets
FILES = ("overlay", "xattr", "idmap")  # without which a container's files would not be as they were
KERNEL_FEATURES = "kernel-features"
RUNTIME = "runtime"
CRIU_CHECK = "criu-check"

Against = Callable[[NodeFacts, NodeFacts], Iterator[str]]


@dataclass(frozen=True, slots=True)
class Check:
    """`value` is what a node has, in words, empty where it does not tell; `against` what keeps a target from being one.

    `firm` is why no waiver lifts it. `anew` is whether it is asked for a container that begins anew there.
    """

    name: str
    value: Callable[[NodeFacts], str]
    against: Against
    firm: str = ""
    anew: bool = False


def _architecture(source: NodeFacts, target: NodeFacts) -> Iterator[str]:
    if source.arch != target.arch:
        yield f"architecture {target.arch} is not {source.arch}; choose a node of the same"


def _cpu_features(source: NodeFacts, target: NodeFacts) -> Iterator[str]:
    missing = sorted(set(source.cpu_flags) - set(target.cpu_flags))
    if missing:
        yield f"its CPU lacks {', '.join(missing[:6])}, which programs may use; choose a node with the same features"


def _cpu_state(source: NodeFacts, target: NodeFacts) -> Iterator[str]:
    ours, theirs = state_components(source.cpu_state), state_components(target.cpu_state)
    if ours is None or theirs is None:
        return
    if lacking := ours & ~theirs:
        yield (
            f"CRIU's cpuinfo: its CPU keeps no XSAVE components {lacking:#x}, which those of a dumped process may be; "
            "choose a node with the same features"
        )


def state_components(told: str) -> int | None:
    """The mask of "xfeatures=HEX xsave=BYTES", as CRIU's cpuinfo tells it; None where a node does not."""
    match = re.match(r"xfeatures=(0x[0-9a-f]{1,16})(?: |$)", told)
    return int(match[1], 16) if match else None


def _never(source: NodeFacts, target: NodeFacts) -> Iterator[str]:
    """Of a kernel what matters is asked by feature, and whether CRIU works on it by CRIU; of runtimes it is which one a
    container is made by (compatibility.py).
    """
    yield from ()


def _kernel_features(source: NodeFacts, target: NodeFacts) -> Iterator[str]:
    absent = [name for name in RESTORES if name in source.features and name not in target.features]
    if absent:
        yield f"its kernel or CRIU cannot do {', '.join(absent)}, which the source uses; upgrade them"


def _tools(source: NodeFacts, target: NodeFacts) -> Iterator[str]:
    for tool in TOOLS:
        if not getattr(target, tool):
            yield f"{tool} is not installed there; install it"


def _older(name: str, tool: str) -> Against:
    def against(source: NodeFacts, target: NodeFacts) -> Iterator[str]:
        ours, theirs = getattr(source, tool), getattr(target, tool)
        if theirs and version(theirs) < version(ours):
            yield f"{name} {theirs} is older than the source's {ours}; upgrade it"

    return against


def _cgroup_version(source: NodeFacts, target: NodeFacts) -> Iterator[str]:
    """What CRIU notes of groups of the first version is left out by the source, with Python (noted_groups.py)."""
    if (source.cgroup_version, target.cgroup_version) == (1, 2) and source.stream_out.startswith("Python"):
        yield f"its cgroups are of version 2, and {source.name} has version 1 and no Python; install python3 there"


def _cgroup_controllers(source: NodeFacts, target: NodeFacts) -> Iterator[str]:
    absent = [name for name in CONTROLLERS if name in source.controllers and name not in target.controllers]
    if absent:
        yield f"its cgroups have no controller {', '.join(absent)}, by which limits are kept; enable it"


def _lsm(source: NodeFacts, target: NodeFacts) -> Iterator[str]:
    absent = [name for name in LSMS if name in source.lsm and name not in target.lsm]
    if target.lsm and absent:
        yield f"its kernel runs without {', '.join(absent)}, whose labels processes may have; boot it with the same"


def _filesystem_features(source: NodeFacts, target: NodeFacts) -> Iterator[str]:
    absent = [name for name in FILES if name in source.filesystem and f"no-{name}" in target.filesystem]
    if absent:
        yield f"its disk for containers cannot do {', '.join(absent)}, which the source's can; use another filesystem"


def _bridge(source: NodeFacts, target: NodeFacts) -> Iterator[str]:
    if target.bridge not in target.bridges:
        yield f"bridge {target.bridge} is not there; make it, or name another in the cluster file"


def _inodes(source: NodeFacts, target: NodeFacts) -> Iterator[str]:
    if target.inodes_available < INODES_MIN:
        yield f"{target.inodes_available} inodes are free, {INODES_MIN} are wanted; delete files there"


def _cpu_words(node: NodeFacts) -> str:
    return " ".join(sorted(node.cpu_flags))


def _tool_words(node: NodeFacts) -> str:
    return ", ".join(tool for tool in TOOLS if getattr(node, tool))


def _runtime_words(node: NodeFacts) -> str:
    return ", ".join([*(["runc"] if node.runc else []), *(["crun"] if "crun" in node.features else [])])


def _feature_words(node: NodeFacts) -> str:
    return ", ".join(sorted(node.features))


def _inode_words(node: NodeFacts) -> str:
    return f"{INODES_MIN} or more" if node.inodes_available >= INODES_MIN else str(node.inodes_available)


CHECKS = (
    Check(
        "architecture",
        lambda node: node.arch,
        _architecture,
        firm="programs of one architecture do not run on another",
        anew=True,
    ),
    Check("cpu-features", _cpu_words, _cpu_features),
    Check("cpu-state", lambda node: node.cpu_state, _cpu_state),
    Check(
        "cgroup-version",
        lambda node: str(node.cgroup_version or ""),
        _cgroup_version,
        firm="CRIU would look for cgroups of the version that its images name",
    ),
    Check("cgroup-controllers", lambda node: ", ".join(node.controllers), _cgroup_controllers),
    Check("tools", _tool_words, _tools, firm="nothing is restored or brought by what is not installed", anew=True),
    Check(RUNTIME, _runtime_words, _never, firm="a container is made and restored by its own runtime alone"),
    Check("criu-version", lambda node: node.criu, _older("CRIU", "criu")),
    Check("runtime-version", lambda node: node.runc, _older("runc", "runc")),
    Check("kernel", lambda node: node.kernel, _never),
    Check(KERNEL_FEATURES, _feature_words, _kernel_features),
    Check("lsm", lambda node: ", ".join(node.lsm), _lsm),
    Check("filesystem-features", lambda node: ", ".join(node.filesystem), _filesystem_features, anew=True),
    Check(
        "bridge",
        lambda node: node.bridge if node.bridge in node.bridges else "",
        _bridge,
        firm="a container would have no network",
        anew=True,
    ),
    Check("inodes", _inode_words, _inodes, anew=True),
)
FIRM = {check.name: check.firm for check in CHECKS if check.firm}
# One more that only the nodes can answer, when a move is about to begin: whether CRIU works on the target's kernel.
WAIVABLE = (*(check.name for check in CHECKS if not check.firm and check.name != "kernel"), CRIU_CHECK)


def failing(
    source: NodeFacts, target: NodeFacts, waived: Collection[str] = (), anew: bool = False
) -> Iterator[tuple[str, str]]:
    """Each check that keeps containers of one from the other and is not waived: its name, and why with what to do."""
    for check in CHECKS:
        if (check.name in waived and not check.firm) or (anew and not check.anew):
            continue
        for why in check.against(source, target):
            if anew and why.startswith("criu "):
                continue  # nothing is restored
            yield check.name, offered(check.name, why)


def offered(name: str, why: str) -> str:
    """What is against a move, with its waiver where there is one."""
    return why if name in FIRM else f"{why}, or --waive {name}"


def version(text: str) -> tuple[int, ...]:
    """The leading numbers of a version, for comparing: "4.2.1-rc2" is (4, 2, 1)."""
    match = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in match[0].split(".")) if match else ()
