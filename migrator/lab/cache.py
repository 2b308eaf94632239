"""Where the lab's images lie, outside the checkout: built once for each recipe, the older ones removed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from migrator.lab.shell import LabError

CACHE = Path(os.environ.get("MIGRATOR_CACHE", "/var/cache/migrator-lab"))


def check_room(what: str, bytes_min: int) -> None:
    """Refuses to begin a build that this user may not, or the disk cannot, bring to its end."""
    if os.geteuid() != 0:
        raise LabError(f"building {what} needs root; run it with sudo")
    CACHE.mkdir(parents=True, exist_ok=True)
    free_bytes = shutil.disk_usage(CACHE).free
    if free_bytes < bytes_min:
        raise LabError(
            f"building {what} needs {bytes_min // 10**9} GB free in {CACHE}, "
            f"there are {free_bytes / 10**9:.1f}; free some, or set MIGRATOR_CACHE to another place"
        )


def prune(keep: Path) -> None:
    """Removes images of that kind of older recipes, unless a lab stands on one: that keeps it among its mounts."""
    mounts = ""
    for table in Path("/proc").glob("[0-9]*/mountinfo"):
        with contextlib.suppress(OSError):  # the process may have ended
            mounts += table.read_text()
    for old in keep.parent.glob(f"{keep.name.partition('-')[0]}-*"):
        if old != keep and str(old) not in mounts:
            remove_tree(old)


def remove_tree(path: Path) -> None:
    """Removes a tree, if it is there."""
    if path.exists():
        shutil.rmtree(path)


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """One build at a time on this machine."""
    with (CACHE / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def build_once(path: Path, sign: Path, what: str, bytes_min: int, build: Callable[[], None]) -> None:
    """Builds an image unless `sign` is there by now, which `build` is to leave, and removes older ones of its kind."""
    check_room(what, bytes_min)
    with locked():
        if not sign.exists():  # else another process built it while this one waited
            build()
            prune(path)
