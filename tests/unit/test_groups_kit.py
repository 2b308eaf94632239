"""A container's processes go into the group of ours, all of them and no others, or its files stay where they are."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from migrator.errors import MigratorError
from migrator.executor import adopt
from migrator.transport.base import NodeFailed, NodeRefused
from migrator.transport.kit import SCRIPTS

FIRST = 50


class Machine:
    """Processes and groups, of files: a pid namespace is a file, and a process of it a link to that."""

    def __init__(self, groups: Any, top: Path) -> None:
        self.groups, self.top = groups, top
        self.stuck: set[int] = set()
        for name in ("proc", "groups", "spaces"):
            (top / name).mkdir()

    def begins(self, pid: int, group: str, space: str, state: str = "S") -> None:
        place = self.top / "proc" / str(pid)
        (place / "ns").mkdir(parents=True)
        (self.top / "spaces" / space).touch()
        os.link(self.top / "spaces" / space, place / "ns/pid")
        (place / "comm").write_text(f"name{pid}\n")
        (place / "stat").write_text(f"{pid} (na) me) {state} 1 1")
        self.put(pid, group)

    def put(self, pid: int, group: str) -> None:
        (self.top / "proc" / str(pid) / "cgroup").write_text(f"1:cpu:/\n0::{group}\n")
        for path in (self.top / "groups").rglob("cgroup.procs"):
            path.write_text("".join(f"{at}\n" for at in path.read_text().split() if at != str(pid)))
        procs = self.top / "groups" / group.lstrip("/") / "cgroup.procs"
        procs.parent.mkdir(parents=True, exist_ok=True)
        with procs.open("a") as file:
            file.write(f"{pid}\n")

    def move(self, pid: int, group: Path) -> None:
        if pid in self.stuck:
            raise OSError(16, "busy")
        self.put(pid, f"/{group.relative_to(self.top / 'groups')}")

    def groups_of(self, *pids: int) -> list[str]:
        return [self.groups.group_of(pid) for pid in pids]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    def above(*_: object) -> int:
        raise PermissionError

    monkeypatch.syspath_prepend(str(SCRIPTS))
    groups = import_module("groups")
    made = Machine(groups, tmp_path)
    monkeypatch.setattr(groups, "PROC", tmp_path / "proc")
    monkeypatch.setattr(groups, "GROUPS", tmp_path / "groups")
    monkeypatch.setattr(groups.fcntl, "ioctl", above)
    monkeypatch.setattr(groups, "move", made.move)
    made.begins(FIRST, "/user/plain", "plain")
    yield made
    for name in ("foreign", "groups", "notes", "origins"):
        sys.modules.pop(name, None)


def test_all_of_its_processes_are_moved_those_in_groups_below_and_elsewhere_too(machine: Machine) -> None:
    machine.begins(51, "/user/plain/below", "plain")
    machine.begins(52, "/elsewhere", "plain")
    machine.begins(53, "/elsewhere", "node")
    machine.begins(54, "/user/plain", "plain", "Z")  # in no group that could be left
    (machine.top / "groups/user/plain/cgroup.procs").write_text("50\n")
    machine.groups.take(FIRST, "shop")
    assert machine.groups_of(FIRST, 51, 52, 53) == ["/ct/shop"] * 3 + ["/elsewhere"]
    machine.groups.take(FIRST, "shop")  # a second call finds it done


def test_one_that_does_not_move_is_told_of(machine: Machine) -> None:
    machine.begins(51, "/user/plain", "plain")
    machine.stuck = {51}
    with pytest.raises(machine.groups.NotMoved, match="process 51 does not go from /user/plain into group /ct/shop: D"):
        machine.groups.take(FIRST, "shop")


def test_nothing_is_moved_where_the_group_has_others_processes(machine: Machine) -> None:
    machine.begins(51, "/user/plain/below", "node")
    assert list(machine.groups.strangers(FIRST, machine.top / "groups/user/plain")) == [["51", "name51"]]
    with pytest.raises(machine.groups.NotMoved, match=r"/user/plain has process 51 \(name51\), which is not the cont"):
        machine.groups.take(FIRST, "shop")
    assert machine.groups_of(FIRST, 51) == ["/user/plain", "/user/plain/below"]


@pytest.mark.parametrize("group", ["/", "/ct/web", "/ct", "/../plain", "/ct/shopping"])
def test_what_is_in_no_group_of_its_own_is_not_moved(machine: Machine, group: str) -> None:
    machine.put(FIRST, group)
    with pytest.raises(machine.groups.NotMoved, match="its processes are in"):
        machine.groups.take(FIRST, "shop")
    assert machine.groups_of(FIRST) == [group]


def test_one_that_is_in_our_group_already_stays_where_it_is_in_it(machine: Machine) -> None:
    machine.put(FIRST, "/ct/shop/inner")
    machine.groups.take(FIRST, "shop")
    assert machine.groups_of(FIRST) == ["/ct/shop/inner"]


@pytest.mark.skipif(os.geteuid() != 0, reason="a pid namespace is made")
def test_what_lives_in_a_pid_namespace_below_is_the_containers_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    groups = import_module("groups")
    words = ["unshare", "-fp", "--mount-proc", "sh", "-c", "echo; unshare -fp sh -c 'echo; read x'; :"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as inner:
        assert (inner.stdin, inner.stdout) != (None, None)
        for _ in range(2):
            inner.stdout.readline()  # type: ignore[union-attr]
        first = int(Path(f"/proc/{inner.pid}/task/{inner.pid}/children").read_text())
        mine = groups.own(first)
        assert (first in mine, len(mine), inner.pid in mine, os.getpid() in mine) == (True, 3, False, False)
        inner.communicate(b"\n")


def test_a_group_that_cannot_be_read_is_no_empty_one(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Path.read_text

    def threaded(path: Path, *words: Any, **more: Any) -> str:
        if path.match("threads/cgroup.procs"):
            raise OSError(95, "not supported")
        return read(path, *words, **more)

    machine.begins(51, "/user/plain/threads", "plain")
    monkeypatch.setattr(Path, "read_text", threaded)
    assert machine.groups.processes(machine.top / "groups/user/plain") == [FIRST]
    with pytest.raises(OSError, match="not supported"):
        machine.groups.processes(machine.top / "groups/user/plain/threads")
    machine.groups.take(FIRST, "shop")
    assert machine.groups_of(FIRST, 51) == ["/ct/shop"] * 2


def test_no_file_is_moved_where_its_processes_are_not(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = import_module("foreign")
    machine.stuck, moved = {FIRST}, []
    for part in ("take_files", "take_cable"):
        monkeypatch.setattr(foreign, part, lambda *words: moved.append(words))
    assert (takes(foreign, monkeypatch), moved) == (12, [])
    assert "container plain is not taken: process 50 does not go" in capsys.readouterr().err


def takes(foreign: Any, patch: pytest.MonkeyPatch, lives: bool = True, creator: str = "adopt-50-99") -> object:
    """What it exits with."""
    patch.setattr(foreign.notes, "first_process", lambda _: (FIRST, Path("/srv/plain/rootfs")))
    patch.setattr(foreign.notes, "lives", lambda _: lives)
    patch.setattr(foreign.notes, "started", lambda _: "99")
    patch.setattr(foreign, "check_root_s", lambda _: None)
    with pytest.raises(SystemExit) as ended:
        foreign.take("shop", "/run/runc", "plain", "/upper", "ct900", "02:00:00:00:00:01", creator)
    return ended.value.code


def test_one_that_ends_before_its_files_are_moved_is_told_in_a_line(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = import_module("foreign")

    def gone(*_: object) -> None:
        raise FileNotFoundError(2, "No such file or directory", "/proc/50/root")

    monkeypatch.setattr(foreign, "take_cable", lambda *_: None)
    monkeypatch.setattr(foreign, "take_files", gone)
    assert takes(foreign, monkeypatch) == 12
    assert capsys.readouterr().err.startswith("container plain is not taken: [Errno 2]")


@pytest.mark.parametrize(("lives", "creator"), [(False, "adopt-50-99"), (True, "adopt-50-98"), (True, "adopt-49-99")])
def test_nothing_is_moved_of_another_process_than_was_looked_at(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, lives: bool, creator: str
) -> None:
    foreign = import_module("foreign")
    assert takes(foreign, monkeypatch, lives, creator) == 12
    assert machine.groups_of(FIRST) == ["/user/plain"]


@pytest.mark.parametrize(("words", "code", "left"), [("shop me", 10, ["upper"]), ("shop", 0, [])])
def test_a_clean_up_that_cannot_put_files_back_removes_nothing_and_a_person_may(
    tmp_path: Path, words: str, code: int, left: list[str]
) -> None:
    place = tmp_path / "containers" / "shop"
    (place / "upper/etc").mkdir(parents=True)
    (place / "taken-from").write_text(f"{tmp_path}/no/rootfs")
    nothing = "lock read_record check_name check_at_rest check_not_leased check_not_cloned keeper_end end_container"
    nothing += " take_cable clean_move unmount_below remove_record unlock mountpoint"
    stubs = " ".join(f"{name}() {{ :; }};" for name in nothing.split())
    script = f"""set -eu; KIT={SCRIPTS} r_state=stopped r_creator=me r_token=1 r_run=-
        . $KIT/lib.sh; . $KIT/container.sh; . $KIT/foreign.sh; {stubs} CONTAINERS={tmp_path}/containers
        has_processes() {{ return 1; }}; umount() {{ :; }}; verb_ct_remove {words}"""
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == code, done
    assert ("cannot go back to" in done.stderr) == (code == 10)
    assert sorted(path.name for path in (tmp_path / "containers").rglob("upper")) == left


@pytest.mark.parametrize(
    ("left", "said"),
    [
        ("container plain is running", "it runs, and is taken by half; give the command again: migrator ct adopt n1"),
        ("its files are in /upper and cannot go back", "it ended; node n1: its files are in /upper and cannot go back"),
    ],
)
async def test_what_is_left_of_one_that_failed_is_said(left: str, said: str) -> None:
    class Node:
        async def call(self, verb: str, *_: str) -> None:
            raise NodeRefused("n1", verb, left)

    class Fleet:
        def node(self, _: str) -> Node:
            return Node()

    error: MigratorError = NodeFailed("n1", "ct-take", "it ended")
    told = await adopt._half(Fleet(), adopt.Asked("n1", "plain", "plain"), "me", error)  # type: ignore[arg-type]
    assert said in str(told)
