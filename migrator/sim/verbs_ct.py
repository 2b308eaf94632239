"""Simulated verbs about a container's life on one node, as in container.sh. Making one is `place`'s work."""

from __future__ import annotations

from migrator.sim.gate import gate_error, open_gate
from migrator.sim.machine import Exit, Machine, Record, refuse
from migrator.sim.restart import armed, bring_up, disarm, keeper_end, keeper_start


def check_at_rest(ct: str, record: Record) -> None:
    """Whether a container is here and not on the move."""
    if record.state == "absent":
        raise Exit(11, f"container {ct} is not on this node")
    if record.state not in ("serving", "stopped"):
        raise refuse(f"container {ct} is {record.state}: it was on the move; finish run {record.run} first")


def check_not_leased(ct: str, record: Record) -> None:
    if record.run != "-":
        raise refuse(f"container {ct} is held by run {record.run}; wait for its end")


async def ct_put(m: Machine, ct: str, token: str, name: str, size: str, stdin: bytes = b"") -> str:
    async with m.locked():
        if ct not in m.disk.trees:
            raise Exit(2, f"cannot create containers/{ct}/.{name}: Directory nonexistent")
        if len(stdin) != int(size):
            raise Exit(1, f"{name} of {ct} came cut short")
        m.check_token(ct, int(token))
        if m.disk.full:
            raise Exit(1, f"{name}: No space left on device")
        m.disk.trees[ct].bundle[name] = stdin
        return ""


async def ct_start(m: Machine, ct: str) -> str:
    """Starts a container cold. The record decides."""
    async with m.locked():
        record = m.record(ct)
        check_at_rest(ct, record)
        if m.copy(ct):
            if record.state == "serving" and record.run == "-":
                if not m.gate_is_open(ct) and (error := open_gate(m, ct)):
                    raise Exit(12, f"container {ct} runs, but its gate does not open: {error}")
                if (now := armed(m, ct, record)) != record:
                    await m.write_record(ct, now)
                keeper_start(m, ct)
            return "started already\n"
        await m.write_record(ct, armed(m, ct, m.edit(record, state="serving", boot=m.up.boot)))
        if error := gate_error(m, ct):
            await m.write_record(ct, m.edit(m.record(ct), state="stopped", armed="no"))
            raise Exit(1, f"container {ct} did not start: {error}")
        bring_up(m, ct)
        keeper_start(m, ct)
        return "started now\n"


async def ct_stop(m: Machine, ct: str, grace_s: str) -> str:
    """Ends a container that nobody moves. An operator's word: what it had in memory is given up."""
    async with m.locked():
        record = m.record(ct)
        check_at_rest(ct, record)
        check_not_leased(ct, record)
        await disarm(m, ct)
        if m.copy(ct):
            m.world.truths[ct].word = "the operator stopped it"
        m.end_copy(ct)
        await m.write_record(ct, m.edit(m.record(ct), state="stopped", armed="no"))
        return ""


async def ct_remove(m: Machine, ct: str) -> str:
    async with m.locked():
        record = m.record(ct)
        if record.state == "absent":
            return ""
        check_at_rest(ct, record)
        check_not_leased(ct, record)
        if m.copy(ct):
            raise refuse(f"container {ct} is running")
        await keeper_end(m, ct)
        m.world.truths[ct].word = "the operator removed it"
        m.remove_tree(ct)
        await m.remove_record(ct, record.token)
        return ""
