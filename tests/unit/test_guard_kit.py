"""What the kit tells of pressure: of files that stand for a node's, and of a group that really ran out."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from migrator.inventory.pressure import pressure_of, pressures_in
from migrator.model.pressure import Stall
from migrator.transport import kit
from migrator.transport.base import Answer

PSI = "some avg10={} avg60=2.00 avg300=0.00 total=5\nfull avg10=0.50 avg60=0.25 avg300=0.00 total=1\n"
TAKES = "held = bytearray(200 << 20)"


def told(cgroup: Path) -> Answer:
    script = f'KIT={kit.SCRIPTS}; . "$KIT/lib.sh"; . "$KIT/pressure.sh"; CGROUP={cgroup} TREE={cgroup}; tell_pressure'
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    return Answer("n1", "probe", done.stdout)


def test_each_group_is_told_in_one_line_with_what_its_kernel_has(tmp_path: Path) -> None:
    for name, files in {
        "web": {"memory.pressure": PSI.format("7.25"), "memory.events": "oom 1\noom_kill 3\n"},
        "db": {"cpu.pressure": PSI.format("1.00"), "cpu.stat": "usage_usec 77\nuser_usec 5\n"},
        "old": {"cgroup.procs": "1\n"},
    }.items():
        (tmp_path / "ct" / name).mkdir(parents=True)
        for file, text in files.items():
            (tmp_path / "ct" / name / file).write_text(text)
    found = pressures_in(told(tmp_path))
    assert sorted(found) == ["db", "web"]  # of a kernel that tells nothing there is no line
    assert (found["web"].memory, found["web"].oom_kills) == (Stall(7.25, 2, 0.5, 0.25), 3)
    assert (found["db"].cpu, found["db"].cpu_us, found["db"].memory) == (Stall(1, 2, 0.5, 0.25), 77, None)


def test_the_machine_that_this_runs_on_tells_what_it_has_and_no_more(tmp_path: Path) -> None:
    own = pressure_of(told(tmp_path))
    assert (own.swapped_in_bytes is None, own.oom_kills is None) == (False, False)
    try:
        has_psi = bool(Path("/proc/pressure/memory").read_text())
    except OSError:  # a kernel without it, or with it switched off
        has_psi = False
    assert (own.memory is not None) == has_psi


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Path]:
    """A group of this machine's own memory controller of version 1 that may have 20 MiB, as a node's container."""
    memory = Path("/sys/fs/cgroup/memory")
    if not os.access(memory / "memory.limit_in_bytes", os.W_OK):
        pytest.skip("this machine has no memory controller of version 1 to try")
    top = memory / f"guard-{os.getpid()}"
    (web := top / "ct/web").mkdir(parents=True)
    (tmp_path / "memory").symlink_to(top)
    (web / "memory.limit_in_bytes").write_text(str(20 << 20))
    yield web
    for directory in (web, web.parent, top):
        directory.rmdir()


def test_a_container_that_its_limit_really_kills_is_told_with_the_count(group: Path, tmp_path: Path) -> None:
    assert pressures_in(told(tmp_path))["web"].oom_kills == 0
    enter = 'echo $$ > "$0/cgroup.procs"; exec "$@"'
    killed = subprocess.run(["sh", "-c", enter, group, sys.executable, "-ISc", TAKES], check=False)
    assert killed.returncode == -9
    assert pressures_in(told(tmp_path))["web"].oom_kills == 1
