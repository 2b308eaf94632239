"""The demo's hands: the command line, used as a person would. Nothing here knows more than --help tells."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from migrator.demo.services import Service
from migrator.errors import MigratorError, Refused

COMMAND_TIMEOUT_S = 120
CONTAINER_IP_FIRST = 100
# One line a process: pid, start time, name. The shell that looks leaves itself out. The name may hold blanks.
PROCESSES = """
for dir in /proc/[0-9]*; do
    [ "$dir" = "/proc/$$" ] && continue
    read -r stat < "$dir/stat" || continue
    name=${stat#* }
    set -- ${stat##*) }
    echo "${dir#/proc/} ${20} ${name%)*})"
done
"""


class StageError(MigratorError):
    """A command of the demo did not do what the demo needs."""


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:
        try:
            return json.loads(self.stdout)
        except ValueError as error:
            raise StageError(f"--json printed something that is not one JSON document: {self._said}") from error

    @property
    def _said(self) -> str:
        return (self.stderr.strip() or self.stdout.strip() or "nothing").splitlines()[-1]

    def checked(self, what: str) -> Done:
        """Itself, or StageError with the command's own words."""
        if self.exit_code != 0:
            raise StageError(f"{what}: {self._said}")
        return self


class Cli:
    """Runs `migrator ...`. Every process it starts dies with this one, whatever ends it."""

    def __init__(self) -> None:
        self.env = dict(os.environ)
        self.program = str(Path(sys.executable).with_name("migrator"))

    async def run(self, *words: str, timeout_s: float = COMMAND_TIMEOUT_S) -> Done:
        async with self.started(*words) as process:
            try:
                async with asyncio.timeout(timeout_s):
                    stdout, stderr = await process.communicate()
            except TimeoutError:
                raise StageError(f"migrator {' '.join(words[:3])}: no end after {timeout_s:.0f} s") from None
        return Done(process.returncode or 0, stdout.decode(errors="replace"), stderr.decode(errors="replace"))

    @contextlib.asynccontextmanager
    async def started(self, *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """A command that runs beside the body and is ended with it."""
        process = await asyncio.create_subprocess_exec(
            *("setpriv", "--pdeathsig", "KILL", self.program, *words),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self.env,
            start_new_session=True,  # what `lab exec` forks would outlive the signal to its parent alone
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.communicate()


class Stage:
    """A lab of the demo's own, from `up` to `down`. The journal lies in the lab's directory and goes with it.

    Links are as fast as the machine, or have `link_mbit`. Nodes declare their capacity, because a small machine's own
    would hold two containers.
    """

    def __init__(self, lab: str, link_mbit: int | None = None, cpus: int = 8) -> None:
        self.lab = lab
        self.link_mbit, self._cpus = link_mbit, cpus
        self.cli = Cli()
        self.network = ""
        self.nodes: tuple[str, ...] = ()
        self.node_addresses: dict[str, str] = {}

    async def refuse_if_up(self) -> None:
        """Refused when the lab is there, because it may hold what someone kept."""
        if (await self.cli.run("lab", "status", "--name", self.lab)).exit_code == 0:
            raise Refused(f"lab {self.lab} is there already; end it with: migrator lab down --name {self.lab}")

    def up_words(self, nodes: int = 3) -> tuple[str, ...]:
        """What makes the lab."""
        shaped = () if self.link_mbit is None else ("--link-mbit", str(self.link_mbit))
        declared = ("--cpus", str(self._cpus), "--memory", "16G")
        return ("lab", "up", "--name", self.lab, "--nodes", str(nodes), *declared, *shaped)

    async def up(self, nodes: int = 3) -> None:
        lab = (await self.cli.run(*self.up_words(nodes), "--json")).checked("making the lab").document
        self.node_addresses = {node["name"]: node["address"] for node in lab["nodes"]}
        self.nodes = tuple(self.node_addresses)
        self.network = lab["nodes"][0]["address"].rpartition(".")[0]
        self.cli.env["MIGRATOR_CLUSTER"] = lab["cluster_file"]
        self.cli.env["MIGRATOR_JOURNAL"] = str(Path(lab["cluster_file"]).with_name("journal.db"))

    async def down(self) -> None:
        (await self.cli.run("lab", "down", "--name", self.lab)).checked("ending the lab")

    async def down_surely(self) -> None:
        """Ends the lab to the last, however often someone asks to stop."""
        ending = asyncio.create_task(self.down())
        while not ending.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(ending)
        ending.result()

    def address(self, index: int) -> str:
        """The address of the demo's container of that number."""
        return f"{self.network}.{CONTAINER_IP_FIRST + index}"

    async def create(self, service: Service, node: str, index: int) -> None:
        user = ("--user", service.user) if service.user else ()
        words = ("--node", node, "--template", "debian", "--ip", self.address(index), "--memory", service.memory)
        made = await self.cli.run("ct", "create", service.name, *words, *user, "--", *service.command)
        made.checked(f"creating container {service.name}")

    async def placement(self) -> dict[str, str]:
        """The node of each container that runs."""
        listed = (await self.cli.run("ct", "list", "--json")).checked("listing containers").document
        return {row["name"]: row["node"] for row in listed["containers"] if row["state"] == "running"}

    async def exec(self, container: str, *command: str) -> str:
        done = await self.cli.run("ct", "exec", container, "--", *command)
        return done.checked(f"a command in container {container}").stdout

    async def processes(self, container: str) -> tuple[str, ...]:
        """What runs in a container, so exactly that a restored copy is told from the original."""
        return tuple(sorted((await self.exec(container, "sh", "-c", PROCESSES)).splitlines()))

    async def drain(self, node: str) -> Done:
        return await self.cli.run("drain", node, "--yes", "--json")

    async def uncordon(self, node: str) -> None:
        (await self.cli.run("uncordon", node)).checked(f"taking the cordon off {node}")

    async def show(self, run: str) -> Any:
        return (await self.cli.run("show", run, "--json")).checked(f"showing run {run}").document
