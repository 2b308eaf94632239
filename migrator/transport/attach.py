"""A person's own terminal, pipe or file, joined to a command on a node.

Input is read by a thread: asyncio cannot wait for every kind of file, and a read that nobody ends may not hold up the
end of the program, so the thread is a daemon.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import termios
import threading
import tty
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncssh

CHUNK_BYTES = 65536


async def attach(
    connection: asyncssh.SSHClientConnection,
    line: str,
    stdin: IO[Any],
    stdout: IO[Any],
    stderr: IO[Any],
    terminal: bool,
) -> int:
    """Runs a command line with these streams until it ends; returns its exit code, or -1 when it had none."""
    size = shutil.get_terminal_size()
    async with connection.create_process(
        line,
        encoding=None,
        term_type=os.environ.get("TERM", "linux") if terminal else None,
        term_size=(size.columns, size.lines) if terminal else (0, 0, 0, 0),
    ) as process:
        with _raw(stdin, process) if terminal else contextlib.nullcontext():
            _feed(stdin, process)
            await asyncio.gather(_pour(process.stdout, stdout), _pour(process.stderr, stderr))
            await process.wait_closed()
    return process.returncode if process.returncode is not None else -1


def _feed(stdin: IO[Any], process: asyncssh.SSHClientProcess[bytes]) -> None:
    loop = asyncio.get_running_loop()

    def give(chunk: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):  # the command has ended, or reads no more
            if chunk:
                process.stdin.write(chunk)
            else:
                process.stdin.write_eof()

    async def give_slowly(chunk: bytes) -> None:
        give(chunk)
        with contextlib.suppress(Exception):
            await process.stdin.drain()

    def read() -> None:
        chunk = b"-"
        while chunk:
            try:
                chunk = os.read(stdin.fileno(), CHUNK_BYTES)
                asyncio.run_coroutine_threadsafe(give_slowly(chunk), loop).result()
            except (OSError, RuntimeError):  # the input is gone, or the loop has ended
                return

    threading.Thread(target=read, daemon=True).start()


async def _pour(source: asyncssh.SSHReader[bytes], sink: IO[Any]) -> None:
    with os.fdopen(os.dup(sink.fileno()), "wb") as out:
        while chunk := await source.read(CHUNK_BYTES):
            out.write(chunk)
            out.flush()


@contextlib.contextmanager
def _raw(stdin: IO[Any], process: asyncssh.SSHClientProcess[bytes]) -> Iterator[None]:
    """Hands every key to the command, Ctrl-C too, and follows the window's size."""
    before = termios.tcgetattr(stdin.fileno())
    loop = asyncio.get_running_loop()

    def resized() -> None:
        size = shutil.get_terminal_size()
        process.change_terminal_size(size.columns, size.lines)

    loop.add_signal_handler(signal.SIGWINCH, resized)
    tty.setraw(stdin.fileno(), termios.TCSADRAIN)  # what was typed ahead is kept
    try:
        yield
    finally:
        termios.tcsetattr(stdin.fileno(), termios.TCSADRAIN, before)
        loop.remove_signal_handler(signal.SIGWINCH)
