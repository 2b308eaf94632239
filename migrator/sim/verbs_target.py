"""Simulated verbs of a migration's target, moment by moment as in target.sh."""

from __future__ import annotations

import asyncio
import contextlib

from migrator.sim.cold import create_held, is_created, let_begin
from migrator.sim.gate import gate_error, open_gate
from migrator.sim.machine import Exit, Machine, Tree, refuse
from migrator.sim.move_dir import MoveDir
from migrator.sim.restart import disarm, keeper_end
from migrator.sim.verbs_lease import clean_move
from migrator.sim.verbs_source import census, make_move
from migrator.sim.world import FOLLOWS_NOT, NOT_LET_GO, Copy

RESTORE_S = 0.1
MISSING_PAGES = -3  # the moment of a copy that is not yet one
RELEASE_WAIT_S, DISCARD_WAIT_S = 20, 10


async def admit(m: Machine, ct: str, token: str, address: str, lifetime_s: str, *key: str) -> str:
    async with m.locked():
        m.check_run(ct, int(token))
        if m.disk.full:
            raise Exit(1, "authorized_keys: No space left on device")
        m.disk.keys = {entry: until for entry, until in m.disk.keys.items() if entry[0] != ct}
        m.disk.keys[(ct, int(token))] = m.world.clock.now_s() + m.skew_s + int(lifetime_s)
        await m.step("key let in")
        return "user root\n"


async def prepare(m: Machine, ct: str, token: str, role: str, template: str, id_base: str, *sizes: str) -> str:
    async with m.locked():
        record = m.check_run(ct, int(token))
        if role != "target":
            await disarm(m, ct)
            make_move(m, ct, int(token), role).follows = "follow" in sizes
            return ""
        if record.state != "reserved":
            raise refuse(f"container {ct} is {record.state} here")
        make_move(m, ct, int(token), role).follows = "follow" in sizes
        if m.disk.full:
            raise Exit(1, "containers: No space left on device")
        await m.step("make directory")
        if ct not in m.disk.trees:
            m.disk.trees[ct] = Tree(-1, template.partition("@")[0], int(id_base))
        return ""


async def template_done(m: Machine, ct: str, token: str, template: str, digest: str) -> str:
    async with m.locked():
        m.check_run(ct, int(token))
        if template not in m.disk.templates:
            if m.disk.parts.get((ct, int(token))) != digest:
                raise refuse(f"template {template} did not arrive whole")
            m.disk.templates[template] = digest
        m.disk.parts.pop((ct, int(token)), None)
        return ""


async def restore(m: Machine, ct: str, token: str, way: str, *rehearsal: str) -> str:
    """Restores and holds: ends only when the container was released, or the restore failed or was called off."""
    m.check_run(ct, int(token))
    if way == "files":
        return await create_held(m, ct, int(token))
    move = m.up.moves.get((ct, int(token)))
    if move is None:
        raise Exit(1, "CRIU: no images")
    try:
        if way == "stream":
            await _stand_ready(move)
        await _hold(m, ct, move)
    except Exit:
        move.ended = True
        move.woke.set()
        raise
    move.ended = True
    return ""


async def _stand_ready(move: MoveDir) -> None:
    """Started before the freeze: CRIU waits for its first image, or is called off."""
    move.go = asyncio.get_running_loop().create_future()
    if not await _happens(move.all_images, move.go):
        raise Exit(1, "CRIU: it was called off")


async def _happens(event: asyncio.Event, called_off: asyncio.Future[str]) -> bool:
    """Whether it does before the restore is called off."""
    waiting = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait((waiting, called_off), return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
    return event.is_set()


async def _hold(m: Machine, ct: str, move: MoveDir) -> None:
    move.go = move.go or asyncio.get_running_loop().create_future()
    await m.step("restore")
    images = move.images
    streamed = move.all_images.is_set()
    if images is None or not (images.pages or streamed) or not images.rest:
        raise Exit(1, "CRIU: images are not whole")
    if ct in m.up.copies:
        raise Exit(1, f"container with id {ct} exists")
    if m.up.fail_restore > 0:
        m.up.fail_restore -= 1
        raise Exit(1, "CRIU: restore failed: out of memory")
    m.up.gates[ct] = False
    missing = streamed and not move.follows
    copy = Copy(ct, m.name, MISSING_PAGES if missing else images.stamp, "held", images.processes)
    # Whole before the orchestrator can know: until it does, it may be given up, as images may.
    copy.counts = not streamed
    m.up.copies[ct] = copy
    await asyncio.sleep(RESTORE_S)
    await m.step("restored")
    if streamed:
        if move.follows:
            m.spawn(_stand_by(m, copy, move))
        else:
            await move.filled.wait()
        if not move.follows and not images.pages:
            m.end_copy(ct)
            raise Exit(1, "CRIU: pages are missing")
        if not await _happens(move.files_came, move.go):
            m.end_copy(ct)
            raise Exit(1, "CRIU: it was called off")
        copy.stamp = images.stamp
    if copy.mode == "dead":
        raise Exit(1, "CRIU: it was killed")
    move.held = copy.processes
    move.woke.set()
    m.world.changed(ct, f"{m.name}: {ct} is held")
    word = await move.go
    if word != "go" or copy.mode == "dead":
        m.end_copy(ct)
        raise Exit(1, "CRIU: the action script said no")
    await _let_go(m, copy, move)


async def _let_go(m: Machine, copy: Copy, move: MoveDir) -> None:
    move.going = True
    await m.step("let go")
    if m.up.fail_release > 0:
        m.up.fail_release -= 1
        move.not_let_go = True
        raise Exit(1, "CRIU: it was killed")
    move.gate_error = open_gate(m, copy.ct)
    m.world.execute(copy, m.disk.trees[copy.ct].stamp)
    await m.step("resumed")
    move.finished.set()


async def _stand_by(m: Machine, copy: Copy, move: MoveDir) -> None:
    """Post-copy's watcher: with all pages there the copy counts; without, it is killed behind a closed gate."""
    await move.filled.wait()
    if not move.lost:
        copy.counts = True
        return
    if m.copy(copy.ct) is copy:
        m.set_gate(copy.ct, False)
        m.copy_dies(copy.ct, FOLLOWS_NOT)


async def await_filled(m: Machine, ct: str, token: str, timeout_s: str) -> str:
    await m.step("await filled")
    record = m.check_token(ct, int(token))
    if record.state == "released" and record.boot != m.up.boot:
        return "filled lost\n"
    for move in [move for key, move in m.up.moves.items() if key[0] == ct and (move.follows or move.late)]:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(int(timeout_s)):
                await (move.late_over if move.late else move.filled).wait()
        if move.unfilled:
            return "filled lost\n" if move.lost else "filled no\n"
    return "filled yes\n"


async def await_held(m: Machine, ct: str, token: str, timeout_s: str) -> str:
    m.check_token(ct, int(token))
    move = m.up.moves.get((ct, int(token)))
    if move is not None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(int(timeout_s)):
                await move.woke.wait()
    if not m.is_held(ct):
        return "held no\n"
    async with m.locked():
        record = m.check_token(ct, int(token))
        if record.state == "reserved":
            cold = "yes" if is_created(m, ct) else record.cold
            await m.write_record(ct, m.edit(record, state="held", boot=m.up.boot, cold=cold))
        copy = m.copy(ct)
        if copy is not None and not copy.anew:
            copy.counts = copy.counts or not any(mv.unfilled for key, mv in m.up.moves.items() if key[0] == ct)
    closed = f"gate_error {error}\n" if (error := gate_error(m, ct)) else ""
    return "held yes\n" + closed + await census(m, ct)


async def release(m: Machine, ct: str, token: str) -> str:
    """First the record, durably, then the processes."""
    async with m.locked():
        record = m.check_token(ct, int(token))
        if record.state == "held":
            if record.boot != m.up.boot:
                raise Exit(12, f"this node has rebooted: the held copy of {ct} is gone")
            if not m.is_held(ct):
                raise Exit(12, f"the held copy of {ct} has died")
            await m.write_record(ct, m.edit(record, state="released"))
        elif record.state != "released":
            raise refuse(f"container {ct} is {record.state} here and cannot be released")
        await _say(m, ct, "go", RELEASE_WAIT_S)
        if record.cold == "yes":
            await let_begin(m, ct)
        ended = end_if_not_let_go(m, ct)
        errors = [
            f"gate_error {move.gate_error}\n" for key, move in m.up.moves.items() if key[0] == ct and move.gate_error
        ]
        return "".join(errors) + ended + f"released_at_ms 1\nprocesses {'running' if m.copy(ct) else 'none'}\n"


def end_if_not_let_go(m: Machine, ct: str) -> str:
    """Ends what CRIU could not let go any more, and says so whenever it is asked."""
    if not any(move.not_let_go for key, move in m.up.moves.items() if key[0] == ct):
        return ""
    if (copy := m.copy(ct)) is not None and copy.mode == "held":
        m.copy_dies(ct, NOT_LET_GO)
    return "not_let_go CRIU: it was killed\n"


async def _say(m: Machine, ct: str, word: str, wait_s: float) -> None:
    """Tells the hook of every restore of this container, and waits for the restore's end."""
    for key, move in list(m.up.moves.items()):
        if key[0] != ct or move.go is None or move.ended:
            continue
        if not move.go.done():
            move.go.set_result(word)
        for job_key in [k for k in m.up.jobs if k[0] == ct and k[2] == "restore"]:
            try:
                async with asyncio.timeout(wait_s):
                    await m.up.jobs[job_key].done.wait()
            except TimeoutError:
                if word == "go":
                    raise Exit(12, f"the restore of {ct} does not end after its release") from None


async def discard_target(m: Machine, ct: str, token: str, run: str = "") -> str:
    async with m.locked():
        record = m.record(ct)
        if record.state == "absent":
            await m.raise_floor(ct, int(token))
            await clean_move(m, ct, int(token))
            return ""
        m.check_token(ct, int(token), run)
        if record.state not in ("reserved", "held"):
            raise refuse(f"container {ct} is {record.state} here; it is not discarded")
        await _say(m, ct, "kill", DISCARD_WAIT_S)
        await keeper_end(m, ct)
        await m.step("end container")
        m.end_copy(ct)
        await m.kill_jobs(ct)
        await clean_move(m, ct, int(token))
        m.remove_tree(ct)
        await m.remove_record(ct, int(token))
        return ""
