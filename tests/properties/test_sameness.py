"""Planner and checker read the checks of machines by codes that share nothing, and come to the same."""

from __future__ import annotations

from dataclasses import fields, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from migrator.checker.machines import unlike
from migrator.checker.pairs import machine_looks
from migrator.model.compatibility import differences, lacks, machine_of
from migrator.model.facts import NodeFacts
from migrator.model.sameness import FIRM, WAIVABLE
from tests.properties.fleets import ct, node


def some(*words: str) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(words), unique=True).map(lambda found: tuple(sorted(found)))


MACHINES = st.builds(
    lambda **facts: node("n1", **facts),
    arch=st.sampled_from(["x86_64", "aarch64"]),
    cpu_flags=some("aes", "avx", "avx2"),
    cpu_state=st.sampled_from(["", "xfeatures=0x7 xsave=832", "xfeatures=0xe7 xsave=2696", "xfeatures=0x", "rubbish"]),
    cgroup_version=st.sampled_from([1, 2]),
    stream_out=st.sampled_from(["", "yes", "Python 3.10 or newer is not there; install python3", "pipes are small"]),
    controllers=some("cpu", "io", "memory", "pids"),
    criu=st.sampled_from(["", "4.2", "4.2.1", "4.10-rc1", "git"]),
    runc=st.sampled_from(["", "1.1.15+ds1", "1.3"]),
    rsync=st.sampled_from(["", "3.4"]),
    features=some("timens", "userns", "network_lock_nftables", "pagemap_scan", "map_droppable", "crun"),
    lsm=some("capability", "apparmor", "selinux", "bpf"),
    filesystem=some("ext4", "overlay", "no-overlay", "xattr", "no-idmap", "idmap", "no-reflink"),
    bridges=some("br0", "br1"),
    inodes_available=st.sampled_from([0, 9_999, 10_000]),
)


@settings(max_examples=1000, deadline=None, derandomize=True)
@given(
    MACHINES,
    MACHINES,
    some(*WAIVABLE, *FIRM),
    st.booleans(),
    some("map_droppable"),
)
def test_what_keeps_a_container_from_a_node_for_one_does_for_the_other(
    source: NodeFacts, target: NodeFacts, waived: tuple[str, ...], by_crun: bool, needs: tuple[str, ...]
) -> None:
    container = ct("a", needs=needs)
    assert container.descriptor is not None
    if by_crun:
        container = replace(container, descriptor=replace(container.descriptor, runtime="crun"))
    planned = [*differences(source, target, waived), *lacks(container, target, waived)]
    assert bool(planned) == any(unlike(source, container, target, waived))
    lifted = [*differences(source, target, WAIVABLE), *lacks(container, target, WAIVABLE)]
    assert bool(planned) >= bool(lifted)
    assert any(lifted) == any(unlike(source, container, target, WAIVABLE))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(MACHINES, MACHINES, MACHINES, st.sampled_from([one.name for one in fields(NodeFacts) if one.name != "name"]))
def test_nodes_that_are_folded_to_one_kind_have_the_same_against_every_other(
    one: NodeFacts, another: NodeFacts, other: NodeFacts, field: str
) -> None:
    two = replace(one, **{field: getattr(another, field)})
    if machine_of(one) == machine_of(two):
        assert list(differences(one, other)) == list(differences(two, other))
        assert list(differences(other, one)) == list(differences(other, two))
    if machine_looks(one) == machine_looks(two):
        container = ct("a")
        assert list(unlike(other, container, one, ())) == list(unlike(other, container, two, ()))


def test_a_machine_is_as_good_as_itself() -> None:
    whole = node("n1", features=("crun", "timens", "userns"))
    assert list(differences(whole, whole)) == list(unlike(whole, ct("a"), whole, ())) == []
