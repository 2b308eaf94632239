"""Resumes a run and ends itself with SIGKILL when a node has answered a verb: the act is done, and nobody was told."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from migrator.executor.fleet import Fleet
from migrator.executor.runs import resume_run
from migrator.inventory import cluster_file
from migrator.journal.store import Journal
from migrator.transport.base import Answer
from migrator.transport.ssh import SshNode


async def main(cluster: str, path: str, run: str, kill_after: str) -> None:
    class Node(SshNode):
        async def call(
            self, verb: str, *args: str | int, stdin: bytes = b"", timeout_s: float = 30, tries: int = 3
        ) -> Answer:
            answer = await super().call(verb, *args, stdin=stdin, timeout_s=timeout_s, tries=tries)
            if verb == kill_after:
                os.kill(os.getpid(), signal.SIGKILL)
            return answer

    file, journal = cluster_file.load(Path(cluster)), Journal(Path(path))
    async with Fleet(file, lambda entry: Node(entry.name, file.ssh_address(entry))) as fleet:
        await resume_run(fleet, journal, journal.run(run), lambda move, state, phase: None)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5]))
