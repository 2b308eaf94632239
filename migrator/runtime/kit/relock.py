"""Takes the POSIX locks of restored, held processes again: relock.py IMAGES, with "PID INNER" lines on stdin.

Such a lock is let go when its process closes *any* descriptor of the file. CRIU takes locks first and then closes those
by which it has mapped files, so who locks a file that it has mapped (SQLite's WAL, LMDB) has lost its locks after a
restore, and the next one to open the file takes it for abandoned. Only a process itself can take its locks: each is
stopped where it waits for its release, made to call fcntl, and put back as it was. x86-64 only.
"""

import ctypes
import os
import platform
import struct
import sys
from pathlib import Path

# linux/ptrace.h, asm/unistd_64.h, linux/fcntl.h; CRIU's fd_flags for a lock (include/file-lock.h).
PTRACE_SINGLESTEP, PTRACE_GETREGS, PTRACE_SETREGS, PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT = (
    9,
    12,
    13,
    17,
    0x4206,
    0x4207,
)
NR_FCNTL, F_SETLK, FL_POSIX = 72, 6, 1
FLOCK = struct.Struct("<hh4xqqi4x")
SYSCALL = b"\x0f\x05"
REGISTERS = 27  # struct user_regs_struct, eight bytes each
RSI, RDI, RDX, RAX, ORIG_RAX, RIP, RSP = 13, 14, 12, 10, 15, 16, 19
BELOW_STACK_BYTES = 1024  # past the red zone
WORD = 1 << 64

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long
Registers = ctypes.c_ulonglong * REGISTERS


def ptrace(request: int, pid: int, data: object = None) -> None:
    if libc.ptrace(request, pid, None, data) < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"ptrace of {pid}: {os.strerror(code)}")


def varints(message: bytes) -> dict[int, int]:
    """The fields of a flat protobuf message of integers, signed as 64 bits."""
    found, at = {}, 0
    while at < len(message):
        numbers = []
        for _ in range(2):
            value = shift = 0
            while True:
                byte = message[at]
                at += 1
                value |= (byte & 0x7F) << shift
                shift += 7
                if not byte & 0x80:
                    break
            numbers.append(value)
        found[numbers[0] >> 3] = numbers[1] - WORD if numbers[1] >> 63 else numbers[1]
    return found


def posix_locks(image: bytes) -> dict[int, list[tuple[int, bytes]]]:
    """By the process's number inside: descriptor and struct flock of each POSIX lock. Two words of magic come first."""
    found: dict[int, list[tuple[int, bytes]]] = {}
    at = 8
    while at + 4 <= len(image):
        (size,) = struct.unpack_from("<I", image, at)
        flag, kind, pid, fd, start, length = (varints(image[at + 4 : at + 4 + size]).get(n, 0) for n in range(1, 7))
        at += 4 + size
        if flag & FL_POSIX:
            found.setdefault(pid, []).append((fd, FLOCK.pack(kind, os.SEEK_SET, start, length, 0)))
    return found


def lock_again(pid: int, locks: list[tuple[int, bytes]]) -> None:
    """Makes one process take its locks. It goes on exactly where it was: its registers and its memory are put back."""
    ptrace(PTRACE_SEIZE, pid)
    ptrace(PTRACE_INTERRUPT, pid)
    os.waitpid(pid, 0x40000000)  # __WALL
    was = Registers()
    ptrace(PTRACE_GETREGS, pid, ctypes.byref(was))
    try:
        with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:  # noqa: PTH123
            if os.pread(memory.fileno(), 2, was[RIP] - 2) != SYSCALL:
                raise OSError(f"process {pid} does not wait in a call of the kernel")
            at = was[RSP] - BELOW_STACK_BYTES
            kept = os.pread(memory.fileno(), FLOCK.size, at)
            for fd, lock in locks:
                os.pwrite(memory.fileno(), lock, at)
                call(pid, was, fd, at)
            os.pwrite(memory.fileno(), kept, at)
    finally:
        ptrace(PTRACE_SETREGS, pid, ctypes.byref(was))
        ptrace(PTRACE_DETACH, pid)


def call(pid: int, was: "ctypes.Array[ctypes.c_ulonglong]", fd: int, at: int) -> None:
    now = Registers(*was)
    now[RAX], now[ORIG_RAX], now[RIP] = NR_FCNTL, WORD - 1, was[RIP] - 2
    now[RDI], now[RSI], now[RDX] = fd, F_SETLK, at
    ptrace(PTRACE_SETREGS, pid, ctypes.byref(now))
    ptrace(PTRACE_SINGLESTEP, pid)
    os.waitpid(pid, 0x40000000)
    ptrace(PTRACE_GETREGS, pid, ctypes.byref(now))
    if now[RAX]:
        raise OSError(f"process {pid} does not get its lock again: {os.strerror(WORD - now[RAX])}")


def main(images: str) -> None:
    locks = posix_locks(Path(images, "filelocks.img").read_bytes())
    if not locks:
        return
    if platform.machine() != "x86_64":
        sys.exit("locks on mapped files are taken again on x86-64 only")
    outer = {int(inner): int(pid) for pid, inner in (line.split() for line in sys.stdin)}
    for inner, own in locks.items():
        lock_again(outer[inner], own)


if __name__ == "__main__":
    main(sys.argv[1])
