"""The few calls of userfaultfd that the kit needs (linux/userfaultfd.h), and what the kernel tells by it."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import struct
from typing import NamedTuple

from frames import PAGE, RUN_PAGES_MAX

# _IOWR(0xAA, 3, struct uffdio_copy): dst, src, len, mode, copied or -errno.
_COPY, _COPY_WORDS = 0xC028AA03, struct.Struct("<QQQQq")
# _IOWR(0xAA, 4, struct uffdio_zeropage): start, len, mode, zeroed or -errno.
_ZERO, _ZERO_WORDS = 0xC020AA04, struct.Struct("<QQQq")
# _IOR(0xAA, 2, struct uffdio_range): start, len.
_WAKE, _WAKE_WORDS = 0x8010AA02, struct.Struct("<QQ")

FAULT, FORK, MOVED, REMOVED, UNMAPPED = 0x12, 0x13, 0x14, 0x15, 0x16
_MESSAGE = struct.Struct("<BxHIQQQ")
_MESSAGES_MAX = 32
RUN_BYTES_MAX = RUN_PAGES_MAX * PAGE


class Buffer:
    """Memory for one run."""

    def __init__(self) -> None:
        self._map = mmap.mmap(-1, RUN_BYTES_MAX)
        self.view = memoryview(self._map)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._map))


class Message(NamedTuple):
    """What the kernel tells: an event, and its three words. FAULT: flags, address. FORK: the child's descriptor.
    MOVED: from, to, bytes. REMOVED and UNMAPPED: start, end.
    """

    event: int
    first: int
    second: int
    third: int


def copy(uffd: int, to: int, address: int, size_bytes: int) -> tuple[int, int]:
    """Copies bytes from `address` here to the pages at `to` there. Returns how many came, and 0 or why not all."""
    words = bytearray(_COPY_WORDS.pack(to, address, size_bytes, 0, 0))
    try:
        fcntl.ioctl(uffd, _COPY, words)
    except OSError as error:
        copied: int = _COPY_WORDS.unpack(words)[4]
        return max(copied, 0), error.errno or errno.EIO
    return size_bytes, 0


def zero(uffd: int, at: int) -> int:
    """Makes the page at an address one of zeros. Returns 0, or why not."""
    try:
        fcntl.ioctl(uffd, _ZERO, bytearray(_ZERO_WORDS.pack(at, PAGE, 0, 0)))
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def wake(uffd: int, at: int) -> None:
    """Lets whoever waits for a page look again."""
    try:
        fcntl.ioctl(uffd, _WAKE, bytearray(_WAKE_WORDS.pack(at, PAGE)))
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ESRCH, errno.EINVAL):
            raise


def messages(uffd: int) -> list[Message]:
    """What the kernel has to tell, in order; empty when there is nothing now."""
    try:
        data = os.read(uffd, _MESSAGE.size * _MESSAGES_MAX)
    except BlockingIOError:
        return []
    return [
        Message(event, first & 0xFFFFFFFF if event == FORK else first, second, third)
        for event, _, _, first, second, third in _MESSAGE.iter_unpack(data)
    ]
