"""huge_pages.py GROUP MEMORY_GROUP: gathers memory of a running container into huge pages, where small ones fill one.

A dump walks the page table of each process and takes hold of each page while all is frozen: some 90 ms a GiB of small
pages, a third of it of huge ones. Programs see the same memory. They wait for it as they do for the kernel's own
khugepaged: a fault, while the 2 MiB about it are copied. A third of the time is left to them.

No memory is added. Only whole ranges go of which every page is there, in no other process's page table and in no swap.
A program or a node that says no to huge pages is heard: the kernel refuses the first (MADV_NOHUGEPAGE,
PR_SET_THP_DISABLE), and the second is asked here, because the kernel does not (madvise(2), MADV_COLLAPSE, Linux 6.1).
For a moment a range is there twice: where the group that limits memory has no room for it, nothing goes.

Prints `huge_bytes N`. What cannot be gathered stays as it is, and that is no failure.
"""

import contextlib
import ctypes
import errno
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from groups import processes

PROC, ENABLED = Path("/proc"), Path("/sys/kernel/mm/transparent_hugepage/enabled")
PAGE, HUGE = 4096, 2 << 20
STRIDE = 32 << 20  # looked at in one go: programs reserve addresses by the terabyte, and use few
PROCESS_MADVISE, COLLAPSE = 440, 25
LONGEST_S = 60.0  # some 20 GiB
REFUSALS_MAX = 16  # in a row, of a node that has no huge page to give
ROOM_BYTES = 16 << 20
# By either version of cgroups: how much may be used, how much is, and what of that the kernel drops as soon as asked.
MEMORY_FILES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)

# What /proc/PID/pagemap has to tell of each of the 512 pages: present, and mapped once; not swapped, and not a file's.
_EACH = int.from_bytes((1).to_bytes(8, "little") * (HUGE // PAGE), "little")
_HAS, _HAS_NOT = _EACH * (1 << 63 | 1 << 56), _EACH * (1 << 62 | 1 << 61)

_libc = ctypes.CDLL(None, use_errno=True)


class _Range(ctypes.Structure):
    _fields_ = (("start", ctypes.c_void_p), ("bytes", ctypes.c_size_t))


def is_wanted() -> bool:
    """Whether this node's kernel has huge pages, and its operator has not turned them off."""
    try:
        return "[never]" not in ENABLED.read_text()
    except OSError:
        return False


def is_full(told: bytes) -> bool:
    """Whether a huge page's worth of pagemap tells of pages that are all there, and nobody else's."""
    bits = int.from_bytes(told, "little")
    return len(told) == HUGE // PAGE * 8 and bits & _HAS == _HAS and not bits & _HAS_NOT


def candidates(maps: str) -> Iterator[tuple[int, int]]:
    """Where whole huge pages fit into private memory that is no file's: addresses from and up to, of each area."""
    for line in maps.splitlines():
        place, flags, _, _, inode, *name = line.split(None, 5)
        if flags[3] != "p" or flags == "---p" or inode != "0" or (name and name[0].startswith("[stack")):
            continue
        start, end = (int(each, 16) for each in place.split("-"))
        start, end = -(-start // HUGE) * HUGE, end // HUGE * HUGE
        if start < end:
            yield start, end


def has_room(group: Path) -> bool:
    """Whether what a group limits may take some more memory, and nothing in use has to go for it."""
    for limit, used, dropped in MEMORY_FILES:
        try:
            most = (group / limit).read_text().strip()
            if most == "max":
                return True
            told = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            return int((group / used).read_text()) - int(told[dropped]) + ROOM_BYTES <= int(most)
        except FileNotFoundError:
            continue
    return True  # it limits none


class Gathering:
    """One run over a container's processes, within its bounds."""

    def __init__(self, memory_group: Path, longest_s: float = LONGEST_S) -> None:
        self.bytes = 0
        self._memory_group = memory_group
        self._over_s = time.monotonic() + longest_s
        self._refused = 0

    @property
    def is_over(self) -> bool:
        return time.monotonic() > self._over_s or self._refused >= REFUSALS_MAX

    def process(self, pid: int, group: Path) -> None:
        """Gathers one process's. By handles taken before it is asked whose it is: its number may be another's soon."""
        with contextlib.ExitStack() as opened:
            home = os.open(PROC / str(pid), os.O_RDONLY | os.O_DIRECTORY)
            opened.callback(os.close, home)
            handle = os.pidfd_open(pid)
            opened.callback(os.close, handle)
            pagemap = os.open("pagemap", os.O_RDONLY, dir_fd=home)
            opened.callback(os.close, pagemap)
            with os.fdopen(os.open("maps", os.O_RDONLY, dir_fd=home), encoding="utf-8", errors="replace") as file:
                maps = file.read()
            if pid not in processes(group):
                return
            for start, end in candidates(maps):
                self._area(handle, pagemap, start, end)

    def _area(self, handle: int, pagemap: int, start: int, end: int) -> None:
        for stride in range(start, end, STRIDE):
            if self.is_over:
                return
            if not os.pread(pagemap, STRIDE // PAGE * 8, stride // PAGE * 8).strip(b"\0"):
                continue
            for at in range(stride, min(stride + STRIDE, end), HUGE):
                if is_full(os.pread(pagemap, HUGE // PAGE * 8, at // PAGE * 8)) and not self._range(handle, at):
                    return

    def _range(self, handle: int, at: int) -> bool:
        """Gathers one huge page's worth. False where no more of this area goes."""
        if self.is_over or not has_room(self._memory_group):
            return False
        began_s = time.monotonic()
        why = _collapse(handle, at)
        if why in (errno.ESRCH, errno.EPERM, errno.ENOSYS):
            raise OSError(why, os.strerror(why))
        self._refused = self._refused + 1 if why else 0
        self.bytes += 0 if why else HUGE
        time.sleep((time.monotonic() - began_s) / 2)
        return why != errno.EINVAL  # which says that this area may have none


def _collapse(handle: int, at: int) -> int:
    """Makes one huge page of the small ones at an address; 0, or why not. At once where it is one."""
    where = _Range(at, HUGE)
    done = _libc.syscall(PROCESS_MADVISE, handle, ctypes.byref(where), ctypes.c_size_t(1), COLLAPSE, 0)
    return 0 if done >= 0 else ctypes.get_errno()


def main(group: Path, memory_group: Path) -> None:
    gathering = Gathering(memory_group)
    for pid in processes(group) if is_wanted() else ():
        with contextlib.suppress(OSError):  # it has ended, or its kernel does none
            gathering.process(pid, group)
    sys.stdout.write(f"huge_bytes {gathering.bytes}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
