"""The wire between two simulated nodes: commands on a migration's one connection, and their receivers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from migrator.sim.machine import Exit, Link, Machine, refuse

LINK_DEAD_AFTER_S = 15
IDLE_S = 120  # a receiver's patience


def usable(m: Machine, link: Link) -> bool:
    target = m.world.machines[link.target]
    return link.alive and target.ram is not None and target.ram.boot == link.target_boot


async def carry(m: Machine, ct: str, token: int, what: str, seconds: float) -> Machine:
    """Sends for a while to a receiver on the target, which is a job there, let in by its token and state.

    Returns the target; Exit when the connection, the receiver or either node's patience ends first.
    """
    async with channel(m, ct, token, what) as sending:
        await sending.send(what, seconds)
        return sending.target


@contextlib.asynccontextmanager
async def channel(m: Machine, ct: str, token: int, what: str) -> AsyncIterator[Channel]:
    """One command on the standing connection, with its receiver."""
    link = m.up.links.get((ct, token))
    if link is None or not usable(m, link):
        raise Exit(1, f"{what}: no connection to the target")
    target = m.world.machines[link.target]
    opened = Channel(m, link, target, await _receiver(target, ct, token, what))
    try:
        yield opened
    finally:
        if not opened.goes_on:
            opened.receiver.done.set()


@dataclass(slots=True)
class Channel:
    """A way to a receiver on the target."""

    source: Machine
    link: Link
    target: Machine
    receiver: Receiver
    goes_on: bool = False  # the receiver has more to do than to receive

    def check(self, what: str) -> None:
        if not usable(self.source, self.link) or not self.receiver.alive:
            raise Exit(1, f"{what}: the connection to the target has ended")

    async def send(self, what: str, seconds: float) -> None:
        m, target = self.source, self.target
        slowness = m.world.slowness.get(frozenset((m.name, target.name)), 1.0)
        left_s, silent_s = seconds * slowness, 0.0
        while left_s > 0:
            await m.step(what)
            self.check(what)
            if m.world.joined(m.name, target.name):
                silent_s = 0.0
                part_s = min(left_s, 0.05)
                left_s -= part_s
            else:
                part_s = 0.5
                silent_s += part_s
            if silent_s > LINK_DEAD_AFTER_S:
                self.link.alive = False
            await asyncio.sleep(part_s)
        self.check(what)

    async def idle_until(self, event: asyncio.Event, what: str, patience_s: float = IDLE_S) -> None:
        """Waits without a byte; the receiver's patience ends it. One that says now and then that it lives has more."""
        silent_s = 0.0
        for _ in range(round(patience_s * 2)):
            self.check(what)
            silent_s = 0.0 if self.source.world.joined(self.source.name, self.target.name) else silent_s + 0.5
            if silent_s > LINK_DEAD_AFTER_S:
                self.link.alive = False
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    await event.wait()
            if event.is_set():
                return
        raise Exit(1, f"{what}: the target's receiver ended")


async def _receiver(target: Machine, ct: str, token: int, what: str) -> Receiver:
    async with target.locked():
        record = target.check_token(ct, token)
        if record.state != "reserved":
            raise refuse(f"container {ct} is {record.state} here and takes nothing more")
        if target.disk.full:
            raise Exit(1, f"{what}: No space left on device")
        receiver = Receiver()
        ram = target.up
        ram.receivers += 1
        key = (ct, token, f"receive-{what}-{ram.receivers}")
        job = target.start_job(key, receiver.wait)
        if job.task is not None:  # also if it was ended before it began; it leaves nothing to be found again
            job.task.add_done_callback(lambda _: receiver.done.set())
            job.task.add_done_callback(lambda _: ram.jobs.pop(key, None))
        return receiver


class Receiver:
    """The receiving process on the target: alive until its sender is through or somebody ends it."""

    def __init__(self) -> None:
        self.done = asyncio.Event()

    @property
    def alive(self) -> bool:
        return not self.done.is_set()

    async def wait(self) -> str:
        await self.done.wait()
        return ""
