"""The other end of `orchestrate`: starts it, asks it, kills it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from migrator.errors import MigratorError

ASK_TIMEOUT_S = 60.0


class WorkerError(MigratorError):
    """The orchestrator did not answer, or broke down without a word."""


class Worker:
    """One orchestrator process. It dies with this program, whatever ends that."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, cluster: Path, journal: Path, log: Path) -> Worker:
        argv = ("setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "migrator.chaos.orchestrate")
        with log.open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                *argv,
                str(cluster),
                str(journal),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
            )
        return cls(process)

    async def ask(self, do: str, timeout_s: float = ASK_TIMEOUT_S, **words: Any) -> dict[str, Any]:
        """Sends one command and returns what it answers first."""
        await self.send({"do": do, **words})
        return await self.answer(timeout_s)

    async def send(self, document: dict[str, Any]) -> None:
        if self._process.stdin is None:
            raise WorkerError("the orchestrator has no stdin")
        self._process.stdin.write(json.dumps(document).encode() + b"\n")
        with contextlib.suppress(ConnectionError):
            await self._process.stdin.drain()

    async def answer(self, timeout_s: float = ASK_TIMEOUT_S) -> dict[str, Any]:
        """The next line. WorkerError when none comes in time."""
        if self._process.stdout is None:
            raise WorkerError("the orchestrator has no stdout")
        try:
            async with asyncio.timeout(timeout_s):
                line = await self._process.stdout.readline()
                document: dict[str, Any] = json.loads(line)
        except TimeoutError:
            raise WorkerError(f"the orchestrator hangs: no answer in {timeout_s:.0f} s") from None
        except ValueError:
            raise WorkerError(f"the orchestrator said {line[:200]!r}") from None
        return await self.answer(timeout_s) if "ready" in document else document

    async def kill(self) -> None:
        """SIGKILL, and waits until it is gone."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)
        await self._process.wait()
