"""The breakages, each at a node's console or wire, and how each is mended. Nothing of the product takes part."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from migrator.chaos.cells import LONG_LINKS, SHORT_LINKS, Actor, Cell, Moment, memory_shortage
from migrator.chaos.lane import CONTAINER, MEMORY_MIB, Lane
from migrator.chaos.scenes import Side, Wreck
from migrator.chaos.worker import Worker, WorkerError
from migrator.lab import cgroup
from migrator.lab import node as lab_node
from migrator.protocol.states import State

SEEN_TIMEOUT_S = 20.0
PART_S = 5.0
RIVAL_MEMORY = "8100M"  # of the 8 GiB that a lane's node declares: less is left than the container needs
# Both ends of sshd's session for the orchestrator's address; the listener and the other node's session are left alone.
CUT_SSH = """
for pid in $(ss -Htnp state connected '( sport = :22 )' dst "$1" | grep -o 'pid=[0-9]*' | sort -u); do
    kill -9 "${pid#pid=}" || :
done
"""
# A file system of its own for the node's disk, with what is there now; what lies below comes back when it goes.
SMALL_DISK = """
set -e
mkdir -p /run/small
mount -t tmpfs -o size=160m,mode=711 small /run/small
cd /var/lib/migrator
for entry in *; do
    case $entry in containers | templates) ;; *) cp -a "$entry" /run/small/ ;; esac
done
mkdir -m 711 /run/small/templates /run/small/containers
for template in templates/*/; do
    mkdir "/run/small/$template"
    mount --bind "$template" "/run/small/$template"
done
cd /
mount --rbind /run/small /var/lib/migrator
"""
OWN_DISK = """
for template in /var/lib/migrator/templates/*/; do umount "$template"; done
tries=0 # who speaks for a container's addresses runs from there, for two seconds
until umount /var/lib/migrator 2> /dev/null; do
    tries=$((tries + 1))
    [ "$tries" -lt 50 ] || exit 1
    sleep 0.1
done
for template in /run/small/templates/*/; do umount "$template"; done
umount /run/small
rmdir /run/small
"""
FILL_DISK = "cat /dev/zero > /var/lib/migrator/fill 2> /dev/null || :"
# The images' memory is bounded by their own tmpfs: to what it holds already.
SQUEEZE_IMAGES = """
move=/run/migrator/move/$1
mount -o remount,size="$(df -k --output=used "$move" | tail -n 1 | tr -d ' ')k" "$move"
"""
# 64 MiB for each process that sshd starts from now on, as where the memory is committed to others.
LIMIT_MEMORY = 'for pid in $(pgrep sshd); do prlimit --pid "$pid" --as="$1": ; done'


@dataclass
class Breaker:
    """One cell's breakage: `prepare`, `wreck`, `seen`, `strike`, `mend`, `unwreck`, `tidy`, in this order."""

    lane: Lane
    cell: Cell
    source: str
    target: str
    token: int = 0

    @property
    def side(self) -> str:
        return self.source if self.cell.actor.name.startswith("SOURCE") else self.target

    async def prepare(self) -> None:
        """What must stand before the migration begins."""
        if self.cell.actor is Actor.TARGET_DISK:
            await asyncio.to_thread(self.lane.on_node, self.target, SMALL_DISK)

    async def seen(self) -> None:
        """Waits until the act of an `early`, `during` or `late` cell is at work."""
        if self.cell.waits_for_act:
            await asyncio.to_thread(self._await_act)

    async def wreck(self, wreck: Wreck) -> None:
        """What a scene breaks before its command begins."""
        if wreck in (Wreck.SOURCE_AWAY, Wreck.TARGET_AWAY):
            await self.lane.set_link(self.source if wreck is Wreck.SOURCE_AWAY else self.target, up=False)
        elif wreck is Wreck.COPY_DEAD:
            await asyncio.to_thread(self.kill_copy)
        else:
            await self.lane.crash_and_boot(self.source if wreck is Wreck.SOURCE_DOWN else self.target)

    async def unwreck(self) -> None:
        """The side that a scene has cut off is back."""
        if self.cell.scene.away is not None:
            await self._join(self.source if self.cell.scene.away is Side.SOURCE else self.target)

    async def strike(self, worker: Worker | None) -> None:
        """Breaks it. Links that come back and orchestrators that go on are the caller's."""
        actor = self.cell.actor
        if actor is Actor.ORCHESTRATOR:
            if worker is not None:
                await worker.kill()
        elif actor in (Actor.SOURCE_SSH, Actor.TARGET_SSH):
            await asyncio.to_thread(self.lane.on_node, self.side, CUT_SSH, self.lane.spec.subnet.host_ip)
        elif actor in (Actor.SOURCE_CRASH, Actor.TARGET_CRASH):
            await self.lane.crash_and_boot(self.side)
        elif actor in (*SHORT_LINKS, *LONG_LINKS):
            await self.lane.set_link(self.side, up=False)
        elif actor is Actor.TARGET_DISK:
            await asyncio.to_thread(self.lane.on_node, self.target, FILL_DISK)
        elif actor is Actor.TARGET_MEMORY:
            await self._shorten_memory()
        elif actor is Actor.PROGRAM:
            await asyncio.to_thread(self._kill_program)
        else:
            await asyncio.to_thread(self._kill_criu)

    async def mend(self) -> None:
        """Puts right what does not come right by itself; then the operator's commands follow."""
        actor = self.cell.actor
        if actor in (*SHORT_LINKS, *LONG_LINKS):
            if actor in LONG_LINKS:
                await self._join(self.side)
            else:
                await self.lane.set_link(self.side, up=True)
        elif actor is Actor.TARGET_DISK:
            await asyncio.to_thread(self.lane.on_node, self.target, "rm -f /var/lib/migrator/fill")
        elif actor is Actor.TARGET_MEMORY:
            kind = memory_shortage(self.cell.state)
            if kind == "rival":
                await self.lane.operator("destroy", container="rival", node=self.target)
            elif kind == "address-space":
                await asyncio.to_thread(self.lane.on_node, self.target, LIMIT_MEMORY, "unlimited")

    async def tidy(self) -> None:
        """What `prepare` made goes again. The container must not be on the target."""
        if self.cell.actor is Actor.TARGET_DISK:
            await asyncio.to_thread(self.lane.on_node, self.target, OWN_DISK)

    async def _join(self, node: str) -> None:
        """Joins a link that was parted for long."""
        await self.lane.set_link(node, up=True)
        # An orchestrator that ended meanwhile could not say so, and sshd would believe in it for hours.
        await asyncio.to_thread(self.lane.on_node, node, CUT_SSH, self.lane.spec.subnet.host_ip)

    async def _shorten_memory(self) -> None:
        kind = memory_shortage(self.cell.state)
        if kind == "rival":
            made = await self.lane.operator(
                "create",
                container="rival",
                node=self.target,
                ip=self.lane.spec.subnet.container_ip(2),
                memory=RIVAL_MEMORY,
                start=False,
                command=["true"],
            )
            if made["code"] != 0:
                raise WorkerError(f"the rival was not made: {made['error']}")
        elif kind == "images":
            await asyncio.to_thread(self.lane.on_node, self.target, SQUEEZE_IMAGES, f"{CONTAINER}.{self.token}")
        elif kind == "address-space":
            await asyncio.to_thread(self.lane.on_node, self.target, LIMIT_MEMORY, str(64 << 20))
        else:
            await asyncio.to_thread(self.kill_copy)

    def kill_copy(self) -> None:
        """Ends the processes that are held on the target."""
        pids = self._container_pids(self.target)
        if not pids:
            raise WorkerError(f"no copy was seen on {self.target}")
        for pid in pids:
            _kill(pid)

    def _kill_program(self) -> None:
        """Ends the program where it runs, or would run again first: on the target once it was released there."""
        released = self.cell.state in (State.RELEASED, State.SOURCE_REMOVED, State.DONE)
        node = self.target if released else self.source
        pids = self._container_pids(node)
        if not pids:
            raise WorkerError(f"the program was not seen on {node}")
        for pid in pids:
            _kill(pid)

    # --- looking for the moment, from this machine: its own /proc shows every node's processes ------------------------

    def _await_act(self) -> None:
        deadline_s = time.monotonic() + SEEN_TIMEOUT_S
        while not self._at_work():
            if time.monotonic() > deadline_s:
                raise WorkerError(f"{self.cell.state} was not seen at work")
            time.sleep(0.001)  # the kernel tells nobody that a process has begun

    def _at_work(self) -> bool:
        if self.cell.state is State.SEEDED:
            root = Path(f"/proc/{lab_node.init_pid(self.lane.paths, self.source)}/root")
            return (root / f"run/migrator/jobs/{CONTAINER}.{self.token}.files1").exists()
        if self.cell.state is State.DUMPED:
            return self._dump_at_work()
        return self._restore_at_work()

    def _dump_at_work(self) -> bool:
        """Early: CRIU has begun. During: it has seized the processes. Late: it has written its images, serves pages."""
        if self.cell.moment is Moment.EARLY:
            return self._logs(self.source, "dump.log")
        if self.cell.moment is Moment.DURING:
            return any(_status(pid, "TracerPid") != "0" for pid in self._container_pids(self.source))
        return (self._move(self.source) / "images/inventory.img").exists()  # the last that it writes

    def _restore_at_work(self) -> bool:
        """Early: CRIU has its images. During: the container's processes come. Late: they have their memory."""
        if not (self._move(self.target) / "came").exists() or not self._logs(self.target, "restore.log"):
            return False
        pids = self._container_pids(self.target)
        if self.cell.moment is Moment.EARLY:
            return True
        if self.cell.moment is Moment.DURING:
            return bool(pids)
        return any(int(_status(pid, "VmRSS").partition(" ")[0] or 0) >= MEMORY_MIB << 10 for pid in pids)

    def _logs(self, node: str, log: str) -> bool:
        """Whether a CRIU is at its work, and does not only tell its version."""
        return (self._move(node) / "work" / log).exists() and bool(self._criu(node))

    def _move(self, node: str) -> Path:
        root = Path(f"/proc/{lab_node.init_pid(self.lane.paths, node)}/root")
        return root / f"run/migrator/move/{CONTAINER}.{self.token}"

    def _kill_criu(self) -> None:
        node = self.source if self.cell.state is State.DUMPED else self.target
        pids = self._criu(node)
        if not pids:
            raise WorkerError(f"no CRIU was seen on {node}")
        _kill(pids[0])

    def _criu(self, node: str) -> list[int]:
        """CRIU itself first: the oldest of that name on the node, not in a container's pid namespace."""
        found = []
        for group in ("tree/init", f"tree/ct/{CONTAINER}"):
            for pid in self._pids(node, group):
                if _status(pid, "Name") == "criu" and len(_status(pid, "NSpid").split()) == 2:
                    found.append(pid)
        return sorted(found)

    def _container_pids(self, node: str) -> list[int]:
        return [p for p in self._pids(node, f"tree/ct/{CONTAINER}") if len(_status(p, "NSpid").split()) == 3]

    def _pids(self, node: str, group: str) -> list[int]:
        path = self.lane.paths.node_cgroup(cgroup.root(), node) / group / "cgroup.procs"
        try:
            return [int(pid) for pid in path.read_text().split()]
        except OSError:
            return []


def _status(pid: int, key: str) -> str:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{key}:"):
                return line.partition(":")[2].strip()
    return ""


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
