"""An orchestrator in a process of its own, which can be held at any point of what it does, and killed there.

    python -m migrator.chaos.orchestrate CLUSTER JOURNAL

One JSON object a line comes in, one goes out. `{"do": "migrate", ..., "stop_at": "sealed:end"}` answers
`{"stopped": ...}` at that point (hold.py) and goes on at the next line, which may name another; then, as every command,
it answers `{"code": exit code, "error": one line, ...}`.
"""

from __future__ import annotations

import asyncio
import ctypes
import functools
import gc
import json
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from migrator.chaos.hold import Hold, WatchedJournal, WatchedNode, say
from migrator.errors import FailedSafe, MigratorError
from migrator.executor.containers import start_all
from migrator.executor.creation import create_container
from migrator.executor.fleet import Fleet
from migrator.executor.rows import rows_of
from migrator.executor.runner import RunResult
from migrator.executor.runs import plan_single, resume_run, start_run
from migrator.executor.saga import Notify
from migrator.executor.settle import Wish, settle
from migrator.executor.wanted import Wanted
from migrator.inventory import cluster_file
from migrator.inventory.cluster_file import NodeEntry
from migrator.journal.events import Phase
from migrator.model.facts import Cluster
from migrator.model.plan import Plan
from migrator.model.policy import Policy
from migrator.protocol.states import State
from migrator.steps.base import Move

# How long a committed move tries to reach its target: short, or a link parted for ever makes a cell take a minute more.
RECOVERY_TIMEOUT_S = 10.0
MOVES_AT_ONCE = 3


def calling_off(container: str, at: str) -> Notify:
    """Makes the move of one container fail at a transition, `state:phase`; "" for none."""

    def notify(move: Move, state: State, phase: Phase) -> None:
        if (move.name, f"{state}:{phase}") == (container, at):
            raise FailedSafe("called off")

    return notify


class Orchestrator:
    def __init__(self, cluster: str, journal: str) -> None:
        self.cluster = cluster
        self.path = Path(journal)

    async def do(self, words: dict[str, Any]) -> dict[str, Any]:
        commands: dict[str, Callable[[Fleet, dict[str, Any]], Awaitable[dict[str, Any]]]] = {
            "migrate": self.migrate,
            "resume": self.resume,
            "settle": self.settle,
            "start-all": self.start_all,
            "list": self.list,
            "create": self.create,
            "destroy": self.destroy,
            "soak": self.soak,
        }
        self.journal = WatchedJournal(self.path)  # anew for each command, as each is a process of its own elsewhere
        try:
            async with self.fleet(words) as fleet:
                return {"code": 0, "error": "", **await commands[words["do"]](fleet, words)}
        except MigratorError as error:
            return {"code": error.exit_code, "error": str(error)}
        finally:
            self.journal.close()

    def fleet(self, words: dict[str, Any]) -> Fleet:
        """The cluster; watched, together with the journal, by a hold if there is a point to stop at."""
        file = cluster_file.load(Path(self.cluster))
        if not words.get("stop_at"):
            return Fleet(file)
        hold = self.journal.hold = Hold(words["stop_at"], words["container"], words["sides"])

        def connect(entry: NodeEntry) -> WatchedNode:
            node = WatchedNode(entry.name, file.ssh_address(entry))
            node.hold, node.journal = hold, self.journal
            return node

        return Fleet(file, connect)

    async def migrate(self, fleet: Fleet, words: dict[str, Any]) -> dict[str, Any]:
        """Moves `container`, and those in `others`, in one run."""
        policy = Policy(
            blackout_s_max=words["blackout_s"], recovery_timeout_s=RECOVERY_TIMEOUT_S, moves_per_node_max=MOVES_AT_ONCE
        )
        names = [words["container"], *words.get("others", ())]
        plan = plan_several(fleet, await fleet.probe(), names, words["target"])
        notify = calling_off(words["container"], words.get("call_off_at", ""))
        run, result = await start_run(fleet, self.journal, plan, policy, self.cluster, notify)
        return {"run": run, **_outcome(result)}

    async def resume(self, fleet: Fleet, words: dict[str, Any]) -> dict[str, Any]:
        result = await resume_run(fleet, self.journal, self.journal.run(words["run"]), _quiet)
        return _outcome(result)

    async def settle(self, fleet: Fleet, words: dict[str, Any]) -> dict[str, Any]:
        wish = Wish(words["container"], words["keep"], None, words["word"], "operator")
        return {"run": await settle(fleet, self.journal, wish, self.cluster)}

    async def start_all(self, fleet: Fleet, words: dict[str, Any]) -> dict[str, Any]:
        return {"outcome": await start_all(fleet, words["node"])}

    async def list(self, fleet: Fleet, words: dict[str, Any]) -> dict[str, Any]:
        """Where every container is, and the newest run's outcome (null while it is unfinished)."""
        cluster = await fleet.probe()
        runs = self.journal.runs(1)
        return {
            "rows": rows_of(cluster),
            "silent": [node.name for node in cluster.nodes if not node.answered],
            "run": runs[0].id if runs else "",
            "outcome": runs[0].outcome if runs else "",
        }

    async def create(self, fleet: Fleet, words: dict[str, Any]) -> dict[str, Any]:
        wanted = Wanted.parse(
            name=words["container"],
            template="debian",
            ips=(words["ip"],),
            gateways=(),
            memory=words["memory"],
            cpus=0.1,
            disk="1G",
            user=None,
            labels=(),
            env=(),
            command=tuple(words["command"]),
            restart=words.get("restart", "no"),
        )
        return dict(await create_container(fleet, words["node"], wanted, start=words["start"]))

    async def destroy(self, fleet: Fleet, words: dict[str, Any]) -> dict[str, Any]:
        node = fleet.node(words["node"])
        await node.call("ct-stop", words["container"], 0)
        await node.call("ct-remove", words["container"])
        return {}

    async def soak(self, fleet: Fleet, words: dict[str, Any]) -> dict[str, Any]:
        """Migrates back and forth between nodes with one open fleet and journal; tells of each how it went."""
        policy = Policy(blackout_s_max=words["blackout_s"])
        for number in range(words["count"]):
            target = words["nodes"][(number + 1) % len(words["nodes"])]
            plan = plan_single(fleet, await fleet.probe(), words["container"], target)
            run, result = await start_run(fleet, self.journal, plan, policy, self.cluster, _quiet)
            say({"number": number + 1, "run": run, **_outcome(result), **weight()})
            if result.exit_code:
                break
        return {}


def plan_several(fleet: Fleet, cluster: Cluster, names: list[str], target: str) -> Plan:
    """The plans that move each of the containers to the target, as one."""
    plans = [plan_single(fleet, cluster, name, target) for name in names]
    return replace(plans[0], moves=tuple(move for plan in plans for move in plan.moves))


def _quiet(move: Move, state: State, phase: Phase) -> None:
    """Nobody looks on."""


def _outcome(result: RunResult) -> dict[str, Any]:
    return {"code": result.exit_code, "error": "; ".join(str(error) for error in result.failed.values())}


_PARTS = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")


class _Mallinfo2(ctypes.Structure):
    """glibc's: `uordblks` is what malloc has given out of its arenas, `hblkhd` what it has mapped for large pieces."""

    _fields_ = [(name, ctypes.c_size_t) for name in _PARTS]


@functools.cache  # every CDLL makes classes of its own, and would weigh itself
def _mallinfo2() -> Callable[[], _Mallinfo2]:
    ask = ctypes.CDLL(None).mallinfo2
    ask.restype = _Mallinfo2
    return ask


def weight() -> dict[str, int]:
    """What this process holds of the machine: as the kernel counts it, as malloc does, as Python does.

    CPython remembers the last few thousand attribute names that were looked up, and keeps those alive that asyncssh
    makes anew for each request: let go first, or they look like a leak until that cache is full.
    """
    sys._clear_type_cache()
    gc.collect()
    status = Path("/proc/self/status").read_text().splitlines()
    malloc = _mallinfo2()()
    return {
        "rss_kib": next(int(line.split()[1]) for line in status if line.startswith("VmRSS:")),
        "heap_kib": (malloc.uordblks + malloc.hblkhd) // 1024,
        "blocks": sys.getallocatedblocks(),
        "descriptors": len(os.listdir("/proc/self/fd")),  # noqa: PTH208
        "tasks": len(asyncio.all_tasks()),
    }


def main(cluster: str, journal: str) -> None:
    orchestrator = Orchestrator(cluster, journal)
    say({"ready": True})
    for line in iter(sys.stdin.readline, ""):
        say(asyncio.run(orchestrator.do(json.loads(line))))


if __name__ == "__main__":
    main(*sys.argv[1:3])
