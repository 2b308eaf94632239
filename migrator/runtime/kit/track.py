"""track.py MOVE MERGED UPPER: notes which names of a running container's files change, so that the last pass asks for
these alone and walks over nothing.

Watches every directory of MERGED (the container's view; writes through an overlay are not told where its upper layer
lies) by inotify, makes MOVE/tracking when all are watched, and goes on until somebody makes MOVE/list-now. That mark
comes through the same queue, behind all that the container did before it was frozen. Then it appends the names,
relative to UPPER and each with a NUL, to MOVE/changed, and says one word through the pipe MOVE/listed: "listed"; or
"walk", where names do not tell all: events were lost, too many directories, a changed file that has several names.

The container is not trusted: directories are opened one component at a time and links are never followed, and no name
is told whose way through UPPER is not made of directories, for rsync would follow a link there.
"""

import ctypes
import errno
import os
import select
import stat
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

MODIFY, ATTRIB, CLOSE_WRITE, MOVED_FROM, MOVED_TO, CREATE, DELETE = 0x2, 0x4, 0x8, 0x40, 0x80, 0x100, 0x200
OVERFLOW, IGNORED, ONLYDIR, IS_DIR = 0x4000, 0x8000, 0x1000000, 0x40000000
WATCHED = MODIFY | ATTRIB | CLOSE_WRITE | MOVED_FROM | MOVED_TO | CREATE | DELETE | ONLYDIR
HEAD = struct.Struct("iIII")
READ_BYTES = 1 << 20
NAMES_MAX = 200_000  # a list of more is no faster than a walk
LIFETIME_S = 6 * 3600  # whoever began it is gone
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

libc = ctypes.CDLL(None, use_errno=True)


class Untold(Exception):
    """What changed cannot be told by names."""


class Tracker:
    """Directories of a tree that are watched, and names under it that have changed. Paths are relative, "" the top."""

    def __init__(self, top: str, move: str) -> None:
        self.fd = libc.inotify_init1(os.O_CLOEXEC)
        if self.fd < 0:
            raise Untold("no inotify")
        self.paths: dict[int, str] = {}
        self.changed: set[str] = set()
        self.made: set[str] = set()  # where directories were made, moved, or removed: by now it may be another
        self._top = top  # opened when it is needed: nobody can unmount what is open
        self._device = Path(top).stat().st_dev
        self._move = self._watch(os.open(move, DIRECTORY))
        self.add("", told=False)

    def add(self, path: str, *, told: bool) -> None:
        """Watches a directory and all below it; with `told` all that is in them has changed. It may be gone by now."""
        todo = [path]
        while todo:
            path = todo.pop()
            try:
                fd = self._open(path)
            except OSError as gone:
                if gone.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    continue  # and there is, or will be, an event that tells so
                raise
            try:
                if os.fstat(fd).st_dev == self._device:
                    self.paths[self._watch(os.dup(fd))] = path
                    todo += self._below(path, fd, told)  # after it is watched, so nothing is made between
            finally:
                os.close(fd)

    def _below(self, path: str, fd: int, told: bool) -> list[str]:
        """The directories in a directory."""
        names = []
        with os.scandir(fd) as entries:
            for entry in entries:
                name = f"{path}/{entry.name}" if path else entry.name
                is_dir = entry.is_dir(follow_symlinks=False)
                if told:
                    self._note(name, is_dir)
                if is_dir:
                    names.append(name)
        return names

    def _open(self, path: str) -> int:
        """Opens a directory of the tree, through no link. OSError where there is none."""
        fd = os.open(self._top, DIRECTORY)
        for part in filter(None, path.split("/")):
            try:
                below = os.open(part, DIRECTORY, dir_fd=fd)
            finally:
                os.close(fd)
            fd = below
        return fd

    def _watch(self, fd: int) -> int:
        """Watches an open directory, which it closes. The same directory has the same number, wherever it was moved."""
        try:
            number = int(libc.inotify_add_watch(self.fd, b"/proc/self/fd/%d" % fd, WATCHED))
            if number < 0:
                raise Untold(os.strerror(ctypes.get_errno()))
        finally:
            os.close(fd)
        return number

    def until_asked(self) -> None:
        """Takes events until it is asked for the list."""
        ready = select.poll()
        ready.register(self.fd, select.POLLIN)
        while ready.poll(LIFETIME_S * 1000):
            for number, mask, name in events(os.read(self.fd, READ_BYTES)):
                if mask & OVERFLOW:
                    raise Untold("events were lost")
                if number == self._move:
                    if name == "list-now":
                        return
                elif mask & IGNORED:
                    self.paths.pop(number, None)
                elif number in self.paths:
                    self._event(self.paths[number], mask, name)
        raise TimeoutError

    def _event(self, path: str, mask: int, name: str) -> None:
        where = f"{path}/{name}" if path and name else path or name
        other = bool(name and mask & IS_DIR and mask & (CREATE | DELETE | MOVED_FROM | MOVED_TO))
        self._note(where or ".", other)
        if other and mask & (CREATE | MOVED_TO):
            self.add(where, told=True)

    def _note(self, name: str, made: bool) -> None:
        self.changed.add(name)
        if made:
            self.made.add(name)
        if len(self.changed) > NAMES_MAX:
            raise Untold("too many names")


def events(data: bytes) -> Iterator[tuple[int, int, str]]:
    """The events of a read: which watch, what, and the name of what is in that directory ("" for itself)."""
    at = 0
    while at < len(data):
        number, mask, _, length = HEAD.unpack_from(data, at)
        at += HEAD.size + length
        yield number, mask, os.fsdecode(data[at - length : at].rstrip(b"\0"))


def listed(upper: str, changed: set[str], made: set[str]) -> list[str]:
    """Those of the names that rsync may be given: their way through `upper`, at rest now, is made of directories. Names
    that are gone are told too, for they have to go on the other side, and with each its directory, whose time has
    changed. A directory that may be another than it was ends with "/": of it all counts that is in it, and nothing else
    may be there. Untold where a file has other names as well.
    """
    real: dict[str, bool] = {"": True}

    def is_real(path: str) -> bool:
        if path not in real:
            real[path] = is_real(path.rpartition("/")[0]) and stat.S_ISDIR(mode_of(f"{upper}/{path}"))
        return real[path]

    names = set()
    for name in changed:
        above = name.rpartition("/")[0]
        if not is_real(above):
            continue
        with suppress(FileNotFoundError):  # gone
            found = os.lstat(f"{upper}/{name}")
            # Whiteouts share one inode, and mean the same under each name.
            whiteout = stat.S_ISCHR(found.st_mode) and found.st_rdev == 0
            if found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode) and not whiteout:
                raise Untold("a changed file has several names")
        names |= {name, above or "."}
    return sorted(names | {f"{name}/" for name in made if is_real(name)})


def mode_of(path: str) -> int:
    """0 where nothing is; OSError where that cannot be known."""
    try:
        return os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0


def main(move: str, merged: str, upper: str) -> None:
    answer = os.open(f"{move}/listed", os.O_RDWR)
    try:
        tracker = Tracker(merged, move)
        if Path(move, "list-now").exists():
            raise Untold("asked before it began")
        os.close(os.open(f"{move}/tracking", os.O_CREAT | os.O_WRONLY, 0o600))
        tracker.until_asked()
        names = listed(upper, tracker.changed, tracker.made)
        with Path(move, "changed").open("ab") as out:
            # With the dot, rsync takes no name for a comment.
            out.writelines(b"./" + os.fsencode(name) + b"\0" for name in names)
    except (Untold, OSError, RecursionError) as why:
        Path(move, "tracking").unlink(missing_ok=True)
        sys.stderr.write(f"a walk instead: {why}\n")
        os.write(answer, b"walk\n")
        return
    os.write(answer, b"listed\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
