"""Nodes whose cgroup controllers are of version 1: what of them is in a dump, and where the kit finds a container."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from migrator.lab import node
from migrator.lab.cgroup import Hierarchy, hierarchies
from migrator.lab.shell import LabError
from migrator.runtime.kit.twin_images import BYTES, VARINT, entries, message
from migrator.transport import kit
from tests.unit.kit_modules import load

noted_groups = load("noted_groups")


def text(number: int, value: bytes) -> tuple[int, int, int | bytes]:
    return (number, BYTES, value)


def member(name: bytes, path: bytes) -> tuple[int, int, int | bytes]:
    return text(2, message([text(1, name), text(2, path), (3, VARINT, len(path))]))


def controller(*names: bytes) -> tuple[int, int, int | bytes]:
    directory = message([text(1, b"ct/web")])
    return text(2, message([*(text(1, name) for name in names), text(2, directory)]))


def noted(*names: bytes) -> bytes:
    """A cgroup_entry of a container that is in these hierarchies."""
    one = text(1, message([(1, VARINT, 1), *(member(name, b"/ct/web") for name in names)]))
    two = text(1, message([(1, VARINT, 2), *(member(name, b"/ct/web/below") for name in names)]))
    return message([one, two, *(controller(*name.split(b",")) for name in names)])


def kept(tmp_path: Path, entry: bytes) -> bytes:
    image = tmp_path / "cgroup.img"
    image.write_bytes(b"criuimgs" + len(entry).to_bytes(4, "little") + entry)
    noted_groups.keep_tree(tmp_path)
    (after,) = entries(image.read_bytes())
    return after


def test_of_what_a_dump_notes_of_groups_the_second_versions_tree_is_kept_alone(tmp_path: Path) -> None:
    assert kept(tmp_path, noted(b"name=systemd", b"cpu,cpuacct", b"memory", b"")) == noted(b"")


@pytest.mark.parametrize("names", [(b"",), (b"memory", b"cpu")], ids=["nothing else", "no tree"])
def test_a_dump_that_notes_nothing_else_or_no_tree_stays_as_it_is(tmp_path: Path, names: tuple[bytes, ...]) -> None:
    assert kept(tmp_path, noted(*names)) == noted(*names)


@pytest.mark.parametrize("image", [None, b"", b"criuimgs\x03\0\0\0\xff\xff\xff"])
def test_an_image_that_is_not_there_or_makes_no_sense_is_left_to_criu(tmp_path: Path, image: bytes | None) -> None:
    if image is not None:
        (tmp_path / "cgroup.img").write_bytes(image)
    noted_groups.keep_tree(tmp_path)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == ([] if image is None else [image])


def sh(words: str, root: Path) -> subprocess.CompletedProcess[str]:
    prelude = (
        f'KIT={kit.SCRIPTS}; . "$KIT/lib.sh"; . "$KIT/precopy.sh"; RUN={root}/run CGROUP={root} TREE={root}/unified'
    )
    return subprocess.run(["sh", "-c", f"{prelude}; {words}"], capture_output=True, text=True, check=False)


def groups(root: Path) -> list[Path]:
    found = [root / name / "ct/web" for name in ("cpu,cpuacct", "memory", "unified")]
    for group in found:
        group.mkdir(parents=True)
    (root / "cpu").symlink_to("cpu,cpuacct")
    return found


def test_a_containers_first_process_is_put_into_each_hierarchy_and_nothing_of_it_stays(tmp_path: Path) -> None:
    found = groups(tmp_path)
    assert sh("join_groups web 77", tmp_path).returncode == 0
    for group in found:
        assert (group / "cgroup.procs").read_text() == "77\n"
        (group / "cgroup.procs").unlink()
    done = sh("remove_groups web", tmp_path)
    assert done.returncode == 0, done.stderr
    assert not any(group.exists() for group in found)
    assert all(group.parent.exists() for group in found)


def test_a_kernel_that_freezes_no_group_is_told_and_makes_no_container(tmp_path: Path) -> None:
    (tmp_path / "unified").mkdir()
    refused = sh("check_freezer", tmp_path)
    assert (refused.returncode, "came with Linux 5.2" in refused.stderr) == (12, True)
    (tmp_path / "unified/ct/cgroup.freeze").write_text("0\n")
    assert sh("check_freezer", tmp_path).returncode == 0
    assert sh(f"TREE={tmp_path}; check_freezer", tmp_path).returncode == 0  # version 2: the runtime's to say


def test_a_kernel_without_a_kill_of_whole_groups_ends_its_processes_one_by_one(tmp_path: Path) -> None:
    group = groups(tmp_path)[2]
    sleepers = [subprocess.Popen(["sleep", "1000"]) for _ in range(2)]
    try:
        (group / "cgroup.procs").write_text("".join(f"{sleeper.pid}\n" for sleeper in sleepers))
        ended = " && ".join(f"grep -q '^State:.Z' /proc/{sleeper.pid}/status" for sleeper in sleepers)
        assert sh(f"has_processes() {{ ! {{ {ended}; }}; }}; kill_processes web", tmp_path).returncode == 0
        assert [sleeper.wait(timeout=10) for sleeper in sleepers] == [-9, -9]
    finally:
        for sleeper in sleepers:
            sleeper.kill()


def test_cpu_time_is_held_back_and_given_again_where_the_controller_is_of_version_1(tmp_path: Path) -> None:
    group = groups(tmp_path)[0]
    (group / "cpu.cfs_period_us").write_text("100000\n")
    for quota, told in (("-1", "max 100000"), ("50000", "50000 100000")):
        (group / "cpu.cfs_quota_us").write_text(f"{quota}\n")
        assert sh("cpu_time_of web", tmp_path).stdout == f"{told}\n"
        assert sh("give_cpu_time web 2000 100000", tmp_path).returncode == 0
        assert (group / "cpu.cfs_quota_us").read_text() == "2000\n"
        assert sh(f"give_cpu_time web {told}", tmp_path).returncode == 0
        assert (group / "cpu.cfs_quota_us").read_text() == f"{quota}\n"
    assert sh("cpu_time_of gone", tmp_path).returncode == 1
    assert sh("give_cpu_time gone 1 1", tmp_path).returncode == 0


def test_hierarchies_are_found_by_how_they_are_mounted_each_once() -> None:
    mounts = """\
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
33 31 0:30 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
34 31 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
35 31 0:31 / /mnt/again rw - cgroup cgroup rw,memory
36 31 0:32 /part /mnt/part rw - cgroup cgroup rw,pids
37 31 0:33 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
38 31 0:34 / /proc rw shared:1 - proc proc rw
"""
    own = "4:pids:/\n3:memory:/\n2:name=systemd:/\n1:cpu,cpuacct:/\n0::/\n"
    found = hierarchies(mounts, own)
    assert found == [
        Hierarchy(Path("/sys/fs/cgroup/cpu,cpuacct"), "cpu,cpuacct"),
        Hierarchy(Path("/sys/fs/cgroup/systemd"), "name=systemd"),
        Hierarchy(Path("/sys/fs/cgroup/memory"), "memory"),
    ]
    assert [each.option for each in found] == ["cpu,cpuacct", "none,name=systemd", "memory"]


@pytest.mark.parametrize("mounted", [[], [Hierarchy(Path("/sys/fs/cgroup/systemd"), "name=systemd")]])
def test_a_machine_without_hierarchies_of_controllers_has_no_nodes_with_version_1(
    monkeypatch: pytest.MonkeyPatch, mounted: list[Hierarchy]
) -> None:
    monkeypatch.setattr("migrator.lab.node.cgroup.hierarchies", lambda: mounted)
    assert node.hierarchies("v2") == []
    with pytest.raises(LabError, match="--cgroups legacy: this machine mounts no cgroup v1 hierarchies; leave it out"):
        node.hierarchies("legacy")
