"""Simulated verbs of a migration's source, moment by moment as in source.sh, and the wire between two nodes."""

from __future__ import annotations

import asyncio

from migrator.sim.channel import carry, channel, usable
from migrator.sim.cold import begin_anew
from migrator.sim.gate import open_gate
from migrator.sim.machine import Exit, Link, Machine, Record, refuse
from migrator.sim.move_dir import Images, MoveDir
from migrator.sim.restart import keeper_end
from migrator.sim.verbs_lease import clean_move, close_links
from migrator.sim.verbs_rounds import place_late
from migrator.sim.world import Copy

CONNECT_TIMEOUT_S = 10
PASS_S, PAGES_S, DUMP_S = 0.05, 0.1, 0.1
DUMP_SAID = "dump_ms 100\nimage_kib 100\nsend_ms 110\n"
FOLLOW_S_MAX = 86_400.0
FENCE_WAIT_S = 60
PARTIAL = -2  # a tree that is being received


async def keygen(m: Machine, ct: str, token: str, peer: str) -> str:
    async with m.locked():
        m.check_run(ct, int(token))
        m.up.keys.add((ct, int(token)))
        return f"key ssh-ed25519 AAAA{ct}{token}\naddress 192.0.2.1\n"


async def link(m: Machine, ct: str, token: str, user: str, address: str, *rest: str) -> str:
    await m.step("link")
    m.check_run(ct, int(token))
    key = (ct, int(token))
    standing = m.up.links.get(key)
    if standing is not None and usable(m, standing):
        return ""
    if key not in m.up.keys:
        raise Exit(1, "no key to connect with")
    target = m.world.machines[address]
    if target.ram is None or not m.world.joined(m.name, target.name):
        await asyncio.sleep(CONNECT_TIMEOUT_S)
        raise Exit(1, f"node to node: {address} does not answer")
    await target.step("login")
    if target.disk.keys.get(key, 0.0) < m.world.clock.now_s() + target.skew_s:
        raise Exit(1, f"node to node: {address} does not let this key in")
    m.up.links[key] = Link(target.name, target.up.boot)
    async with m.locked():  # a link that a later lease could not have seen is ended here
        await m.step("note link")
        if m.record(ct).token != int(token):
            close_links(m, ct)
        m.check_token(ct, int(token))
    return ""


async def send_template(m: Machine, ct: str, token: str, template: str) -> str:
    m.check_run(ct, int(token))
    target = await carry(m, ct, int(token), "template", PASS_S)
    target.disk.parts[(ct, int(token))] = m.disk.templates[template]
    return ""


async def send_files(m: Machine, ct: str, token: str, number: str) -> str:
    """One pass. What arrives is the state at its begin; while it runs the target has neither the old nor the new."""
    m.check_run(ct, int(token))
    if number == "final" and m.world.streams and m.record(ct).cold != "yes":
        await _fenced(m, (ct, int(token)))
    if ct not in m.disk.trees:
        raise Exit(1, "rsync ended with 23")
    stamp = m.disk.trees[ct].stamp
    link = m.up.links.get((ct, int(token)))
    if link is not None and usable(m, link):
        there = m.world.machines[link.target].disk.trees.get(ct)
        if there is not None and m.world.machines[link.target].record(ct).token == int(token):
            there.stamp = PARTIAL
    target = await carry(m, ct, int(token), f"files-{number}", PASS_S)
    if ct not in target.disk.trees:
        raise Exit(1, "rsync ended with 11")
    if m.disk.trees[ct].stamp != stamp and number == "final":
        raise Exit(1, "rsync ended with 24")
    target.disk.trees[ct].stamp = stamp
    target.disk.trees[ct].durable = True
    if number == "final" and (move := target.up.moves.get((ct, int(token)))):
        move.files_came.set()
    m.world.changed(ct, f"{m.name}: files of {ct} of moment {stamp} are on {target.name}")
    return "bytes 1000\nsent 1000\nms 50\n"


async def _fenced(m: Machine, key: tuple[str, int]) -> None:
    """A last pass that stands ready waits for the fence."""
    for _ in range(FENCE_WAIT_S * 10):
        move = m.up.moves.get(key)
        if move is not None and move.fenced.is_set():
            return
        await asyncio.sleep(0.1)
    raise Exit(1, f"container {key[0]} was not fenced")


async def manifest(m: Machine, ct: str, token: str) -> str:
    m.check_run(ct, int(token))
    await m.step("manifest")
    return f"manifest {m.disk.trees[ct].stamp}\n"


def check_fenced(m: Machine, ct: str) -> None:
    """The record alone is no fence: frozen and closed is."""
    if ct not in m.up.frozen or m.gate_is_open(ct):
        raise Exit(12, f"container {ct} is not frozen behind a closed gate")


async def own_network(m: Machine, ct: str, token: str) -> str:
    m.check_run(ct, int(token))
    if m.copy(ct) is None:
        raise Exit(12, f"container {ct} has no processes")
    await m.step("own network")
    return ""


async def fence(m: Machine, ct: str, token: str, deadline_s: str, carried: str = "") -> str:
    async with m.locked():
        record = m.check_run(ct, int(token))
        if record.void == int(token):
            raise refuse(f"container {ct} was given back, and the fence of token {token} has ended")
        if record.state not in ("serving", "fenced"):
            raise refuse(f"container {ct} is {record.state} and cannot be fenced")
        if m.copy(ct) is None:
            raise Exit(12, f"container {ct} has no processes")
        fenced = m.edit(record, state="fenced", boot=m.up.boot, deadline_s=int(deadline_s), armed="no")
        await m.write_record(ct, fenced)
        await keeper_end(m, ct)
        key = (ct, int(token), "watchdog")
        if key not in m.up.jobs or not m.up.jobs[key].alive:
            await m.kill_job(key)
            m.start_job(key, lambda: watchdog(m, ct, float(deadline_s)))
        await m.step("hold back")
        m.up.held_back.add(ct)
        await m.step("freeze")
        copy = m.copy(ct)
        m.up.frozen.add(ct)
        if copy is not None:
            m.world.freeze(copy)
        await m.step("close gate")
        m.set_gate(ct, False)
        m.up.held_back.discard(ct)
        check_fenced(m, ct)
        if move := m.up.moves.get((ct, int(token))):
            move.fenced.set()
        return f"frozen_at_ms {round(m.world.clock.now_s() * 1000)}\nquiet_ms 0\nunsent 0\nfenced now\n"


async def watchdog(m: Machine, ct: str, deadline_s: float) -> str:
    """At the deadline the source takes its container back, unless the fence was sealed."""
    await asyncio.sleep(deadline_s)
    await m.step("watchdog")
    close_links(m, ct)
    await m.await_job(ct, "dump")
    async with m.up.lock:
        record = m.record(ct)
        if record.state == "fenced":
            await give_back(m, ct, record)
            return "watchdog fired\n"
    return ""


async def give_back(m: Machine, ct: str, record: Record) -> None:
    await m.write_record(ct, m.edit(record, state="serving", deadline_s=0, void=record.token), in_place=True)
    if record.cold == "yes":
        await begin_anew(m, ct)
        return
    open_gate(m, ct)
    await m.step("thaw")
    copy = m.copy(ct)
    m.up.frozen.discard(ct)
    if copy is not None and copy.mode == "frozen":
        m.world.execute(copy, m.disk.trees[ct].stamp)
    await m.step("let in")
    m.up.held_back.discard(ct)


async def dump(m: Machine, ct: str, token: str, way: str) -> str:
    """Dumps the frozen container, which stays frozen and whole; its memory is on the target when this ends."""
    m.check_run(ct, int(token))
    key = (ct, int(token))
    if way == "stream":
        return await _dump_streamed(m, key)
    check_fenced(m, ct)
    copy, move = await _dumped(m, key)
    move.images = Images(copy.stamp, copy.processes, pages=True, rest=True)
    target = await carry(m, ct, int(token), "pages", PAGES_S)
    there = target.up.moves.get(key)
    if there is None:
        raise Exit(1, "the pages did not arrive whole")
    rest = there.came
    there.images = Images(copy.stamp, copy.processes, pages=True, rest=rest)
    if there.came:
        raise Exit(1, f"the images of {ct} have come before")
    there.came = True
    await carry(m, ct, int(token), "images", 0.01)
    check_fenced(m, ct)
    there.images.rest = True
    return DUMP_SAID


async def _dump_streamed(m: Machine, key: tuple[str, int]) -> str:
    """Stands ready with its receiver until the container is fenced; a page goes into the restored process itself."""
    ct, token = key
    move = m.up.moves.get(key)
    if move is None:
        raise Exit(1, "no place for images")
    async with channel(m, ct, token, "stream") as sending:
        await sending.idle_until(move.fenced, "stream")
        copy, move = await _dumped(m, key)
        move.images = Images(copy.stamp, copy.processes, pages=False, rest=True)
        there = sending.target.up.moves.get(key)
        if there is None or there.rounds != move.rounds:
            raise Exit(1, "the images did not arrive")
        await sending.send("images", 0.01)
        there.images = Images(copy.stamp, copy.processes, pages=False, rest=True)
        there.came = True
        if there.rounds:
            there.late = sending.goes_on = True
            sending.target.spawn(place_late(sending.target, ct, there, sending.receiver))
        there.all_images.set()
        move.dumped.set()
        try:
            if move.follows:
                await sending.idle_until(there.finished, "stream", FOLLOW_S_MAX)
            await sending.send("pages", PAGES_S)
            there.images.pages = move.images.pages = True
        finally:
            there.filled.set()
            move.filled.set()
    move.sent.set()
    check_fenced(m, ct)
    return DUMP_SAID


async def await_dumped(m: Machine, ct: str, token: str, timeout_s: str) -> str:
    """Waits until a dump is over, or, where pages follow, its images are on their way."""
    m.check_run(ct, int(token))
    move, job = m.up.moves.get((ct, int(token))), m.up.jobs.get((ct, int(token), "dump"))
    for _ in range(int(timeout_s) * 10):
        if move is not None and (move.dumped if move.follows else move.sent).is_set():
            check_fenced(m, ct)
            return DUMP_SAID
        if job is None or not job.alive:
            break
        await asyncio.sleep(0.1)
    raise Exit(1, f"the dump of {ct} has ended, or takes too long")


async def await_nearly(m: Machine, ct: str, token: str, timeout_s: str) -> str:
    """Waits until nearly all of a dump is sent: here as soon as pages flow."""
    m.check_run(ct, int(token))
    move, job = m.up.moves.get((ct, int(token))), m.up.jobs.get((ct, int(token), "dump"))
    for _ in range(int(timeout_s) * 10):
        if move is None or move.dumped.is_set() or job is None or not job.alive:
            break
        await asyncio.sleep(0.1)
    return f"nearly {'yes' if move is not None and move.dumped.is_set() else 'no'}"


async def _dumped(m: Machine, key: tuple[str, int]) -> tuple[Copy, MoveDir]:
    """CRIU's dump itself."""
    copy = m.copy(key[0])
    move = m.up.moves.get(key)
    if copy is None or move is None:
        raise Exit(1, "no place for images")
    copy.tainted = "CRIU was killed while it dumped it"
    await m.step("dump")
    await asyncio.sleep(DUMP_S)
    failed = m.up.fail_dump > 0
    await m.step("dumped")
    copy.tainted = ""
    if failed:
        m.up.fail_dump -= 1
        raise Exit(1, "CRIU: dump failed half-way")
    return copy, move


async def census(m: Machine, ct: str) -> str:
    await m.step("census")
    copy = m.copy(ct)
    if copy is None:
        raise Exit(1, f"container {ct} has no processes")
    return "\n".join([*(f"process {n + 1}" for n in range(copy.processes)), "socket tcp ESTAB a b"]) + "\n"


async def seal(m: Machine, ct: str, token: str) -> str:
    async with m.locked():
        record = m.check_run(ct, int(token))
        if record.state == "fenced":
            if record.cold != "yes":
                check_fenced(m, ct)
            elif m.copy(ct) is not None:
                raise Exit(12, f"container {ct} is not stopped")
            await m.write_record(ct, m.edit(record, state="sealed"))
            await end_watchdogs(m, ct)
        elif record.state != "sealed":
            raise refuse(f"the seal is refused: container {ct} is {record.state} (the watchdog was first)")
        return "sealed yes\n"


async def end_watchdogs(m: Machine, ct: str) -> None:
    for key in [key for key in m.up.jobs if key[0] == ct and key[2] == "watchdog"]:
        await m.kill_job(key)


async def thaw(m: Machine, ct: str, token: str, run: str = "") -> str:
    await m.step("thaw")
    m.check_token(ct, int(token), run)
    close_links(m, ct)
    await m.await_job(ct, "dump")
    async with m.locked():
        record = m.check_token(ct, int(token), run)
        fired = any(job.out for key, job in m.up.jobs.items() if key[0] == ct and key[2] == "watchdog")
        await end_watchdogs(m, ct)
        copy = m.copy(ct)
        if record.state in ("serving", "stopped"):
            if (record.state, record.cold) == ("serving", "yes") and copy is None:
                await begin_anew(m, ct)
                return "thawed now\n"
            if copy is None or copy.mode != "frozen":
                return "thawed before\n" + ("paused_ms 1\n" if fired else "")
            await give_back(m, ct, record)  # one who died right after the record has left it frozen
            return "thawed now\n"
        if record.state not in ("fenced", "sealed"):
            raise refuse(f"container {ct} is {record.state} and is not thawed")
        if m.copy(ct) is None and record.cold != "yes":
            raise Exit(12, f"container {ct} has no process to thaw: this node went down meanwhile")
        await give_back(m, ct, record)
        return "thawed now\n"


async def reclaim(m: Machine, ct: str, token: str) -> str:
    async with m.locked():
        record = m.check_token(ct, int(token))
        if record.state in ("fenced", "sealed"):
            if m.copy(ct) is not None:
                raise refuse(f"container {ct} still has its processes; it is thawed, not started cold")
            await m.write_record(ct, m.edit(record, state="stopped", armed="no"))
        elif record.state != "stopped":
            raise refuse(f"container {ct} is {record.state} and is not reclaimed")
        return ""


async def retire(m: Machine, ct: str, token: str) -> str:
    async with m.locked():
        record = m.record(ct)
        if record.state == "absent":
            return ""
        m.check_token(ct, int(token))
        if record.state != "sealed" and (record.state != "fenced" or record.cold == "yes" or m.copy(ct) is not None):
            raise refuse(f"container {ct} is {record.state}, not sealed; it is not removed")
        await m.step("cut cable")
        await keeper_end(m, ct)
        m.up.gates.pop(ct, None)
        m.up.held_back.discard(ct)
        await m.step("end container")
        m.end_copy(ct)
        await clean_move(m, ct, int(token))
        m.remove_tree(ct)
        await m.remove_record(ct, int(token))
        return ""


def make_move(m: Machine, ct: str, token: int, role: str) -> MoveDir:
    return m.up.moves.setdefault((ct, token), MoveDir(role))
