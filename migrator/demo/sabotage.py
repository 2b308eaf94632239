"""Kills CRIU in the middle of a restore, from outside: a small script on each possible target lies in wait.

It waits for the job that restores the container, then for the moment at which CRIU stands in the container's
cgroup together with a process that it has begun to make, and sends SIGKILL. Nothing of the product takes part.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from migrator.demo.stage import Cli

PATIENCE_S = 60
# Its one line of output says how it went. /proc tells CRIU from what it makes: CRIU's parent is the runtime, and it
# stands in the node's own pid namespace, so that its NSpid has one number, while a container's process has two.
LIE_IN_WAIT = """
ct=$1 tries=$(($2 * 50))
until ls -d /run/migrator/jobs/"$ct".*.restore > /dev/null 2>&1; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || { echo 'no restore began'; exit 0; }
    sleep 0.02
done
tries=200000 group=/sys/fs/cgroup/ct/$ct/cgroup.procs
while [ "$tries" -gt 0 ]; do
    tries=$((tries - 1))
    criu= made=
    while read -r pid; do
        name= parent= inner=
        while read -r key value more; do
            case $key in
                Name:) name=$value ;;
                PPid:) parent=$value ;;
                NSpid:) inner=$more && break ;;
            esac
        done < "/proc/$pid/status"
        if [ -n "$inner" ]; then
            made=yes
        elif [ "$name" = criu ] && read -r parent_name < "/proc/$parent/comm" && [ "$parent_name" = runc ]; then
            criu=$pid
        fi
    done < "$group"
    if [ -n "$criu" ] && [ -n "$made" ]; then
        kill -9 "$criu" && echo "killed CRIU, process $criu" && exit 0
    fi
    for move in /run/migrator/move/"$ct".*; do
        [ ! -e "$move/held" ] || { echo 'the restore was complete before'; exit 0; }
        [ ! -e "$move/ended" ] || { echo 'the restore ended before'; exit 0; }
    done
done 2> /dev/null
echo 'CRIU was not seen'
"""


@dataclass(slots=True)
class Sabotage:
    """What came of it: for each node the saboteur's own words."""

    said: dict[str, str]

    @property
    def outcome(self) -> str:
        """The words of the node where a restore began."""
        acted = [f"{said} on {node}" for node, said in self.said.items() if said != "no restore began"]
        return "; ".join(acted) or "no restore began"


@contextlib.asynccontextmanager
async def kill_criu_restoring(cli: Cli, lab: str, container: str, nodes: Sequence[str]) -> AsyncIterator[Sabotage]:
    """While the body runs, CRIU dies on any of the nodes as it restores the container."""
    sabotage = Sabotage({})
    async with contextlib.AsyncExitStack() as stack:
        script = ("--", "sh", "-c", LIE_IN_WAIT, "saboteur", container, str(PATIENCE_S))
        waiting = {
            node: await stack.enter_async_context(cli.started("lab", "exec", "--name", lab, node, *script))
            for node in nodes
        }
        yield sabotage
        for node, process in waiting.items():
            sabotage.said[node] = await _last_words(process)


async def _last_words(process: asyncio.subprocess.Process) -> str:
    """What a saboteur has said by now; one that still waits has seen nothing."""
    if process.stdout is None:
        return "CRIU was not seen"
    try:
        async with asyncio.timeout(0.5):
            return (await process.stdout.readline()).decode(errors="replace").strip() or "CRIU was not seen"
    except TimeoutError:
        return "no restore began"
