"""Processes are asked for while they come and go: one that ends when it is read is passed over."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from migrator.transport import kit


@pytest.fixture
def ending(tmp_path: Path) -> str:
    """What stands for a process that can be opened, and has ended when it is read: a directory is such a thing."""
    for name in ("status", "smaps_rollup", "stat"):
        (tmp_path / "ending" / name).mkdir(parents=True)
    return os.path.relpath(tmp_path / "ending", "/proc")


def told(words: str) -> str:
    parts = "".join(f'. "$KIT/{name}.sh"; ' for name in ("lib", "delegate", "limits", "survey", "undumpable"))
    script = f"KIT={kit.SCRIPTS}; {parts} {words}"
    done = subprocess.run(["sh", "-c", script], check=False, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("init", ["of ours", "of its own"])
def test_processes_are_those_of_a_namespace_within_and_one_that_ends_meanwhile_is_none(
    tmp_path: Path, ending: str, init: str
) -> None:
    (group := tmp_path / "ct/web").mkdir(parents=True)
    if init == "of its own":
        (tmp_path / "web").mkdir()
        (tmp_path / "web/init").touch()
    asked = f"TREE={tmp_path} CONTAINERS={tmp_path}; processes web; count_processes web"
    inner = ["unshare", "--pid", "--fork", "--mount-proc", "sleep", "60"]
    with subprocess.Popen(inner) as outer:
        try:
            children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
            while not (found := children.read_text().split()):
                pass
            (pid,) = found
            (group / "cgroup.procs").write_text(f"{outer.pid}\n{ending}\n{pid}\n")
            assert told(asked) == f"{pid} 1\n1\n"
            (group / "cgroup.procs").write_text("")
            assert told(asked) == "0\n"
            (group / "cgroup.procs").unlink()
            assert told(asked) == "0\n"
        finally:
            outer.kill()
            subprocess.run(["kill", "-9", *found], check=True)


def lived_s(pid: int) -> int:
    """By the kernel's word, whole seconds."""
    began = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return int(float(Path("/proc/uptime").read_text().split()[0]) - int(began) / os.sysconf("SC_CLK_TCK"))


@pytest.mark.parametrize("name", ["x) S 1 1 1 1 1", "a b)(c", "\n) Z 1", "Pss: 99999999"])
def test_a_container_is_up_since_its_oldest_process_began_whatever_that_is_called(tmp_path: Path, name: str) -> None:
    (tmp_path / "records").mkdir()
    (tmp_path / "records/web").write_text("state=serving\ntoken=3\n")
    (group := tmp_path / "ct/web").mkdir(parents=True)
    rename = f"open('/proc/self/comm', 'w').write({name!r}); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", rename], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as younger:
        assert younger.stdout is not None
        younger.stdout.readline()
        for pids in ([younger.pid], [younger.pid, os.getpid()]):
            (group / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in pids))
            place = f"RECORDS={tmp_path}/records CONTAINERS={tmp_path} TREE={tmp_path}; tell_keepers() {{ :; }}"
            before_s = lived_s(pids[-1])
            (up,) = (line for line in told(f"{place}; tell_containers").splitlines() if line.startswith("up "))
            assert before_s <= int(up.removeprefix("up web ")) <= lived_s(pids[-1])
        younger.kill()


def test_a_survey_tells_of_every_container_while_processes_and_cables_go(tmp_path: Path, ending: str) -> None:
    for name, state in (("db", "stopped"), ("web", "running")):
        (tmp_path / "records").mkdir(exist_ok=True)
        (tmp_path / "records" / name).write_text(f"state={state}\ntoken=3\nmemory_bytes=9\nsaid=a=b\n")
        (tmp_path / "containers" / name).mkdir(parents=True)
        (tmp_path / "containers" / name / "net").write_text(f"veth ct{name}\n")
        (tmp_path / "containers" / name / "descriptor.json").write_text("{}")
    group = tmp_path / "ct" / "web"
    group.mkdir(parents=True)
    (group / "cgroup.procs").write_text(f"{ending}\n{os.getpid()}\n")
    (tmp_path / "ct" / "gone" / "cgroup.procs").mkdir(parents=True)
    place = f"RECORDS={tmp_path}/records CONTAINERS={tmp_path}/containers TREE={tmp_path}; tell_keepers() {{ :; }}"
    lines = told(f"{place}; tell_containers").splitlines()
    (memory,) = (line for line in lines if line.startswith("memory "))
    assert all(int(number) > 1 << 20 for number in memory.split()[2:])
    assert [line for line in lines if line != memory and not line.startswith("up ")] == [
        "container db stopped 3 0 no -",
        "holds db 9 0 0",
        "descriptor db {}",
        "container web running 3 0 yes -",
        "holds web 9 0 0",
        "gate web closed",
        "descriptor web {}",
    ]


ROOTED = "import os; os.chroot('.'); print('ready', flush=True); input()"


def test_files_in_memory_are_told_of_each_container_and_no_file_on_a_disk_or_of_another(tmp_path: Path) -> None:
    for name in ("records", "inside/tmp", "inside/run", "inside/again", "inside/bound", "others"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "records/web").touch()
    (tmp_path / "inside/disk").write_bytes(bytes(9_000_000))
    (group := tmp_path / "ct/web").mkdir(parents=True)
    mounts = """
        for place in inside/tmp inside/run others; do mount -t tmpfs tmpfs "$place"; done
        head -c 4096000 /dev/zero > inside/tmp/a
        head -c 8192000 /dev/zero > inside/run/b
        mount --bind inside/tmp inside/again
        mkdir others/c
        head -c 9000000 /dev/zero > others/c/d
        mount --bind others/c inside/bound
        cd inside
        exec "$0" -c "$1"
    """
    argv = ["unshare", "--mount", "sh", "-ec", mounts, sys.executable, ROOTED]
    place = f"RECORDS={tmp_path}/records CONTAINERS={tmp_path} TREE={tmp_path} RUN={tmp_path}; tell_tmpfs"
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, cwd=tmp_path, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            (group / "cgroup.procs").write_text(f"{process.pid}\n")
            assert told(place) == "held web 12288000\n"
        finally:
            process.kill()
    assert told(place) == ""
    (group / "cgroup.procs").write_text("")
    assert told(place) == ""
    assert list(tmp_path.glob(".tmpfs*")) == []


def test_what_is_asked_of_a_census_in_vain_makes_it_fail(tmp_path: Path) -> None:
    place = f"CONTAINERS={tmp_path} TREE={tmp_path}; in_network() {{ echo tcp LISTEN 0 5 a:1 b:2; return $code; }}"
    (tmp_path / "ct/web").mkdir(parents=True)
    (tmp_path / "ct/web/cgroup.procs").touch()
    told_well = told(f"{place}; code=0; census web && echo whole").splitlines()
    assert told_well[-2:] == ["socket tcp LISTEN a:1 b:2", "whole"]
    assert "half" in told(f"{place}; code=1; census web || echo half")


WATCHES = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
fd = libc.inotify_init1(0)
for path in sys.argv[1:]:
    assert libc.inotify_add_watch(fd, os.fsencode(path), 0xFFF) > 0
print("ready", flush=True)
input()
"""


def test_a_watched_file_is_told_to_criu_only_where_its_whole_path_is_plain(tmp_path: Path) -> None:
    # The kernel writes the backslash of the first name as \\134, which is the second name.
    odd, as_told, plain = "x\\naction-script\\040y", "x\\134naction-script\\134040y", "plain"
    for name in (odd, as_told, plain):
        (tmp_path / name).mkdir()
    mounts = """
        for place in "$2" "$4"; do mount -t tmpfs tmpfs "$place"; : > "$place/f"; done
        mount --bind "$2" "$3"
        exec "$0" -c "$1" "$2/f" "$4/f"
    """
    argv = ["unshare", "--mount", "sh", "-ec", mounts, sys.executable, WATCHES, odd, as_told, plain]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, cwd=tmp_path, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            words = f"scratch={tmp_path}/look; printf '/proc/{process.pid}\\n' | descriptors | watches {process.pid}"
            lines = told(words).splitlines()
        finally:
            process.kill()
    assert sorted(lines) == sorted([f"- {process.pid}", f"{tmp_path}/plain/f {process.pid}"])
