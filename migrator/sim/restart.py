"""A simulated node's restarters, after keep.sh: keepers, and the boot that makes them. Both ask the record first."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from migrator.sim.gate import gate_error
from migrator.sim.machine import Job, Machine, Record
from migrator.sim.world import Copy

DELAY_S_MAX, LONG_S = 60.0, 60.0


def is_armed(record: Record) -> bool:
    return (record.state, record.role, record.run, record.armed) == ("serving", "owner", "-", "yes")


def armed(m: Machine, ct: str, record: Record) -> Record:
    """The record that is about to be written, with the word whether restarters may act on it."""
    tree = m.disk.trees.get(ct)
    always = tree is not None and tree.text("restart").strip() == "always"
    wanted = always and record.state == "serving" and record.run == "-"
    return replace(record, armed="yes" if wanted else "no")


async def disarm(m: Machine, ct: str) -> None:
    """From here on nothing on this node starts the container by itself. The record goes first: a keeper asks it."""
    record = m.record(ct)
    if record.armed != "no":
        await m.write_record(ct, replace(record, armed="no"))
    await keeper_end(m, ct)


def keeper_start(m: Machine, ct: str) -> None:
    """Makes the keeper of an armed container, unless it lives."""
    found = m.up.keepers.get(ct)
    if m.record(ct).armed != "yes" or (found is not None and found.alive):
        return
    keeper = m.up.keepers[ct] = Job()
    keeper.task = m.spawn(_keep(m, ct))
    keeper.task.add_done_callback(lambda _: keeper.done.set())


async def keeper_end(m: Machine, ct: str) -> None:
    keeper = m.up.keepers.pop(ct, None)
    if keeper is not None and keeper.alive and keeper.task is not None:
        keeper.task.cancel()
        await keeper.done.wait()


async def _keep(m: Machine, ct: str) -> None:
    """Waits for the container's end and starts it again, the sooner the longer it ran, if the record still wants it."""
    delay_s, now_s = 0.0, m.world.clock.now_s
    while True:
        since_s = now_s()
        if copy := m.copy(ct):
            await copy.ended.wait()
        if now_s() - since_s >= LONG_S:
            delay_s = 0.0
        await asyncio.sleep(delay_s)
        await m.step("keeper")
        async with m.up.lock:
            record = m.record(ct)
            if not is_armed(record) or record.boot != m.up.boot:
                return
            await m.step("keeper starts")
            if m.copy(ct) is None and not gate_error(m, ct):
                bring_up(m, ct)
        delay_s = min(DELAY_S_MAX, delay_s * 2 or 1.0)


def bring_up(m: Machine, ct: str) -> Copy:
    """Starts a container cold from its files."""
    tree = m.disk.trees[ct]
    m.up.frozen.discard(ct)
    copy = m.world.cold_start(ct, m.name, tree.stamp)
    m.up.copies[ct] = copy
    m.up.gates[ct] = False
    m.set_gate(ct, True)
    m.world.execute(copy, tree.stamp)
    return copy


async def boot(m: Machine) -> str:
    """At the node's boot, or at any time: each armed container gets its keeper, which starts it if it does not run."""
    lines = []
    for ct in list(m.disk.records):
        await m.step("boot")
        async with m.up.lock:
            record = m.record(ct)
            if not is_armed(record):
                continue
            if record.boot != m.up.boot:
                await m.write_record(ct, replace(record, boot=m.up.boot))
            keeper_start(m, ct)
            lines.append(f"keeper {ct}\n")
    return "".join(lines)
