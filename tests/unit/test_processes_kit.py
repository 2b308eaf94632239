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
    parts = "".join(f'. "$KIT/{name}.sh"; ' for name in ("lib", "delegate", "limits", "survey"))
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
    asked = f"CGROUP={tmp_path} CONTAINERS={tmp_path}; processes web; count_processes web"
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
            place = f"RECORDS={tmp_path}/records CONTAINERS={tmp_path} CGROUP={tmp_path}; tell_keepers() {{ :; }}"
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
    place = f"RECORDS={tmp_path}/records CONTAINERS={tmp_path}/containers CGROUP={tmp_path}; tell_keepers() {{ :; }}"
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
