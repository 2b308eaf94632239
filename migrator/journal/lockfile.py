"""The lock beside the journal: which process works on a run, held as long as it lives and not a moment longer."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from migrator.errors import Refused
from migrator.journal.base import JournalError


@contextlib.contextmanager
def held(path: Path, run: str) -> Iterator[None]:
    """Holds the lock, and says in it who does; Refused while another does, JournalError if it cannot be made."""
    try:
        handle = path.open("a+")
    except OSError as error:
        raise _cannot(path, run, error) from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not path.exists() or path.stat().st_ino != os.fstat(handle.fileno()).st_ino:
                raise BlockingIOError  # its last holder has just removed it
        except OSError:
            handle.seek(0)
            who = handle.read().strip() or "another process"
            raise Refused(f"run {run} is being worked on by {who}; end that first: migrator cancel {run}") from None
        try:
            try:
                if os.fstat(handle.fileno()).st_size:  # of one who was killed
                    handle.truncate(0)
                os.write(handle.fileno(), f"pid {os.getpid()}".encode())
            except OSError as error:
                raise _cannot(path, run, error) from error
            yield
        finally:
            path.unlink(missing_ok=True)


def _cannot(path: Path, run: str, error: OSError) -> JournalError:
    return JournalError(
        f"the lock {path} of run {run} cannot be written: {error.strerror}; nothing was begun; free or mend the "
        f"journal's disk, and try again"
    )


def holder(path: Path) -> int | None:
    """The process that holds the lock, by the kernel's word and not only by the file's; None when nobody does.

    A file outlives a holder that was killed, and its number may be another process's by now.
    """
    try:
        word, _, number = path.read_text().partition(" ")
        mine = path.stat()
    except OSError:
        return None
    if word != "pid" or not number.isdigit():
        return None
    directory = Path("/proc") / number
    try:
        for entry in (directory / "fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                opened = entry.stat()
                same = (opened.st_dev, opened.st_ino) == (mine.st_dev, mine.st_ino)
                if same and "FLOCK" in (directory / "fdinfo" / entry.name).read_text():
                    return int(number)
    except FileNotFoundError:
        return None
    except PermissionError:
        raise Refused(f"the lock {path} names process {number}, which is another user's; ask as that user") from None
    return None
