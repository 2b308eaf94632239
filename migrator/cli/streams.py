"""Standard output and error whose reader may leave: `migrator show RUN | head -1`.

The exit code of a command says what became of containers, and a reader who has seen enough changes nothing of that. So
what is written after it left is dropped, the command goes on to its end, and its code is its own: neither 141 nor 1.
Above all a move must not break half-way because nobody reads of its progress any more.
"""

from __future__ import annotations

import contextlib
import io
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Forgiving(io.FileIO):
    """A descriptor that is written to; where that fails in a way that is forgiven, what was written is dropped."""

    def __init__(self, descriptor: int, forgiven: type[OSError]) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._forgiven = forgiven

    def write(self, data: ReadableBuffer) -> int:
        try:
            return super().write(data)
        except self._forgiven:
            return memoryview(data).nbytes


def forgive() -> None:
    """Standard error may fail in any way: it only tells. So may a terminal, which may be closed. Of standard output to
    anything else a full disk, say, is worth an error.
    """
    sys.stdout = _forgiving(sys.stdout, OSError if sys.stdout is not None and sys.stdout.isatty() else BrokenPipeError)
    sys.stderr = _forgiving(sys.stderr, OSError)


def _forgiving(stream: TextIO, forgiven: type[OSError]) -> TextIO:
    try:
        descriptor = stream.fileno()
    except (AttributeError, OSError, ValueError):  # closed before we began, or no file at all
        return stream
    with contextlib.suppress(OSError):
        stream.flush()
    raw = _Forgiving(descriptor, forgiven)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream is sys.stderr or raw.isatty(),
    )


def flush() -> None:
    """Writes what is left, so that the interpreter's own flush at its end finds nothing that it could fail at."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
