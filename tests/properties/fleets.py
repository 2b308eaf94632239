"""Fleets for tests: builders with few words, and strategies that make tight, infeasible and marked ones."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from migrator.model.container import Descriptor
from migrator.model.facts import Cluster, ContainerFacts, Link, NodeFacts, Resources
from migrator.model.plan_policy import Headroom, PlanPolicy

BY_IMAGES: dict[str, Any] = {"stream_out": "it has no Python 3.10", "stream_in": "userfaultfd is for root alone"}
MIB = 1 << 20
GIB = 1 << 30


def node(name: str, *containers: ContainerFacts, **given: Any) -> NodeFacts:
    """A node of 4 CPUs, 8 GiB and 100 GiB unless told otherwise: `memory=`, `cpu_milli=`, `disk=`, or any fact."""
    capacity = Resources(given.pop("cpu_milli", 4000), given.pop("memory", 8 * GIB), given.pop("disk", 100 * GIB))
    facts: dict[str, Any] = {
        "capacity": capacity,
        "boot_id": f"boot-of-{name}",
        "arch": "x86_64",
        "cpu_flags": ("aes", "avx2"),
        "cgroup_version": 2,
        "criu": "4.2.1",
        "runc": "1.1.15",
        "features": ("timens", "userns"),
        "rsync": "3.2.7",
        "bridges": ("br0",),
        "templates": {"debian": "sha256:t1"},
        "memory_bytes": capacity.memory_bytes,
        "memory_available_bytes": capacity.memory_bytes,
        "disk_bytes": capacity.disk_bytes,
        "disk_available_bytes": capacity.disk_bytes,
        "inodes_available": 1_000_000,
        "stream_out": "yes",
        "stream_in": "yes",
    }
    return NodeFacts(name=name, containers=tuple(containers), **(facts | given))


def ct(name: str, index: int = 0, labels: dict[str, str] | None = None, **given: Any) -> ContainerFacts:
    """A running container of 0.1 CPU, 256 MiB limit with 100 MiB in use, 1 GiB disk unless told otherwise."""
    demand = Resources(given.pop("cpu_milli", 100), given.pop("memory", 256 * MIB), given.pop("disk", GIB))
    number = index or 16 + sum(name.encode())
    descriptor = Descriptor(
        name=name,
        template="debian",
        template_digest="sha256:t1",
        command=("sleep", "1000000"),
        address=f"10.0.{number // 250}.{number % 250 + 1}/16",
        id_index=number,
        memory_bytes=demand.memory_bytes,
        cpu_milli=demand.cpu_milli,
        disk_bytes=demand.disk_bytes,
        labels=labels or {},
    )
    facts: dict[str, Any] = {
        "state": "serving",
        "token": 3,
        "generation": 2,
        "alive": True,
        "run": "-",
        "reserved": demand,
        "rss_bytes": 110 * MIB,
        "anon_bytes": 100 * MIB,
        "files_bytes": 50 * MIB,
        "descriptor": descriptor,
    }
    return ContainerFacts(name=name, **(facts | given))


def cluster(*nodes: NodeFacts) -> Cluster:
    return Cluster("test", tuple(sorted(nodes, key=lambda n: n.name)))


UNIT = 64 * MIB  # the images' margin: fleets in these units are tight in interesting ways


@st.composite
def _containers(draw: st.DrawFn, index: int, counts: st.SearchStrategy[int]) -> list[ContainerFacts]:
    made = []
    for place in range(draw(counts)):
        limit = draw(st.integers(1, 4)) * UNIT
        group = draw(st.sampled_from([*[""] * 6, "a", "b"]))
        anon_bytes = draw(st.integers(0, 4)) * limit // 4
        made.append(
            ct(
                f"c{index}-{place}",
                100 * (index + 1) + place,
                labels={"anti-affinity": group} if group else {},
                memory=limit,
                cpu_milli=draw(st.sampled_from([100, 500, 1000])),
                anon_bytes=anon_bytes,
                tmpfs_bytes=min(anon_bytes, draw(st.sampled_from([0, 0, 16])) * MIB),
                files_bytes=draw(st.integers(0, 3)) * GIB // 4,
            )
        )
    return made


@st.composite
def fleets(draw: st.DrawFn, nodes_max: int, leaving: st.SearchStrategy[int], held: st.SearchStrategy[int]) -> Cluster:
    """From two nodes to `nodes_max`; n0 is the one to drain. Some others are cordoned, silent or of another kind."""
    made = []
    roomy = draw(st.integers(1, 3))  # how much more there is than what makes most fleets infeasible
    by_images = draw(st.booleans())
    for index in range(draw(st.integers(2, nodes_max))):
        containers = draw(_containers(index, held if index else leaving))
        used = sum(c.reserved.memory_bytes for c in containers)
        room = draw(st.integers(0, 14)) * roomy * UNIT
        facts: dict[str, Any] = {
            "cpu_milli": draw(st.sampled_from([2000, 4000])) * roomy,
            "memory": used + room,
            "link": Link(*draw(st.sampled_from([(None, None), (125_000_000, 125_000_000), (12_500_000, None)]))),
            "memory_available_bytes": draw(st.integers(3, 20)) * roomy * UNIT,
            "disk_available_bytes": draw(st.integers(1, 8)) * roomy * GIB // 4,
        }
        if by_images:
            facts |= BY_IMAGES
        elif draw(st.integers(0, 3)) == 0:  # some do not tell, and some can only send, or only receive
            facts |= {draw(st.sampled_from(["stream_out", "stream_in"])): draw(st.sampled_from(["", "it cannot"]))}
        if index:
            kind = draw(st.sampled_from(["", "", "", "", "", "cordoned", "silent", "old"]))
            facts |= {
                "": {},
                "cordoned": {"cordon": "operator"},
                "silent": {"error": "no answer"},
                "old": {"criu": "3.19"},
            }[kind]
        made.append(node(f"n{index}", *containers, **facts))
    return cluster(*made)


small_fleets = fleets(4, st.integers(0, 5), st.integers(0, 2))
larger_fleets = fleets(7, st.integers(3, 12), st.integers(0, 2))
policies = st.builds(
    PlanPolicy,
    memory_way=st.sampled_from(["stream", "images"]),
    headroom_percent=st.sampled_from([0, 5]),
    blackout_s_max=st.sampled_from([1.2, 15.0, 15.0]),
    moves_per_node_max=st.integers(1, 3),
    headroom=st.sampled_from([Headroom(), Headroom(), Headroom(cpu=0, memory=10), Headroom(cpu=25, disk=50)]),
)


@st.composite
def just_feasible_fleets(draw: st.DrawFn) -> Cluster:
    """Nodes with exactly the room for some arrangement of n0's containers, found by choosing it first."""
    leaving = draw(_containers(0, st.integers(1, 7)))
    homes = [draw(st.integers(1, 3)) for _ in leaving]
    facts = draw(st.sampled_from([{}, BY_IMAGES]))
    made = [node("n0", *leaving, **facts)]
    for index in (1, 2, 3):
        coming, held = [c for c, home in zip(leaving, homes, strict=True) if home == index], []
        groups = {group_of(c) for c in coming}
        if len(groups - {""}) < len([c for c in coming if group_of(c)]):
            coming = []  # two of a group cannot share a node: this node is closed by having no room at all
        elif draw(st.booleans()) and "a" not in groups:
            held = [ct(f"d{index}", 900 + index, labels={"anti-affinity": "a"})]
        taken = [c.reserved for c in (*coming, *held)]
        most = 64 * GIB if facts else 256 * MIB  # of a container's memory that lies beside what has come
        by_image = sorted((c.anon_bytes for c in coming), reverse=True)
        first_to_last = sorted(coming, key=lambda c: -c.anon_bytes)
        peaks = [
            sum(c.reserved.memory_bytes for c in first_to_last[: place + 1]) + min(anon_bytes, most) + UNIT
            for place, anon_bytes in enumerate(by_image)
        ]
        made.append(
            node(
                f"n{index}",
                *held,
                cpu_milli=sum(r.cpu_milli for r in taken),
                memory=max(peaks, default=0) + sum(c.reserved.memory_bytes for c in held),
                disk=sum(r.disk_bytes for r in taken),
                memory_available_bytes=100 * GIB,
                disk_available_bytes=100 * GIB,
                **facts,
            )
        )
    return cluster(*made)


def group_of(container: ContainerFacts) -> str:
    assert container.descriptor is not None
    return container.descriptor.labels.get("anti-affinity", "")


def named(wishes: dict[str, str]) -> str:
    """The intent of moves that are asked for by name."""
    return " ".join(("move", *(f"{name}={wishes[name]}" for name in sorted(wishes))))
