"""Asks the kernel again to tell of pressure, for restored, held processes: rearm.py GROUP, a container's control group.

Who wants to be told when memory, CPU or disks are short writes what is short into a control group's file, and waits for
the open file (Documentation/accounting/psi.rst). CRIU opens the file again and knows nothing of what was written, and
the kernel wakes whoever waits for such a file without end. What was written nobody can read; systemd tells its services
in their environment what to write, and writes the same itself.
"""

from __future__ import annotations

import base64
import ctypes
import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path

FILES = ("memory.pressure", "cpu.pressure", "io.pressure", "irq.pressure")
DEFAULT = b"some 200000 2000000\0"  # of systemd, sd_event_add_memory_pressure(3), in microseconds
VARIABLE = b"MEMORY_PRESSURE_WRITE="
TEXT_BYTES_MAX = 100
_PIDFD_GETFD = 438  # asm-generic/unistd.h


def processes(group: Path) -> Iterator[Path]:
    """What the kernel tells of each process in the group and in those below it."""
    for directory, _, _ in os.walk(group):
        for pid in (Path(directory) / "cgroup.procs").read_text().split():
            yield Path("/proc") / pid


def waited_for(process: Path) -> Iterator[int]:
    """Descriptors of a process that are such a file, opened to be written."""
    for entry in (process / "fd").iterdir():
        try:
            link = entry.readlink()
            told = (process / "fdinfo" / entry.name).read_text()
        except FileNotFoundError:
            continue
        flags = next(int(line.split()[1], 8) for line in told.splitlines() if line.startswith("flags:"))
        if link.name in FILES and flags & os.O_ACCMODE != os.O_RDONLY:
            yield int(entry.name)


def wanted(environment: bytes) -> bytes:
    """What a process with this environment was told to write."""
    for pair in environment.split(b"\0"):
        if pair.startswith(VARIABLE):
            try:
                return base64.b64decode(pair.removeprefix(VARIABLE), validate=True)[:TEXT_BYTES_MAX] or DEFAULT
            except ValueError:
                break
    return DEFAULT


def rearm(process: Path, fd: int) -> None:
    """Writes by the process's own open file. One that others have too is written once; what is not taken is left."""
    text = wanted((process / "environ").read_bytes())
    holder = os.pidfd_open(int(process.name))
    try:
        ours = ctypes.CDLL(None, use_errno=True).syscall(_PIDFD_GETFD, holder, fd, 0)
        if ours < 0:
            raise OSError(ctypes.get_errno(), f"descriptor {fd} of process {process.name} is not given")
        try:
            os.write(ours, text)
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.EINVAL, errno.EOPNOTSUPP):
                raise
        finally:
            os.close(ours)
    finally:
        os.close(holder)


def main(group: Path) -> None:
    for process in processes(group):
        try:
            for fd in waited_for(process):
                rearm(process, fd)
        except (FileNotFoundError, ProcessLookupError):  # of those who restore it, who stand in the group too
            continue


if __name__ == "__main__":
    main(Path(sys.argv[1]))
