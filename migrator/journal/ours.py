"""Whether a path can be a journal: asked before anything is opened for writing, so that no other file is changed."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from pathlib import Path

from migrator.errors import BadInput

APPLICATION_ID = int.from_bytes(b"Migr")
TABLES = frozenset({"runs", "migrations", "events"})
_MAGIC = b"SQLite format 3\0"

# What this process has open, by device and inode. The kernel drops all of a process's locks on a file when it closes
# any descriptor of it; SQLite minds that for its own, not for one of ours. With its locks gone, the next program to
# close the journal would take itself for the last, and remove the log that this one writes to.
_opened: set[tuple[int, int]] = set()


def note_opened(path: Path) -> None:
    """From now on no other descriptor of this journal is opened in this process."""
    found = path.stat()
    _opened.add((found.st_dev, found.st_ino))


def check_path(path: Path) -> None:
    """BadInput unless the path is a journal of ours, or nothing yet. Damage is not looked for: opening finds it."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return _check_parent(path)
    except OSError as error:
        raise BadInput(f"journal {path}: {error.strerror}") from error
    if not stat.S_ISREG(found.st_mode):
        kind = "a directory" if stat.S_ISDIR(found.st_mode) else "no file"
        raise BadInput(f"journal {path}: it is {kind}")
    if not os.access(path, os.R_OK | os.W_OK):
        raise BadInput(f"journal {path}: this user may not read and write it")
    if (found.st_dev, found.st_ino) in _opened:
        return None
    if found.st_size == 0:
        return None  # made by hand, or by one of us that died right then
    if not _is_sqlite(path):
        raise BadInput(f"journal {path}: it is not a journal but a file of something else")
    if not _is_ours(path):
        raise BadInput(f"journal {path}: it is the database of another program")
    return None


def _check_parent(path: Path) -> None:
    there = next(parent for parent in path.absolute().parents if parent.exists())
    if not there.is_dir():
        raise BadInput(f"journal {path}: {there} is not a directory")
    if not os.access(there, os.W_OK | os.X_OK):
        raise BadInput(f"journal {path}: this user may not make it in {there}")


def _is_sqlite(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError as error:
        raise BadInput(f"journal {path}: it cannot be read: {error.strerror}") from error


def _is_ours(path: Path) -> bool:
    """By its mark or, in journals from before the mark, by its tables. An empty database may become ours."""
    # Without a log beside it nobody is writing, and SQLite need not make files of its own there to read it.
    alone = not path.with_name(path.name + "-wal").exists()
    where = f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if alone else ''}"
    try:
        with contextlib.closing(sqlite3.connect(where, timeout=10, uri=True)) as db:
            mark = db.execute("PRAGMA application_id").fetchone()[0]
            version = db.execute("PRAGMA user_version").fetchone()[0]
            tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.Error:
        return True  # damaged, or left half-written by one that was killed: opening it mends it, or says what is wrong
    return mark == APPLICATION_ID or (mark == 0 and (tables >= TABLES or (not tables and version == 0)))
