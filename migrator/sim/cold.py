"""Simulated verbs of a move by restart, moment by moment as in cold.sh."""

from __future__ import annotations

import asyncio

from migrator.sim.gate import gate_error, open_gate
from migrator.sim.machine import Exit, Machine, Record, refuse
from migrator.sim.restart import bring_up, keeper_end
from migrator.sim.world import Copy

ENDS_S = 0.2  # a container that is asked to end does so; it has written until then
CREATE_S = 0.1


async def stop(m: Machine, ct: str, token: str, deadline_s: str, grace_s: str) -> str:
    """The fence of such a move: the watchdog first, then the end, for which nobody waits under the lock."""
    from migrator.sim.verbs_source import watchdog  # noqa: PLC0415   (which gives back by what is here)

    key = (ct, int(token), "watchdog")
    async with m.locked():
        record = _to_stop(m, ct, int(token))
        if (record.state, record.cold) != ("fenced", "yes") and m.copy(ct) is None:
            raise Exit(12, f"container {ct} has no processes")
        changes = {"state": "fenced", "cold": "yes", "boot": m.up.boot, "deadline_s": int(deadline_s), "armed": "no"}
        await m.write_record(ct, m.edit(record, **changes))
        await keeper_end(m, ct)
        if key not in m.up.jobs or not m.up.jobs[key].alive:
            await m.kill_job(key)
            m.start_job(key, lambda: watchdog(m, ct, float(deadline_s)))
        await m.step("ask to end")
    await asyncio.sleep(min(ENDS_S, float(grace_s)))
    async with m.locked():
        record = _to_stop(m, ct, int(token))
        if record.state != "fenced":
            raise refuse(f"container {ct} is {record.state} and is not stopped any more (the watchdog was first)")
        await m.step("end container")
        m.stop_copy(ct)
        return f"frozen_at_ms {round(m.world.clock.now_s() * 1000)}\nstop_ms 200\nkilled no\n"


def _to_stop(m: Machine, ct: str, token: int) -> Record:
    record = m.check_run(ct, token)
    if record.void == token:
        raise refuse(f"container {ct} was given back, and the stop of token {token} has ended")
    if record.state not in ("serving", "fenced"):
        raise refuse(f"container {ct} is {record.state} and cannot be stopped")
    return record


async def begin_anew(m: Machine, ct: str) -> None:
    """Gives a stopped container back to its node: whatever is left of it ends, and it starts from its files."""
    await m.step("begin anew")
    m.stop_copy(ct)
    if not gate_error(m, ct):
        bring_up(m, ct)


async def create_held(m: Machine, ct: str, token: int) -> str:
    """On the target: made from its files, and held before its first instruction. Nothing is lost with it."""
    move = m.up.moves.get((ct, token))
    if move is None or ct not in m.disk.trees:
        raise Exit(1, "runc: no bundle")
    await m.step("create")
    if ct in m.up.copies:
        raise Exit(1, f"container with id {ct} exists")
    if m.up.fail_restore > 0:
        m.up.fail_restore -= 1
        raise Exit(1, "runc: it cannot be made")
    m.up.gates[ct] = False
    m.up.copies[ct] = Copy(ct, m.name, m.disk.trees[ct].stamp, "held", processes=1, counts=False, anew=True)
    await asyncio.sleep(CREATE_S)
    await m.step("created")
    if m.copy(ct) is None:
        raise Exit(1, "runc: it was killed")
    move.created = True
    move.held = 1
    move.woke.set()
    return ""


def is_created(m: Machine, ct: str) -> bool:
    return any(move.created for key, move in m.up.moves.items() if key[0] == ct)


async def let_begin(m: Machine, ct: str) -> None:
    """Lets what was created begin; after a reboot it is made anew. What began, and has ended, has ended."""
    moves = [move for key, move in m.up.moves.items() if key[0] == ct and move.created]
    copy = m.copy(ct)
    if copy is not None and copy.mode == "held":
        await m.step("let begin")
        for move in moves:
            move.gate_error = open_gate(m, ct)
        copy.counts, copy.anew = True, False
        m.world.execute(copy, m.disk.trees[ct].stamp)
    elif copy is None and not moves:
        if m.record(ct).boot != m.up.boot:
            await m.write_record(ct, m.edit(m.record(ct), boot=m.up.boot))
        await begin_anew(m, ct)
    for move in moves:
        move.ended = True
