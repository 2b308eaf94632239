"""Labs come up, survive crashes, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from migrator.errors import BadInput
from migrator.lab import cgroup
from migrator.lab import lab as labs
from migrator.lab.guard import start_guard
from migrator.lab.paths import LABS, LabPaths


@pytest.fixture
def other() -> Iterator[LabPaths]:
    paths = LabPaths.of(f"o{os.getpid()}")
    guard = start_guard(paths.name)
    yield paths
    labs.down(paths)
    guard.dismiss()


def traces(paths: LabPaths) -> set[str]:
    """Everything on this machine that bears the lab's name or its kind."""
    found = {str(path) for path in Path("/run/netns").glob(f"*{paths.name}*")}
    found |= {str(path) for path in LABS.glob(paths.name)}
    trees = (cgroup.root(), *(each.mount for each in cgroup.hierarchies()))
    found |= {str(group) for tree in trees if (group := paths.cgroup(tree)).exists()}
    found |= {line for line in Path("/proc/mounts").read_text().splitlines() if f"/{paths.name}/" in line}
    processes = subprocess.run(["ps", "axo", "args"], capture_output=True, text=True, check=True).stdout
    found |= {line for line in processes.splitlines() if f"/{paths.name}/" in line}
    return found


def links() -> set[str]:
    return {path.name for path in Path("/sys/class/net").iterdir()}


def test_up_and_down_may_be_repeated_and_leave_nothing(other: LabPaths) -> None:
    before = links()
    labs.down(other)
    labs.up(other, 2)
    boots = [node.boot_id for node in labs.status(other)]
    labs.up(other, 2)
    assert [node.boot_id for node in labs.status(other)] == boots
    assert all(node.up for node in labs.status(other))
    labs.down(other)
    labs.down(other)
    assert traces(other) == set()
    assert links() == before


def test_a_crashed_node_keeps_its_disk_and_boots_with_a_new_id(other: LabPaths) -> None:
    labs.up(other, 1)
    first = labs.status(other)[0].boot_id
    write = labs.exec_argv(other, "n1", ["sh", "-c", "echo kept > /var/lib/migrator/x; echo gone > /run/x; sync"])
    subprocess.run(write, check=True, timeout=20)
    labs.crash(other, "n1")
    assert not labs.status(other)[0].up
    with pytest.raises(BadInput, match=r"node n1 of lab .* is down"):
        labs.exec_argv(other, "n1", ["true"])
    labs.up(other, 1)
    read = labs.exec_argv(other, "n1", ["sh", "-c", "cat /var/lib/migrator/x /run/x"])
    assert subprocess.run(read, capture_output=True, text=True, timeout=20, check=False).stdout == "kept\n"
    assert labs.status(other)[0].boot_id != first


def test_labs_stand_beside_each_other(other: LabPaths, stage: object) -> None:
    spec = labs.up(other, 1)
    others = {labs.load(LabPaths(path.parent.name)).subnet_index for path in LABS.glob("*/lab.json")}
    assert spec.subnet_index in others
    assert len(others) == len(list(LABS.glob("*/lab.json")))


def test_link_speed_is_shaped_both_ways(other: LabPaths) -> None:
    labs.up(other, 1, link_mbit=80)
    inside = subprocess.run(
        ["tc", "-n", other.node_netns("n1"), "qdisc", "show", "dev", "eth0"], capture_output=True, text=True, check=True
    )
    outside = subprocess.run(
        ["tc", "-n", other.switch_netns, "qdisc", "show", "dev", "n1"], capture_output=True, text=True, check=True
    )
    assert "rate 80Mbit" in inside.stdout
    assert "rate 80Mbit" in outside.stdout
    assert "80Mbit" in other.cluster_file.read_text()


FIRST = pytest.mark.skipif(
    not any(each.controllers == "memory" for each in cgroup.hierarchies()),
    reason="this machine mounts no cgroup v1 hierarchies, so no node can have some",
)


@FIRST
def test_a_node_with_version_1_has_a_group_in_each_hierarchy_until_it_is_down(other: LabPaths) -> None:
    labs.up(other, 2, cgroups=("hybrid", "v2"))
    with pytest.raises(BadInput, match="has other control groups, and keeps them"):
        labs.up(other, 2, cgroups=("legacy",))
    for each in cgroup.hierarchies():
        has = {name: other.node_cgroup(each.mount, name).exists() for name in ("n1", "n2")}
        assert has == {"n1": True, "n2": False}, each
    inside = subprocess.run(
        labs.exec_argv(other, "n1", ["cat", "/proc/self/cgroup"]), capture_output=True, text=True, check=True
    ).stdout
    assert {line.split(":", 2)[2] for line in inside.splitlines() if not line.startswith("0::")} == {"/"}
    labs.crash(other, "n1")
    assert not any(other.node_cgroup(each.mount, "n1").exists() for each in cgroup.hierarchies())
    labs.up(other, None)
    assert all(other.node_cgroup(each.mount, "n1").exists() for each in cgroup.hierarchies())
    labs.down(other)
    assert traces(other) == set()


@pytest.mark.parametrize("cgroups", ["v2", pytest.param("hybrid", marks=FIRST)])
def test_a_guard_ends_the_lab_of_a_process_that_was_killed(other: LabPaths, cgroups: str) -> None:
    program = (
        "import os, signal, sys; from migrator.lab import lab; from migrator.lab.guard import start_guard; "
        "from migrator.lab.paths import LabPaths; guard = start_guard(sys.argv[1]); "
        "lab.up(LabPaths.of(sys.argv[1]), 1, cgroups=sys.argv[2:]); print(guard.pid, flush=True); "
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, other.name, cgroups], capture_output=True, timeout=60, check=False
    )
    assert done.returncode == -signal.SIGKILL
    subprocess.run(["timeout", "30", "tail", "-f", "/dev/null", f"--pid={int(done.stdout)}", "-s", "0.05"], check=True)
    assert traces(other) == set()


@pytest.mark.parametrize("name", ["", "UPPER", "a/b", "-x", "x" * 17, "a b"])
def test_a_bad_name_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match="--name"):
        LabPaths.of(name)
