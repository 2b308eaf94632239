"""A container whose first process is systemd: what it asks of a node, and how it is asked to end."""

from __future__ import annotations

import base64
import importlib
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from migrator.errors import BadInput
from migrator.executor.wanted import Wanted
from migrator.inventory.snapshot import to_document
from migrator.model.compatibility import obstacles
from migrator.model.container import Descriptor, fault
from migrator.model.facts import Cluster, ContainerFacts, NodeFacts, Resources
from migrator.runtime import bundle
from migrator.transport import kit
from tests.unit.test_bundle import WEB, config

BOX = replace(WEB, init="systemd", command=("/sbin/init",))
WORDS: dict[str, Any] = {
    **{"name": "box", "template": "debian", "ips": ("10.0.0.7",), "gateways": (), "memory": "256M", "cpus": 1.0},
    **{"disk": "1G", "user": None, "labels": (), "env": ()},
}


def files(ct: Descriptor) -> dict[str, bytes]:
    return bundle.files(ct, "/kit", "br0", ())


def test_systemd_finds_a_writable_control_group_and_no_more_rights_than_others_have() -> None:
    made = config(BOX)
    mounts = {mount["destination"]: mount for mount in made["mounts"]}
    assert "rw" in mounts["/sys/fs/cgroup"]["options"]
    assert "container=migrator" in made["process"]["env"]
    assert made["process"]["capabilities"] == config(WEB)["process"]["capabilities"]
    assert made["linux"]["seccomp"] == config(WEB)["linux"]["seccomp"]


def test_a_plain_container_gets_neither() -> None:
    assert "/sys/fs/cgroup" not in [mount["destination"] for mount in config(WEB)["mounts"]]
    assert files(WEB).keys().isdisjoint(("init", "stop-signal"))


def test_a_node_is_told_the_number_of_the_signal() -> None:
    assert files(BOX)["init"] == b"systemd\n"
    assert files(BOX)["stop-signal"] == f"{signal.SIGRTMIN + 3}\n".encode()
    assert files(replace(BOX, stop_signal="INT"))["stop-signal"] == b"2\n"
    assert files(replace(WEB, stop_signal="QUIT"))["stop-signal"] == b"3\n"
    assert "init" not in files(replace(WEB, stop_signal="QUIT"))


@pytest.mark.parametrize("written", ["RTMIN+3", "SIGRTMIN+3", "sigrtmin+3"])
def test_a_signal_may_be_written_as_people_do(written: str) -> None:
    assert Wanted.parse(**WORDS, command=("a",), stop_signal=written).stop_signal == "RTMIN+3"


@pytest.mark.parametrize("written", ["", "KILL", "STOP", "37", "RTMIN+31", "RTMIN+03", "TERM\n", "x" * 500])
def test_what_asks_no_program_to_end_is_refused(written: str) -> None:
    with pytest.raises(BadInput, match="--stop-signal"):
        Wanted.parse(**WORDS, command=("a",), stop_signal=written)
    assert not written or fault(replace(WEB, stop_signal=written)) == "stop_signal"


def test_systemd_is_the_command_unless_another_is_given() -> None:
    assert Wanted.parse(**WORDS, command=(), init="systemd").command == ("/sbin/init",)
    assert Wanted.parse(**WORDS, command=("/lib/systemd/systemd",), init="systemd").command == ("/lib/systemd/systemd",)
    with pytest.raises(BadInput, match="COMMAND"):
        Wanted.parse(**WORDS, command=())


def test_systemd_is_not_made_by_crun() -> None:
    with pytest.raises(BadInput, match="crun"):
        Wanted.parse(**WORDS, command=(), init="systemd", runtime="crun")


def test_systemd_is_not_started_as_another_user() -> None:
    with pytest.raises(BadInput, match="--user"):
        Wanted.parse(**WORDS | {"user": "www-data"}, command=(), init="systemd")


def test_a_node_with_groups_of_version_1_does_not_take_it() -> None:
    for version, ways in ((1, 1), (2, 0)):
        node = NodeFacts(name="n2", cgroup_version=version)
        found = [why for why in obstacles(BOX, node) if "control group" in why]
        assert len(found) == ways
        assert not [why for why in obstacles(WEB, node) if "control group" in why]


def test_a_snapshot_without_such_a_container_is_as_it_was() -> None:
    def told(ct: Descriptor) -> str:
        held = ContainerFacts("web", "serving", 1, 1, True, "-", Resources(0, 0, 0), descriptor=ct)
        return str(to_document(Cluster("c", (NodeFacts(name="n1", containers=(held,)),))))

    assert "stop_signal" not in told(WEB)
    assert "'init': 'systemd'" in told(BOX)


def test_its_descriptor_survives_its_file() -> None:
    assert TypeAdapter(Descriptor).validate_json(bundle.descriptor_json(BOX)) == BOX


# --- the kit -------------------------------------------------------------------------------------------------------


def sh(tmp_path: Path, script: str) -> str:
    prelude = f"KIT={kit.SCRIPTS}; . {kit.SCRIPTS}/lib.sh; TREE={tmp_path}/cgroup CONTAINERS={tmp_path}/containers; "
    done = subprocess.run(["sh", "-c", prelude + script], capture_output=True, text=True, timeout=20, check=False)
    assert done.stderr == ""
    return done.stdout


def tree(tmp_path: Path, groups: dict[str, str], delegated: bool) -> None:
    (tmp_path / "containers/box").mkdir(parents=True)
    for name, pids in groups.items():
        (tmp_path / "cgroup/ct/box" / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "cgroup/ct/box" / name / "cgroup.procs").write_text(pids)
    if delegated:
        (tmp_path / "containers/box/init").write_text("systemd\n")


def test_processes_in_groups_below_are_found_whatever_the_groups_are_called(tmp_path: Path) -> None:
    tree(tmp_path, {"": "", "init.scope": "1\n", "a b/$(reboot) *": "7\n8\n"}, delegated=True)
    assert sorted(sh(tmp_path, "pids_of box").split()) == ["1", "7", "8"]


def test_a_container_that_cannot_have_groups_below_is_asked_in_one_place(tmp_path: Path) -> None:
    tree(tmp_path, {"": "5\n6\n"}, delegated=False)
    assert sh(tmp_path, "pids_of box").split() == ["5", "6"]
    assert sh(tmp_path, "pids_of gone") == ""


def test_it_has_processes_as_long_as_the_kernel_says_so(tmp_path: Path) -> None:
    tree(tmp_path, {"": ""}, delegated=True)
    for populated, answer in (("1", "yes"), ("0", "no")):
        (tmp_path / "cgroup/ct/box/cgroup.events").write_text(f"populated {populated}\nfrozen 0\n")
        assert sh(tmp_path, "has_processes box && echo yes || echo no").strip() == answer
    assert sh(tmp_path, "has_processes gone && echo yes || echo no").strip() == "no"


@pytest.mark.parametrize("number", [2, 15, signal.SIGRTMIN + 3, signal.SIGRTMAX])
def test_a_signal_that_is_blocked_for_a_signalfd_is_heard(tmp_path: Path, number: int) -> None:
    script = f"import signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, [{number}]); print(flush=True)"
    script += "; sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        asked = f"hears {process.pid} {{}} && echo yes || echo no"
        assert sh(tmp_path, asked.format(number)).strip() == "yes"
        assert sh(tmp_path, asked.format(signal.SIGRTMIN + 4)).strip() == "no"
        process.kill()


HOSTILE = """1048576 1048576 system.slice
1048576 1048576 system.slice/a b\\x2d.service
1048576 1048576 ../../escaped
1048576 1048576 system.slice/../../../escaped
1048576 1048576 /escaped
1048576 1048576 ..
0 0 of-the-nodes-root
x y escaped
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="files are given away")
def test_a_restore_gives_its_root_what_is_below_its_group_and_not_the_limits_of_that(tmp_path: Path) -> None:
    tree(tmp_path, {"": "", "init.scope": "1\n"}, delegated=True)
    images, group = tmp_path / "run/move/box.7/images", tmp_path / "cgroup/ct/box"
    images.mkdir(parents=True)
    (images / "groups.img").write_text("1048576 1048576 init.scope\n")
    (group / "memory.max").write_text("1\n")
    sh(tmp_path, f"RUN={tmp_path}/run; groups_in box {group} 1048576")
    names = ("memory.max", "cgroup.procs", "init.scope", "init.scope/cgroup.procs")
    assert [(group / name).stat().st_uid for name in names] == [0, 0, 1048576, 1048576]


@pytest.mark.skipif(os.geteuid() != 0, reason="files are given away")
@pytest.mark.parametrize("base", [1048576, 3145728])
def test_a_group_of_a_users_is_the_same_users_where_the_range_is_another(tmp_path: Path, base: int) -> None:
    tree(tmp_path, {"": "", "user.slice/a b": "1\n"}, delegated=True)
    images, group = tmp_path / "run/move/box.7/images", tmp_path / "cgroup/ct/box"
    images.mkdir(parents=True)
    (images / "groups.img").write_text("1048576 1048576 user.slice\n1049576 1049577 user.slice/a b\n")
    if base != 1048576:
        (tmp_path / "run/move/box.7/shifted-from").write_text("1048576\n")
    for name in ("cgroup.threads", "cgroup.subtree_control", "cgroup.freeze"):
        (group / "user.slice/a b" / name).touch()
        os.chown(group / "user.slice/a b" / name, 1049576, 1049577)  # by CRIU, late
    sh(tmp_path, f"RUN={tmp_path}/run; groups_in box {group} {base}")
    names = ("user.slice", "user.slice/a b", "user.slice/a b/cgroup.procs")
    owners = [((group / name).stat().st_uid - base, (group / name).stat().st_gid - base) for name in names]
    assert owners == [(0, 0), (1000, 1001), (1000, 1001)]


def test_the_group_above_lets_its_root_pass_or_it_could_not_mount_its_own(tmp_path: Path) -> None:
    tree(tmp_path, {}, delegated=True)
    above = tmp_path / "cgroup/ct"
    for there in (
        False,
        True,
    ):  # a runtime makes it for nobody else; older kernels (6.12) ask whether the mounter may pass
        if there:
            above.chmod(0o700)
        sh(tmp_path, f"mkdir -p {tmp_path}/cgroup; umask 077; open_groups box")
        assert above.stat().st_mode & 0o777 == 0o711
    above.chmod(0o700)
    (tmp_path / "containers/box/init").unlink()
    sh(tmp_path, "open_groups box")
    assert above.stat().st_mode & 0o777 == 0o700


TOLD = """./a/b:c.slice/cgroup.subtree_control:pids
./a/cgroup.subtree_control:memory pids
./cgroup.subtree_control:memory pids
./pids.max:200
./init.scope/pids.max:30
./a/b:c.slice/d/pids.max:31
./a/b:c.slice/d/cpu.max:5000 100000
"""
LIES = """./../other/cgroup.subtree_control:memory
./a/../../other/cgroup.subtree_control:memory
./a/../../other/pids.max:5
./a/cgroup.procs:7
./a/memory.swap.max:max
./pids.max:9
.//pids.max:9
/etc/cgroup.subtree_control:memory
/etc/pids.max:5
"""
ECHO = 'echo() { printf \'%s\\n\' "$*" >> $SAID; command echo "$@"; }; find() { :; }; '  # only root gives files away


def below(folder: Path, first: str) -> Path:
    tree(folder, {"": first, "init.scope": "", "a/b:c.slice/d": ""}, delegated=True)
    return folder / "cgroup/ct/box"


def test_what_the_groups_below_have_is_told(tmp_path: Path) -> None:
    group = below(tmp_path, "")
    for line in TOLD.splitlines():
        path, _, value = line.rpartition(":")
        (group / path).write_text(f"{value}\n")
    (group / "init.scope/cgroup.subtree_control").write_text("")
    (tmp_path / "images").mkdir()
    sh(tmp_path, f"groups_out box {tmp_path}")
    assert sorted((tmp_path / "images/group-files.img").read_text().splitlines()) == sorted(TOLD.splitlines())


def test_the_groups_of_a_restore_have_the_controllers_that_they_had(tmp_path: Path) -> None:
    group, told, said = below(tmp_path, "5\n6\n"), tmp_path / "group-files.img", tmp_path / "said"
    told.write_text(TOLD + LIES)
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    # In this order: the kernel takes controllers from above downwards, and none where somebody is in.
    sh(tmp_path, f"SAID={said}; {ECHO} controllers_in {told} {group} 1048576")
    assert said.read_text().split() == ["5", "6", "+memory", "+pids", "+memory", "+pids", "+pids"]
    assert (group / "init.scope/cgroup.procs").read_text() == "6\n"
    made = {path for path in tmp_path.rglob("*") if path.is_file()} - before - {said}
    assert made == {group / name / "cgroup.subtree_control" for name in ("", "a", "a/b:c.slice")}


def test_the_groups_of_a_restore_have_the_limits_that_they_had(tmp_path: Path) -> None:
    group, told = below(tmp_path, ""), tmp_path / "group-files.img"
    told.write_text(TOLD + LIES)
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    sh(tmp_path, f"limits_below_in {told} {group}")
    made = {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file() and path not in before}
    unit = group / "a/b:c.slice/d"
    assert made == {unit / "pids.max": "31\n", unit / "cpu.max": "5000 100000\n"}


def test_a_source_that_lies_makes_groups_nowhere_else(tmp_path: Path) -> None:
    tree(tmp_path, {"": ""}, delegated=True)
    images = tmp_path / "run/move/box.7/images"
    images.mkdir(parents=True)
    (images / "groups.img").write_text(HOSTILE)
    before = {path for path in tmp_path.rglob("*") if path.is_dir()}
    find = 'find() { case $* in *chown*) ;; *) command find "$@" ;; esac; }'  # only root gives files away
    sh(tmp_path, f"RUN={tmp_path}/run; {find}; groups_in box {tmp_path}/cgroup/ct/box 1048576")
    made = {path for path in tmp_path.rglob("*") if path.is_dir()} - before
    group = tmp_path / "cgroup/ct/box"
    assert made == {group / "system.slice", group / "system.slice/a b\\x2d.service", group / "of-the-nodes-root"}
    assert not (images / "groups.img.ours").exists()


def test_what_a_service_was_told_to_write_is_written_again() -> None:
    sys.path.insert(0, str(kit.SCRIPTS))
    try:
        rearm = importlib.import_module("rearm")
    finally:
        sys.path.remove(str(kit.SCRIPTS))
    told = base64.b64encode(b"full 1 2000000\0")
    assert rearm.wanted(b"A=b\0MEMORY_PRESSURE_WRITE=" + told + b"\0C=d\0") == b"full 1 2000000\0"
    for silent in (b"", b"A=b\0", b"MEMORY_PRESSURE_WRITE=?\0", b"MEMORY_PRESSURE_WRITE=\0"):
        assert rearm.wanted(silent) == rearm.DEFAULT
