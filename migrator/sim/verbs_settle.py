"""Simulated verbs of a settlement by an operator: stand-down, after source.sh, and adopt, after target.sh."""

from __future__ import annotations

from migrator.sim.machine import Machine, refuse
from migrator.sim.restart import disarm
from migrator.sim.verbs_lease import close_links
from migrator.sim.verbs_source import end_watchdogs


async def stand_down(m: Machine, ct: str, token: str, generation: str) -> str:
    """What runs here stops, whole, and no timer and no start brings it back."""
    m.check_token(ct, int(token))
    close_links(m, ct)
    await m.await_job(ct, "dump")
    async with m.locked():
        record = m.check_token(ct, int(token))
        if int(generation) <= record.generation:
            raise refuse(f"container {ct} is of generation {record.generation} here; {generation} is not above it")
        if record.state not in ("serving", "stopped", "fenced", "sealed", "released"):
            raise refuse(f"container {ct} is {record.state} here and does not run")
        await disarm(m, ct)
        record, copy = m.record(ct), m.copy(ct)
        boot = m.up.boot if copy else record.boot
        await m.write_record(ct, m.edit(record, state="sealed", boot=boot))
        await end_watchdogs(m, ct)
        copy = m.copy(ct)
        if copy is not None:
            m.up.frozen.add(ct)
            m.world.freeze(copy)
            m.set_gate(ct, False)
        return "stood down\n"


async def adopt(m: Machine, ct: str, token: str, generation: str) -> str:
    """A target whose restored copy is lost keeps its files, and starts cold."""
    async with m.locked():
        record = m.check_token(ct, int(token))
        if int(generation) <= record.generation:
            raise refuse(f"container {ct} is of generation {record.generation} here; {generation} is not above it")
        if record.state == "stopped":
            return ""
        if record.state not in ("reserved", "held"):
            raise refuse(f"container {ct} is {record.state} and is not adopted")
        if m.is_held(ct):
            raise refuse(f"container {ct} is held here; it is released, not started cold")
        m.end_copy(ct)
        await m.kill_jobs(ct)
        await m.write_record(ct, m.edit(record, state="stopped"))
        return ""
