"""Calling a site's hooks: programs on the orchestrator's machine, one document on stdin, bounded in time and output."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
from pathlib import Path
from typing import Protocol

from migrator.errors import FailedSafe
from migrator.model.site import Hook

OUTPUT_BYTES_MAX = 1000  # the end of what a hook says, shown where it fails
READ_BYTES = 65_536
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class HookFailed(FailedSafe):
    """A hook could not be run, ended with another code than 0, or was overdue and ended."""


class HookCaller(Protocol):
    """Who calls hooks: this machine, or a simulated one."""

    def fault(self, hook: Hook) -> str:
        """Why a hook could not be called at all; empty when nothing is known against it."""
        ...

    async def call(self, hook: Hook, document: bytes) -> None:
        """Calls one hook and waits for its end. HookFailed unless it ends with 0 in its time."""
        ...


class LocalHooks:
    """Hooks as processes of this machine: no shell, a small environment, a session of their own."""

    def fault(self, hook: Hook) -> str:
        program = Path(hook.argv[0])
        if not program.is_file():
            return f"hook {program} is not there; install it on this machine, or take it out of the cluster file"
        if not os.access(program, os.X_OK):
            return f"hook {program} may not be run; make it executable"
        return ""

    async def call(self, hook: Hook, document: bytes) -> None:
        """Ends the hook's whole session when it is overdue, or when whoever waits is cancelled."""
        with tempfile.TemporaryFile() as stdin, _Tail() as tail:
            stdin.write(document)
            stdin.seek(0)
            try:
                process = await asyncio.create_subprocess_exec(
                    *hook.argv,
                    stdin=stdin,
                    stdout=tail.inlet,
                    stderr=tail.inlet,
                    env={"PATH": PATH, "LANG": "C.UTF-8", "HOME": os.environ.get("HOME", "/")},
                    cwd="/",
                    start_new_session=True,
                )
            except OSError as error:
                raise HookFailed(f"hook {hook.argv[0]} cannot be run: {error.strerror}") from error
            tail.listen()
            try:
                async with asyncio.timeout(hook.timeout_s):
                    code = await process.wait()
            except TimeoutError:
                raise HookFailed(
                    f"hook {hook.argv[0]} has not ended after {hook.timeout_s:g} s, and was ended{tail.said()}"
                ) from None
            finally:
                if process.returncode is None:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
                    await asyncio.shield(process.wait())
            if code:
                how = f"was ended by signal {-code}" if code < 0 else f"ended with {code}"
                raise HookFailed(f"hook {hook.argv[0]} {how}{tail.said()}")


class _Tail:
    """A pipe whose end is kept and whose rest is thrown away, so that no hook waits for who reads it."""

    def __init__(self) -> None:
        self._outlet, self.inlet = os.pipe()
        os.set_blocking(self._outlet, False)
        self._kept = b""

    def __enter__(self) -> _Tail:
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._outlet)
        os.close(self._outlet)
        self._close_inlet()

    def listen(self) -> None:
        """Begins to read, once the hook has its own copy of the inlet."""
        self._close_inlet()
        asyncio.get_running_loop().add_reader(self._outlet, self._read)

    def said(self) -> str:
        """The end of what was said, as the end of a sentence."""
        while self._read():
            pass
        text = self._kept.decode(errors="replace").strip()
        return f": {text}" if text else ", and said nothing"

    def _close_inlet(self) -> None:
        if self.inlet >= 0:
            os.close(self.inlet)
            self.inlet = -1

    def _read(self) -> bool:
        """Reads what is there, once; whether there may be more."""
        try:
            data = os.read(self._outlet, READ_BYTES)
        except BlockingIOError:
            return False
        self._kept = (self._kept + data)[-OUTPUT_BYTES_MAX:]
        if not data:
            asyncio.get_running_loop().remove_reader(self._outlet)
        return bool(data)
