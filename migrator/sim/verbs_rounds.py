"""What is done about memory while the container runs, after precopy.sh: rounds take it to the target (pre-copy)."""

from __future__ import annotations

import asyncio

from migrator.sim.channel import Receiver, channel
from migrator.sim.laws import Law
from migrator.sim.machine import Exit, Machine, refuse
from migrator.sim.move_dir import MoveDir
from migrator.sim.world import FOLLOWS_NOT

ROUND_S, HELD_UP_S, LATE_S = 0.1, 0.3, 0.5


async def pre_dump(m: Machine, ct: str, token: str, number: str) -> str:
    """One round. CRIU must not be killed while it has hold of the processes, nor let one go on that is fenced."""
    if (record := m.check_run(ct, int(token))).state != "serving":
        raise refuse(f"container {ct} is {record.state}; its memory is copied only while it runs")
    key, ram = (ct, int(token)), m.up
    async with channel(m, ct, int(token), "round") as sending:
        copy, move = m.copy(ct), m.up.moves.get(key)
        if copy is None or move is None:
            raise Exit(1, "no place for images")
        try:
            await m.step("pre-dump")
            await asyncio.sleep(HELD_UP_S)
            await m.step("pre-dumped")
        except asyncio.CancelledError:
            if m.ram is ram and copy.mode != "dead":
                m.world.violate(Law.NEWEST, f"{ct} on {m.name} runs on though CRIU was killed while it copied it")
            raise
        if ct in m.up.frozen:
            m.world.violate(Law.DECIDED, f"{ct} on {m.name} is let go on by a round, and it was fenced meanwhile")
        if m.up.fail_dump > 0:
            m.up.fail_dump -= 1
            raise Exit(1, "CRIU: pre-dump failed half-way")
        await sending.send("round", ROUND_S)
        there = sending.target.up.moves.get(key)
        if there is None or there.rounds != int(number) - 1:
            raise Exit(1, f"round {int(number) - 1} has not come")
        there.rounds = move.rounds = int(number)
    return f"began_ms {round(m.world.clock.now_s() * 1000)}\nfrozen_ms 20\nsent 1000000\nsend_ms 100\nms 120\n"


async def huge_pages(m: Machine, ct: str, token: str) -> str:
    """Changes nothing that anybody could lose, and may end half-way."""
    if (record := m.check_run(ct, int(token))).state != "serving":
        raise refuse(f"container {ct} is {record.state}; its memory is gathered only while it runs")
    await m.step("huge-pages")
    return "huge_bytes 0\n"


async def await_ready(m: Machine, ct: str, token: str) -> str:
    """It waits, and never fails: what stands is asked for by the fence."""
    m.check_run(ct, int(token))
    await m.step("await ready")
    return "ready now\n"


async def place_late(m: Machine, ct: str, move: MoveDir, receiver: Receiver) -> None:
    """What rounds have brought: the receiver goes on when the stream has ended. Without it the copy is killed."""
    await _first(move.filled, receiver.done)
    if receiver.alive and move.images is not None and move.images.pages:
        await _first(move.finished, receiver.done)
        await asyncio.sleep(LATE_S)
        move.in_place = receiver.alive
    move.late_over.set()
    receiver.done.set()
    copy = m.copy(ct)
    if copy is not None and move.in_place:
        copy.counts = True
    elif copy is not None and copy.mode != "frozen":
        m.set_gate(ct, False)
        m.copy_dies(ct, FOLLOWS_NOT)


async def _first(*events: asyncio.Event) -> None:
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waiting:
            each.cancel()
