"""Control groups of a container that a runtime began without us: which processes are its own, and these moved to ours.

Its own are those in its first process's pid namespace, or in one below that. By their group alone it cannot be told: a
runtime that makes none leaves the container in its caller's, with sshd and shells.
"""

import contextlib
import errno
import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path

GROUPS, PROC = Path("/sys/fs/cgroup"), Path("/proc")
PARENT = 0xB702  # NS_GET_PARENT
TRIES = 200


class NotMoved(Exception):
    """Why its processes are not all where they should be; those that are moved run on."""


def below(group: Path) -> list[Path]:
    return [Path(top, name) for top, names, _ in os.walk(group) for name in names]


def processes(group: Path) -> list[int]:
    """Of the group and all below it. One of threads tells nothing: the one above it, of their processes, does."""
    found = []
    for path in (group, *below(group)):
        try:
            found += [int(line) for line in (path / "cgroup.procs").read_text().split()]
        except OSError as error:
            gone = error.errno in (errno.ENOENT, errno.ENODEV)
            if not gone and (error.errno != errno.EOPNOTSUPP or path == group):
                raise
    return found


def group_of(pid: int) -> str:
    """Its group in the second version's tree, as this node names it; empty where there is none."""
    for line in (PROC / f"{pid}/cgroup").read_text().splitlines():
        if line.startswith("0::"):
            return line[3:].removesuffix(" (deleted)")
    return ""


def is_within(group: str, top: str) -> bool:
    return f"{group}/".startswith(f"{top}/")


def is_own(pid: int, space: os.stat_result) -> bool:
    """Whether it is in this pid namespace or below it; an OSError where it has ended."""
    handle = os.open(PROC / f"{pid}/ns/pid", os.O_RDONLY)
    try:
        while not os.path.samestat(os.fstat(handle), space):
            try:
                up = fcntl.ioctl(handle, PARENT)
            except PermissionError:  # this program's own, which is above any container's
                return False
            os.close(handle)
            handle = up
        return True
    finally:
        os.close(handle)


def space_of(first: int) -> os.stat_result:
    return (PROC / f"{first}/ns/pid").stat()


def has_ended(pid: int) -> bool:
    """A zombie has, too: nothing of it is left but its number, and it is in no group."""
    try:
        return (PROC / f"{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def own(first: int) -> list[int]:
    """All that live in the container, in whatever group."""
    space, found = space_of(first), []
    for path in PROC.iterdir():
        if path.name.isdigit():
            with contextlib.suppress(OSError):
                if is_own(pid := int(path.name), space) and not has_ended(pid):
                    found.append(pid)
    return found


def strangers(first: int, group: Path) -> Iterator[list[str]]:
    """What is in the group and not the container's, by pid and name."""
    space = space_of(first)
    for pid in processes(group):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if not is_own(pid, space):
                yield [str(pid), (PROC / f"{pid}/comm").read_text().strip()]


def take(first: int, name: str) -> None:
    """Its processes go into the group that a container of ours has, until none is left that began meanwhile."""
    at, to = group_of(first), f"/ct/{name}"
    old, new = GROUPS / at.lstrip("/"), GROUPS / "ct" / name
    if refusal := fault(at, name):
        raise NotMoved(refusal)
    if others := list(strangers(first, old)):
        raise NotMoved(f"its group {at} has process {others[0][0]} ({others[0][1]}), which is not the container's")
    new.mkdir(parents=True, exist_ok=True)
    error: OSError | None = None
    for _ in range(TRIES):
        left = [pid for pid in own(first) if not is_there(pid, to)]
        if not left:
            break
        for pid in left:
            try:
                move(pid, new)
            except ProcessLookupError:
                pass  # it has ended
            except OSError as why:
                error = why
    check_taken(first, name, error)
    if not is_within(at, to):
        if left := processes(old):
            raise NotMoved(f"process {left[0]} came into its former group {at} meanwhile")
        with contextlib.suppress(OSError):
            old.rmdir()


def move(pid: int, group: Path) -> None:
    (group / "cgroup.procs").write_text(str(pid))


def is_there(pid: int, to: str) -> bool:
    try:
        return is_within(group_of(pid), to)
    except OSError:
        return True  # nowhere, any more


def check_taken(first: int, name: str, error: OSError | None = None) -> None:
    if left := [pid for pid in own(first) if not is_there(pid, f"/ct/{name}")]:
        why = f": {os.strerror(error.errno or 0)}" if error else ""
        raise NotMoved(f"process {left[0]} does not go from {group_of(left[0])} into group /ct/{name}{why}")
    if has_ended(first):
        raise NotMoved(f"its first process {first} has ended meanwhile")


def fault(group: str, name: str) -> str:
    """Why a container in this group cannot leave it, whatever else is there."""
    if not re.fullmatch(r"(/(?!\.\.?(/|$))[^/]+)+", group):
        return f"its processes are in group {group or 'none'}, which is not one of a container's"
    if is_within(group, "/ct") and not is_within(group, f"/ct/{name}"):
        return f"its processes are in {group}, the group of another container of Migrator's"
    return ""
