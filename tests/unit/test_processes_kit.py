"""Processes are asked for while they come and go: one that ends when it is read is passed over."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from migrator.transport import kit


@pytest.fixture
def ending(tmp_path: Path) -> str:
    """What stands for a process that can be opened, and has ended when it is read: a directory is such a thing."""
    for name in ("status", "smaps_rollup"):
        (tmp_path / "ending" / name).mkdir(parents=True)
    return os.path.relpath(tmp_path / "ending", "/proc")


def told(words: str) -> str:
    parts = "".join(f'. "$KIT/{name}.sh"; ' for name in ("lib", "delegate", "limits", "survey"))
    script = f"KIT={kit.SCRIPTS}; {parts} {words}"
    done = subprocess.run(["sh", "-c", script], check=False, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_processes_are_those_of_a_namespace_within_and_one_that_ends_meanwhile_is_none(ending: str) -> None:
    inner = ["unshare", "--pid", "--fork", "--mount-proc", "sleep", "60"]
    with subprocess.Popen(inner) as outer:
        try:
            children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
            while not (found := children.read_text().split()):
                pass
            (pid,) = found
            words = f"pids_of() {{ printf '%s\\n' {outer.pid} {ending} {pid}; }}"
            assert told(f"{words}; processes web; count_processes web") == f"{pid} 1\n1\n"
            assert told("pids_of() { :; }; processes web; count_processes web") == "0\n"
        finally:
            outer.kill()
            subprocess.run(["kill", "-9", *found], check=True)


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
    assert [line for line in lines if line != memory] == [
        "container db stopped 3 0 no -",
        "holds db 9 0 0",
        "descriptor db {}",
        "container web running 3 0 yes -",
        "holds web 9 0 0",
        "gate web closed",
        "descriptor web {}",
    ]
