"""Virtual machines as nodes: kernels of their own, real reboots, and nothing of them is left."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from migrator.errors import BadInput
from migrator.lab import cgroup
from migrator.lab import lab as labs
from migrator.lab.network import netns_exists
from migrator.lab.paths import LABS, LabPaths
from tests.lab.stage import MIGRATOR, Stage

UP_TIMEOUT_S = 300


def test_each_machine_has_the_kernel_that_was_asked_for_and_its_own_cgroups(up: Stage) -> None:
    for node, series in (("n1", "6.1."), ("n2", "6.12.")):
        assert up.on_node(node, "uname", "-r").out.startswith(series)
        assert "memory" in up.on_node(node, "cat", "/sys/fs/cgroup/cgroup.controllers").out.split()
    boots = {node: up.on_node(node, "cat", "/proc/sys/kernel/random/boot_id").out for node in up.spec.nodes}
    assert len(set(boots.values())) == 2


def test_what_is_up_stays_as_it_is_when_the_lab_is_asked_for_again(up: Stage) -> None:
    before = labs.status(up.paths)
    assert labs.up(up.paths, 2, ("6.12", "6.1")) == up.spec
    assert labs.status(up.paths) == before
    with pytest.raises(BadInput, match="virtual machines"):
        labs.up(up.paths, 2)


def test_the_facts_of_a_machine_say_that_it_tracks_dirty_memory(up: Stage) -> None:
    nodes = up.ok("nodes", "--json").json()["nodes"]
    assert ["mem_dirty_track" in node["features"] for node in nodes] == [True, True]
    assert ["map_droppable" in node["features"] for node in nodes] == [False, True]
    assert [node["cgroup_version"] for node in nodes] == [2, 2]
    assert nodes[0]["cpu_flags"] == nodes[1]["cpu_flags"]


def test_a_reboot_ends_what_runs_and_keeps_what_is_on_disk(up: Stage) -> None:
    up.on_node("n1", "sh", "-c", "echo kept > /var/lib/migrator/x; echo gone > /run/x")
    before = {row.name: row.boot_id for row in labs.status(up.paths)}
    up.ok("lab", "reboot", "n1", "--name", up.paths.name)
    after = {row.name: row.boot_id for row in labs.status(up.paths)}
    assert after["n1"] not in (before["n1"], "-")
    assert after["n2"] == before["n2"]
    assert up.on_node("n1", "sh", "-c", "cat /var/lib/migrator/x /run/x; rm /var/lib/migrator/x").out == "kept\n"


def test_a_crashed_machine_is_off_until_it_is_booted(up: Stage) -> None:
    up.on_node("n2", "sh", "-c", "echo kept > /var/lib/migrator/x; sync")
    labs.crash(up.paths, "n2")
    assert [(row.name, row.up) for row in labs.status(up.paths)] == [("n1", True), ("n2", False)]
    with pytest.raises(BadInput, match="is down"):
        labs.exec_argv(up.paths, "n2", ["true"])
    labs.boot(up.paths, "n2")
    assert up.on_node("n2", "sh", "-c", "cat /var/lib/migrator/x; rm /var/lib/migrator/x").out == "kept\n"


def test_a_lab_whose_up_was_killed_can_be_removed_whole() -> None:
    paths = LabPaths.of(f"w{os.getpid()}")
    group = paths.cgroup(cgroup.root())
    try:
        program = subprocess.Popen([*MIGRATOR, "lab", "up", "--name", paths.name, "--vms", "1"], start_new_session=True)
        deadline = time.monotonic() + UP_TIMEOUT_S
        while not cgroup.populated(group) and program.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        assert program.poll() is None, "it came up before it could be killed"
        os.killpg(program.pid, signal.SIGKILL)
        program.wait(10)
        assert cgroup.populated(group), "the machine went with it, and there is nothing to be removed"
    finally:
        labs.down(paths)
    assert not group.exists()
    assert not netns_exists(paths.switch_netns)
    assert not (LABS / paths.name).exists()
    assert str(paths.dir) not in Path("/proc/mounts").read_text()
