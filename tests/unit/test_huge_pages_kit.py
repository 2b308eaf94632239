"""Memory of a running container is gathered into huge pages, and nothing that its program has said or can tell changes.

Against real processes: a child fills areas of its memory and says where they are.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest

from tests.unit.kit_modules import load

# Areas of 8 MiB, each with 4 MiB from a border of huge pages on: full, with holes, kept small, and shared with a child
# of its own. Tells their addresses, its pid and the child's, and a digest of all, which it tells once more when asked.
PROGRAM = """
import ctypes, hashlib, mmap, os, signal, sys
libc = ctypes.CDLL(None)
def area(step):
    made = mmap.mmap(-1, 8 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    start = ctypes.addressof(ctypes.c_char.from_buffer(made))
    first = -start % (2 << 20) or 2 << 20
    for at in range(first, first + (4 << 20), step):
        made[at : at + 8] = at.to_bytes(8, "little")
    libc.mprotect(ctypes.c_void_p(start), ctypes.c_size_t(4096), 0)  # or the kernel makes one area of two
    return made, start + first
full, holes, no = area(4096), area(8192), area(4096)
libc.madvise(ctypes.c_void_p(no[1]), ctypes.c_size_t(4 << 20), 15)
shared = area(4096)
child = os.fork()
if not child:
    signal.pause()
full2 = area(4096)  # after the fork: its own alone
digest = lambda: hashlib.sha256(b"".join(each[0][4096:] for each in (full2, holes, no, shared))).hexdigest()
print(full2[1], holes[1], no[1], shared[1], os.getpid(), child, digest(), flush=True)
sys.stdin.readline()
print(digest(), flush=True)
os.kill(child, signal.SIGKILL)
"""


@dataclass
class Program:
    full: int
    holes: int
    forbidden: int
    shared: int
    pids: tuple[int, int]
    digest: str
    stdin: IO[str]
    stdout: IO[str]

    def huge_kib(self, address: int) -> int:
        """Of the area that the address lies in."""
        inside = False
        for line in Path(f"/proc/{self.pids[0]}/smaps").read_text().splitlines():
            if found := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
                inside = int(found[1], 16) <= address < int(found[2], 16)
            elif inside and line.startswith("AnonHugePages:"):
                return int(line.split()[1])
        raise AssertionError("no such area")

    def rss_kib(self) -> int:
        return sum(
            int(line.split()[1])
            for pid in self.pids
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            if line.startswith("Pss:")
        )


@pytest.fixture
def program() -> Iterator[Program]:
    words = (sys.executable, "-ISc", PROGRAM)
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin and child.stdout
        full, holes, no, shared, pid, other, digest = child.stdout.readline().split()
        pids = int(pid), int(other)
        yield Program(int(full), int(holes), int(no), int(shared), pids, digest, child.stdin, child.stdout)
        child.stdin.close()
        assert child.wait(30) == 0


@pytest.fixture
def group(tmp_path: Path, program: Program) -> Path:
    (tmp_path / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in program.pids))
    return tmp_path


def gathered_bytes(group: Path, capsys: pytest.CaptureFixture[str]) -> int:
    load("huge_pages").main(group, group)
    name, value = capsys.readouterr().out.split()
    assert name == "huge_bytes"
    return int(value)


def test_what_fills_huge_pages_is_gathered_and_reads_the_same(
    program: Program, group: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before_kib = program.rss_kib()
    assert gathered_bytes(group, capsys) >= 4 << 20
    assert program.huge_kib(program.full) == 4096
    assert program.rss_kib() <= before_kib + 64  # the kernel's own counting
    program.stdin.write("\n")
    program.stdin.flush()
    assert program.stdout.readline().strip() == program.digest


def test_memory_with_holes_shared_memory_and_what_its_program_keeps_small_stay_as_they_are(
    program: Program, group: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gathered_bytes(group, capsys)
    assert [program.huge_kib(each) for each in (program.holes, program.forbidden, program.shared)] == [0, 0, 0]


def test_a_process_that_has_left_the_container_is_not_touched(
    program: Program, group: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    huge_pages = load("huge_pages")
    first = iter([list(program.pids)])
    monkeypatch.setattr(huge_pages, "processes", lambda group: next(first, []))
    assert gathered_bytes(group, capsys) == 0
    assert program.huge_kib(program.full) == 0


def test_a_node_that_has_turned_huge_pages_off_is_heard(
    group: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "enabled").write_text("always madvise [never]\n")
    monkeypatch.setattr(load("huge_pages"), "ENABLED", tmp_path / "enabled")
    assert gathered_bytes(group, capsys) == 0


def version_2(used: int, inactive_file: int) -> dict[str, str]:
    stat = f"anon 9\ninactive_file {inactive_file}\n"
    return {"memory.max": "100000000", "memory.current": str(used), "memory.stat": stat}


def version_1(used: int, inactive_file: int) -> dict[str, str]:
    stat = f"inactive_file {used}\ntotal_inactive_file {inactive_file}\n"
    return {"memory.limit_in_bytes": "100000000", "memory.usage_in_bytes": str(used), "memory.stat": stat}


@pytest.mark.parametrize(
    ("files", "fits"),
    [
        pytest.param({}, True, id="not limited here"),
        pytest.param({"memory.max": "max"}, True, id="no limit"),
        pytest.param(version_2(80_000_000, 0), True, id="room"),
        pytest.param(version_2(90_000_000, 0), False, id="nearly at its limit"),
        pytest.param(version_2(99_000_000, 90_000_000), True, id="full of files"),
        pytest.param(version_1(80_000_000, 0), True, id="room, version 1"),
        pytest.param(version_1(99_000_000, 0), False, id="nearly at its limit, version 1"),
    ],
)
def test_nothing_is_gathered_where_a_moment_of_more_would_push_something_out(
    files: dict[str, str], fits: bool, group: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in files.items():
        (group / name).write_text(text)
    assert (gathered_bytes(group, capsys) > 0) is fits


def test_what_pagemap_does_not_tell_in_full_is_not_full() -> None:
    """A process that has ended tells nothing."""
    is_full = load("huge_pages").is_full
    there = (1 << 63 | 1 << 56).to_bytes(8, "little")
    assert is_full(there * 512)
    assert not is_full(there * 511)
    assert not is_full(b"")
    assert not is_full(there * 511 + (1 << 63 | 1 << 56 | 1 << 61).to_bytes(8, "little"))  # a file's
