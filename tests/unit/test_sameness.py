"""Each check of two machines: what fails it, what passes, what is not told, and whether it is waived."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from migrator.checker.check import check
from migrator.checker.findings import Code
from migrator.checker.machines import MAY_BE_WAIVED, unlike
from migrator.model.compatibility import differences, differences_in_files, lacks, machine_of
from migrator.model.matrix import Verdict, compare, kinds
from migrator.model.plan import Plan, Refusal
from migrator.model.plan_policy import PlanPolicy
from migrator.model.sameness import CHECKS, CRIU_CHECK, FIRM, WAIVABLE, state_components
from migrator.planner.drain import drain
from migrator.runtime.kit.cpuinfo import told
from tests.properties.fleets import cluster, ct, node

TOLD: dict[str, Any] = {
    "cpu_state": "xfeatures=0xe7 xsave=2696",
    "controllers": ("cpu", "io", "memory", "pids"),
    "lsm": ("lockdown", "capability", "apparmor"),
    "filesystem": ("ext4", "overlay", "idmap", "xattr", "reflink"),
    "kernel": "6.12.0",
}
# Without Python nothing leaves the first version out of images.
OLD: dict[str, Any] = {"cgroup_version": 1, "stream_out": "Python 3.10 or newer is not there; install python3"}
# By name: what makes a target fail, and what makes it another one that passes.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "architecture": ({"arch": "aarch64"}, {"arch": "x86_64"}),
    "cpu-features": ({"cpu_flags": ("aes",)}, {"cpu_flags": ("aes", "avx2", "avx512f")}),
    "cpu-state": ({"cpu_state": "xfeatures=0x7 xsave=832"}, {"cpu_state": "xfeatures=0x2e7 xsave=2696"}),
    "cgroup-version": ({"cgroup_version": 2}, {"cgroup_version": 1}),
    "cgroup-controllers": ({"controllers": ("cpu", "pids")}, {"controllers": ("cpu", "memory", "pids")}),
    "tools": ({"criu": ""}, {"rsync": "3.4.1"}),
    "criu-version": ({"criu": "4.2"}, {"criu": "4.3"}),
    "runtime-version": ({"runc": "1.1.14"}, {"runc": "1.3.6+ds1"}),
    "kernel-features": ({"features": ("timens",)}, {"features": ("timens", "userns", "pagemap_scan")}),
    "lsm": ({"lsm": ("lockdown", "capability")}, {"lsm": ("capability", "apparmor", "bpf")}),
    "filesystem-features": (
        {"filesystem": ("xfs", "overlay", "no-idmap", "xattr", "reflink")},
        {"filesystem": ("ext4", "overlay", "idmap", "xattr", "no-reflink")},
    ),
    "bridge": ({"bridges": ("br1",)}, {"bridges": ("br0", "br1")}),
    "inodes": ({"inodes_available": 9}, {"inodes_available": 10_000}),
}
NAMES = sorted(CASES)
SOURCE = node("n1", ct("a"), **TOLD, **OLD)


def other(**facts: Any):
    return node("n2", **(TOLD | OLD | facts))


def verdicts(target, *waived: str) -> dict[str, Verdict]:
    return {row.check: row.verdict for row in compare(SOURCE, target, waived)}


def test_every_check_has_its_case_and_a_name_of_its_own():
    assert [check.name for check in CHECKS if check.name not in ("kernel", "runtime")] == list(CASES)
    assert {*WAIVABLE, *FIRM} == {*CASES, "runtime", CRIU_CHECK}
    assert not set(WAIVABLE) & set(FIRM)


def test_the_checker_lets_the_same_be_waived():
    assert set(WAIVABLE) - MAY_BE_WAIVED == {CRIU_CHECK}  # which only the nodes can answer
    assert set(WAIVABLE) >= MAY_BE_WAIVED


@pytest.mark.parametrize("name", NAMES)
def test_a_target_that_fails_a_check_fails_that_one_alone(name: str):
    found = verdicts(other(**CASES[name][0]))
    assert [check for check, verdict in found.items() if verdict is Verdict.REFUSED] == [name]
    (why,) = differences(SOURCE, other(**CASES[name][0]))
    assert why.endswith(f", or --waive {name}") == (name in WAIVABLE)
    (seen,) = unlike(SOURCE, SOURCE.containers[0], other(**CASES[name][0]), ())
    assert seen


@pytest.mark.parametrize("name", NAMES)
def test_a_target_that_has_more_passes(name: str):
    target = other(**CASES[name][1])
    assert Verdict.REFUSED not in verdicts(target).values()
    assert list(differences(SOURCE, target)) == list(unlike(SOURCE, SOURCE.containers[0], target, ())) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_waiver_lifts_its_check_where_something_could_work_and_no_other(name: str):
    target = other(**CASES[name][0])
    lifted = Verdict.WAIVED if name in WAIVABLE else Verdict.REFUSED
    assert verdicts(target, name)[name] is lifted
    assert any(differences(SOURCE, target, [name])) == any(unlike(SOURCE, SOURCE.containers[0], target, [name]))
    assert any(differences(SOURCE, target, [name])) == (name in FIRM)
    others = [waivable for waivable in WAIVABLE if waivable != name]
    assert any(differences(SOURCE, target, others))
    assert any(unlike(SOURCE, SOURCE.containers[0], target, others))


@pytest.mark.parametrize("name", NAMES)
def test_the_planner_and_the_checker_keep_a_waiver_and_agree_without_one(name: str):
    fleet = cluster(SOURCE, other(**CASES[name][0]))
    assert isinstance(drain(fleet, ["n1"], "-", PlanPolicy()), Refusal)
    under = PlanPolicy(checks_waived=(name,))
    made = drain(fleet, ["n1"], "-", under)
    if name in FIRM:
        assert isinstance(made, Refusal)
        return
    assert isinstance(made, Plan)
    assert made.policy.checks_waived == (name,)
    assert check(fleet, made, made.policy) == ()
    strict = replace(made, policy=PlanPolicy())
    assert {finding.code for finding in check(fleet, strict, strict.policy)} == {Code.INCOMPATIBLE}


@pytest.mark.parametrize("name", sorted(set(FIRM) - {"runtime"}))
def test_a_plan_that_says_it_does_without_what_it_cannot_is_found_out(name: str):
    made = drain(cluster(SOURCE, other()), ["n1"], "-", PlanPolicy())
    assert isinstance(made, Plan)
    forged = replace(made, policy=PlanPolicy(checks_waived=(name,)))
    found = check(cluster(SOURCE, other(**CASES[name][0])), forged, forged.policy)
    assert {finding.code for finding in found} == {Code.INCOMPATIBLE}


def test_either_version_of_cgroups_goes_to_the_other_from_a_node_that_has_python():
    for source, target in ((1, 2), (2, 1)):
        has = replace(SOURCE, cgroup_version=source, stream_out="yes")
        assert list(differences(has, other(cgroup_version=target))) == []
        assert list(unlike(has, SOURCE.containers[0], other(cgroup_version=target), ())) == []
    assert list(differences(replace(SOURCE, cgroup_version=2), other(cgroup_version=1))) == []


def test_an_init_that_divides_its_group_is_planned_to_version_2_alone_and_the_checker_holds_it_so():
    made = ct("a")
    mine = replace(made, descriptor=replace(made.descriptor, init="systemd"))
    divides, old, new = node("n1", mine), node("n2", cgroup_version=1), node("n3", cgroup_version=2)
    assert isinstance(drain(cluster(divides, old), ["n1"], "-", PlanPolicy()), Refusal)
    plan = drain(cluster(divides, old, new), ["n1"], "-", PlanPolicy())
    assert isinstance(plan, Plan)
    assert [move.target for move in plan.moves] == ["n3"]
    forged = replace(plan, moves=tuple(replace(move, target="n2") for move in plan.moves))
    fleet = cluster(divides, old, new)
    assert Code.INCOMPATIBLE in {finding.code for finding in check(fleet, forged, forged.policy)}
    assert Code.INCOMPATIBLE not in {finding.code for finding in check(fleet, plan, plan.policy)}


@pytest.mark.parametrize("fact", ["cpu_state", "lsm", "filesystem"])
def test_what_one_side_does_not_tell_keeps_nothing_apart_and_is_shown_as_such(fact: str):
    silent = replace(SOURCE, name="n2", **{fact: type(getattr(SOURCE, fact))()})
    found = verdicts(silent)
    assert Verdict.UNKNOWN in found.values()
    assert Verdict.REFUSED not in found.values()
    assert list(unlike(SOURCE, SOURCE.containers[0], silent, ())) == []


def test_a_kernel_of_another_version_differs_and_is_no_reason():
    assert verdicts(other(kernel="6.1.0"))["kernel"] is Verdict.DIFFERS


def test_what_the_processes_use_counts_for_their_container_alone_and_is_waived_with_kernel_features():
    uses = ct("a", needs=("map_droppable",))
    rows = {row.check: row for row in compare(SOURCE, other(), (), uses)}
    assert rows["kernel-features"].verdict is Verdict.REFUSED
    assert "a uses map_droppable" in rows["kernel-features"].source
    assert list(lacks(uses, other())) == list(rows["kernel-features"].against)
    waived = ["kernel-features"]
    assert list(lacks(uses, other(), waived)) == list(unlike(SOURCE, uses, other(), waived)) == []
    assert verdicts(other())["kernel-features"] is Verdict.SAME


def test_a_container_of_a_runtime_that_is_not_there_fails_that_check_and_no_waiver_lifts_it():
    made = ct("a")
    mine = replace(made, descriptor=replace(made.descriptor, runtime="crun"))
    has = other(features=("crun", "timens", "userns"))
    waived = ["runtime", "kernel-features"]
    rows = {row.check: row for row in compare(SOURCE, other(), waived, mine)}
    assert (rows["runtime"].verdict, rows["kernel-features"].verdict) == (Verdict.REFUSED, Verdict.SAME)
    assert list(rows["runtime"].against) == list(lacks(mine, other(), waived))
    assert {row.check: row for row in compare(SOURCE, has, (), mine)}["runtime"].verdict is Verdict.DIFFERS
    assert [row.verdict for row in compare(SOURCE, other(), (), made) if row.check == "runtime"] == [Verdict.SAME]
    assert list(unlike(SOURCE, mine, other(), waived)) != list(unlike(SOURCE, mine, has, ())) == []


def test_what_begins_anew_needs_no_cpu_no_criu_and_no_kernel_as_before_but_an_architecture_and_files():
    for name in ("cpu-features", "cpu-state", "criu-version", "kernel-features", "lsm", "cgroup-version", "tools"):
        assert list(differences_in_files(SOURCE, other(**CASES[name][0]))) == []
    for name in ("architecture", "filesystem-features", "bridge", "inodes"):
        assert len(list(differences_in_files(SOURCE, other(**CASES[name][0])))) == 1


@pytest.mark.parametrize("name", NAMES)
def test_nodes_that_differ_in_what_is_compared_are_of_two_kinds(name: str):
    strange = other(**CASES[name][0])
    assert machine_of(strange) != machine_of(other())
    found = kinds([SOURCE, replace(strange, name="n4"), other(), node("n3", error="no answer")])
    assert [kind.name for kind in found] == ["n1 +1", "n4"]


def test_nodes_that_differ_in_nothing_that_is_compared_are_of_one_kind():
    more = replace(other(bridges=(*SOURCE.bridges, "br7")), name="n4")  # one more than is asked for
    assert [kind.name for kind in kinds([SOURCE, other(), more])] == ["n1 +2"]


@pytest.mark.parametrize("words", ["", "xfeatures=0x", "xfeatures=7", "xfeatures=0x" + "f" * 17, "xsave=3", "rubbish"])
def test_a_node_that_tells_of_its_registers_in_no_way_that_is_known_tells_nothing(words: str):
    assert state_components(words) is None
    assert list(differences(SOURCE, other(cpu_state=words))) == []
    assert list(unlike(SOURCE, SOURCE.containers[0], other(cpu_state=words), ())) == []


def test_crius_image_of_a_cpu_is_read():
    def varint(key: int, value: int) -> bytes:
        digits = []
        while value > 0x7F:
            digits.append(value & 0x7F | 0x80)
            value >>= 7
        return bytes([key << 3, *digits, value])

    name = b"\x3a\x08AMD EPYC"  # field 7, the model's name
    entry = varint(1, 2) + varint(6, 1 << 31) + varint(6, 5) + name + varint(8, 0x2E7) + varint(9, 2696)
    message = bytes([0x0A, len(entry)]) + entry
    image = b"\0" * 8 + len(message).to_bytes(4, "little") + message
    assert told(image) == "xfeatures=0x2e7 xsave=2696"
    assert told(b"\0" * 12) == ""
