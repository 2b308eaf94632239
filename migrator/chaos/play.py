"""Plays one cell: a migration under live clients, broken at its moment, recovered as an operator would, and judged."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from migrator.chaos.actors import PART_S, Breaker
from migrator.chaos.cells import LONG_LINKS, SHORT_LINKS, Actor, Cell, Setting
from migrator.chaos.client import COUNTS_PER_SAVE, Caller, Client
from migrator.chaos.lane import CONTAINER, Lane
from migrator.chaos.observe import Observer
from migrator.chaos.promises import promised, promised_beside
from migrator.chaos.scenes import MOVE, Command, Side
from migrator.chaos.seen import STUCK, Fate, Seen, judge
from migrator.chaos.worker import Worker, WorkerError
from migrator.errors import MigratorError
from migrator.protocol.states import State

BLACKOUT_S = 15.0
BLACKOUT_PARTED_S = 6.0
END_TIMEOUT_S = 150.0
ANSWER_TIMEOUT_S = 40.0
KEEPER_TIMEOUT_S = 30.0
REFUSED, DEBT = 3, 4
UNDECIDED = "take-over"  # the point of a settlement before its decision
NOT_STARTED = f"{State.PLANNED}:end"


@dataclass
class Watched:
    """Those who look at one container."""

    fate: Fate
    client: Client
    caller: Caller
    observer: Observer


@dataclass
class Play:
    """One cell on one lane, and who looks at it."""

    cell: Cell
    lane: Lane
    breaker: Breaker
    seen: Seen
    watched: list[Watched]

    @property
    def sides(self) -> dict[str, str]:
        return {self.breaker.source: str(Side.SOURCE), self.breaker.target: str(Side.TARGET)}

    def node(self, side: Side) -> str:
        return self.breaker.source if side is Side.SOURCE else self.breaker.target


async def play(cell: Cell, lane: Lane) -> Seen:
    """One cell. Whatever hangs or breaks down is a finding, not an error of this program."""
    seen = Seen(cell)
    began_s = asyncio.get_running_loop().time()
    async with contextlib.AsyncExitStack() as stack:
        try:
            await lane.become(cell.setting)
            breaker = Breaker(lane, cell, lane.at, lane.other(lane.at))
            await breaker.prepare()
            watched = [await _watch(name, lane, cell, stack) for name in lane.containers]
            this = Play(cell, lane, breaker, seen, watched)
            seen.fates = [each.fate for each in watched]
            with contextlib.ExitStack() as observers:
                for each in watched:
                    observers.enter_context(each.observer)
                await (_break(this) if cell.scene is MOVE else _break_in_scene(this))
                await _recover(this)
                await _look(this)
            for each in watched:
                seen.twice += len(each.observer.broken)
                seen.broken += each.observer.broken[:3]
            judge(seen)
            await _clear(this)
        except (MigratorError, TimeoutError) as error:
            seen.broken.append(str(error) or type(error).__name__)
    seen.took_s = asyncio.get_running_loop().time() - began_s
    return seen


async def _watch(name: str, lane: Lane, cell: Cell, stack: contextlib.AsyncExitStack) -> Watched:
    """Clients that are served; the observer is not started yet."""
    client = Client(lane.ip_of(name))
    stack.push_async_callback(client.close)
    await client.connect()
    caller = Caller(client.ip)
    stack.push_async_callback(caller.close)
    if not await client.more(3, ANSWER_TIMEOUT_S) or not await caller.served(ANSWER_TIMEOUT_S):
        raise WorkerError(f"{name} was not served before anything was broken: {client.error}")
    observer = Observer(lane.paths, lane.spec.nodes, name, lane.veths[name])
    return Watched(Fate(name, promised(cell)), client, caller, observer)


# --- breaking -------------------------------------------------------------------------------------------------------


async def _break(this: Play) -> None:
    """From the begin of the migration to its orchestrator's end, with the breakage in between."""
    cell, breaker, seen = this.cell, this.breaker, this.seen
    worker = await this.lane.orchestrator()
    try:
        await _to_stop(this, worker)
        if cell.waits_for_act:
            await worker.send({"do": "go"})
            await breaker.seen()
        await breaker.strike(worker)
        if cell.actor is Actor.ORCHESTRATOR:
            return
        if not cell.waits_for_act:
            await worker.send({"do": "go"})
        ending = asyncio.create_task(worker.answer(END_TIMEOUT_S))
        if cell.actor in SHORT_LINKS:
            await asyncio.sleep(PART_S)  # the breakage itself: that long is the link parted
            await breaker.mend()
        ended = await ending
        seen.exit_code = ended["code"]
        _note(seen, ended)
        if cell.actor in LONG_LINKS:
            await _meanwhile(this)
        if cell.actor not in SHORT_LINKS:
            await breaker.mend()
    finally:
        await _part_with(this, worker)


async def _to_stop(this: Play, worker: Worker) -> str:
    """The first orchestrator begins and is held. Returns its run."""
    cell, breaker = this.cell, this.breaker
    held = await worker.ask(
        "migrate",
        container=CONTAINER,
        others=[name for name in this.lane.containers if name != CONTAINER],
        target=breaker.target,
        sides=this.sides,
        stop_at=cell.stop_at,
        call_off_at=cell.call_off_at,
        blackout_s=BLACKOUT_PARTED_S if cell.actor in LONG_LINKS else BLACKOUT_S,
    )
    _stopped(held, cell.stop_at)
    if cell.state is State.REVOKED:
        await asyncio.to_thread(breaker.kill_copy)
        held = await worker.ask("go", stop_at=f"{State.REVOKED}:end")
        _stopped(held, f"{State.REVOKED}:end")
    breaker.token = held["token"]
    for each in this.watched:
        if each.fate.container != CONTAINER:
            each.fate.promise = promised_beside(cell, held["states"].get(each.fate.container, NOT_STARTED))
    return str(held["run"])


def _stopped(held: dict[str, Any], at: str) -> None:
    if held.get("stopped") != at:
        raise WorkerError(f"it did not come to {at}: {held.get('error') or held.get('code')}")


async def _break_in_scene(this: Play) -> None:
    """The first orchestrator killed, the wreck, a resume that must say so if nobody can know; then the command."""
    cell, breaker, seen, scene = this.cell, this.breaker, this.seen, this.cell.scene
    worker = await this.lane.orchestrator()
    try:
        run = await _to_stop(this, worker)
    finally:
        await worker.kill()
    for wreck in scene.wrecks:
        await breaker.wreck(wreck)
    if scene.stuck and not (scene.command is Command.NONE and cell.point):
        ended = await _ask(this, "resume", run=run)
        if ended["code"] != STUCK:
            seen.broken.append(f"nobody could know, and resume ended with {ended['code']}: {ended['error']}")
    if cell.point:
        await _break_command(this, run)
    else:
        await _break_nobody(this)
    if cell.actor not in SHORT_LINKS:
        await breaker.mend()
    await breaker.unwreck()


async def _break_command(this: Play, run: str) -> None:
    cell, breaker, seen, scene = this.cell, this.breaker, this.seen, this.cell.scene
    words: dict[str, Any] = {"container": CONTAINER, "sides": this.sides, "stop_at": cell.point}
    if scene.keep is not None:
        off = f"{this.node(scene.away)} is off" if scene.away else ""
        words |= {"do": "settle", "keep": this.node(scene.keep), "word": off}
    else:
        words |= {"do": "resume", "run": run}
    worker = await this.lane.orchestrator()
    try:
        await worker.send(words)
        _stopped(await worker.answer(END_TIMEOUT_S), cell.point)
        await breaker.strike(worker)
        if cell.actor is Actor.ORCHESTRATOR:
            if cell.point == UNDECIDED and scene.command is Command.SETTLE:
                del words["stop_at"]
                await _while_away(this, words)  # killed before it had decided: it is asked for again
            elif scene.keep is not None and scene.away is not None:
                await _while_away(this, {"do": "resume", "run": run})
            return
        await worker.send({"do": "go"})
        ending = asyncio.create_task(worker.answer(END_TIMEOUT_S))
        if cell.actor in SHORT_LINKS:
            await asyncio.sleep(PART_S)
            await breaker.mend()
        ended = await ending
        seen.exit_code = ended["code"]
        _note(seen, ended)
        await _meanwhile(this)
    finally:
        await _part_with(this, worker)


async def _part_with(this: Play, worker: Worker) -> None:
    """One that has answered is idle, and may serve another cell."""
    if this.seen.exit_code is None:
        await worker.kill()
    else:
        this.lane.spare(worker)


async def _while_away(this: Play, words: dict[str, Any]) -> None:
    """What an operator has settled is carried out, also by a resume, and a side that is away is said to be a debt."""
    ended = await _ask(this, **words)
    away = this.cell.scene.away is not None
    if ended["code"] != (DEBT if away else 0):
        this.seen.broken.append(f"{words['do']} with the other side as it is ended with {ended['code']}")
    if away:
        await _meanwhile(this)


async def _break_nobody(this: Play) -> None:
    """While nobody works on it."""
    breaker = this.breaker
    await breaker.strike(None)
    if this.cell.actor in SHORT_LINKS:
        await asyncio.sleep(PART_S)
        await breaker.mend()


async def _meanwhile(this: Play) -> None:
    """While a link stays parted: which side runs, waited for as long as the watchdog may take."""
    promise = promised(this.cell)
    observer = this.watched[0].observer
    waited = BLACKOUT_PARTED_S + 10 if promise.meanwhile else 0.6
    deadline_s = asyncio.get_running_loop().time() + waited
    while asyncio.get_running_loop().time() < deadline_s:
        if promise.meanwhile and observer.executes(this.node(promise.meanwhile)):
            break
        await asyncio.sleep(0.05)
    running = [str(side) for side in Side if observer.executes(this.node(side))]
    this.seen.meanwhile = " and ".join(running) or "nothing runs"


# --- recovering and looking -----------------------------------------------------------------------------------------


async def _recover(this: Play) -> None:
    """What an operator does: resume what is unfinished; after a power loss start what should run."""
    lane, seen = this.lane, this.seen
    now = await _listed(lane)
    if now["outcome"] is None or seen.cell.actor is Actor.ORCHESTRATOR:  # who was killed knows no outcome
        seen.resumed = True
        await _resume(this, now["run"])
        if seen.cell.actor is Actor.ORCHESTRATOR:
            await _resume(this, now["run"])  # a second one changes nothing
    if this.cell.setting is Setting.RESTARTED:
        await _until(lane, lambda row: row["state"] != "down", "its restarter does not start it", seen)
        return
    await _start_all(this)


async def _resume(this: Play, run: str) -> None:
    """Which is refused when all is settled, and the container cannot be moved again because its node lost power."""
    ended = await _ask(this, "resume", run=run)
    if ended["code"] == REFUSED and await _start_all(this):
        ended = await _ask(this, "resume", run=run)
    if ended["code"] != 0:
        this.seen.broken.append(f"resume ended with {ended['code']}: {ended['error']}")


async def _start_all(this: Play) -> bool:
    """What a node's records say it should run is started, where something is down."""
    nodes = {row["node"] for row in (await _listed(this.lane))["rows"] if row["state"] == "down"}
    for node in sorted(nodes):
        _note(this.seen, await this.lane.operator("start-all", node=node))
    return bool(nodes)


async def _until(lane: Lane, holds: Callable[[dict[str, Any]], bool], else_: str, seen: Seen) -> None:
    """Asks until every container is as it should be: a keeper that starts one tells nobody here."""
    deadline_s = asyncio.get_running_loop().time() + KEEPER_TIMEOUT_S
    while not all(holds(row) for row in (await _listed(lane))["rows"]):
        if asyncio.get_running_loop().time() > deadline_s:
            seen.broken.append(else_)
            return
        await asyncio.sleep(0.2)


async def _ask(this: Play, do: str, **words: Any) -> dict[str, Any]:
    """One command of the operator, who is another process than what was broken."""
    ended = await this.lane.operator(do, END_TIMEOUT_S, **words)
    _note(this.seen, ended)
    return ended


async def _listed(lane: Lane) -> dict[str, Any]:
    """Where everything is, once every node answers."""
    for _ in range(5):
        now = await lane.operator("list")
        if now["code"] == 0 and not now["silent"]:
            return now
    raise WorkerError(f"nodes stay silent: {now}")


async def _look(this: Play) -> None:
    """Where each container is, and whether its connection came through; else whether its files did."""
    rows = (await _listed(this.lane))["rows"]
    await asyncio.gather(*(_look_at(this, each, rows) for each in this.watched))
    this.lane.places = {
        each.fate.container: this.node(each.fate.runs_on) for each in this.watched if each.fate.runs_on is not None
    }


async def _look_at(this: Play, each: Watched, rows: list[dict[str, Any]]) -> None:
    fate, client, seen = each.fate, each.client, this.seen
    places = [(row["node"], row["state"]) for row in rows if row["name"] == fate.container]
    if len(places) != 1 or places[0][1] != "running":
        seen.broken.append(f"container {fate.container} is listed as {places or 'nowhere'}")
        return
    fate.runs_on = Side.SOURCE if places[0][0] == this.breaker.source else Side.TARGET
    fate.kept = await client.more(3, ANSWER_TIMEOUT_S)
    if not await each.caller.served(ANSWER_TIMEOUT_S):
        seen.broken.append(f"{fate.container}: a client that calls again is not served")
    fate.pause_ms, fate.down_ms = client.gap_ms, each.caller.gap_ms
    if fate.kept:
        return
    seen.said.append(f"client: {client.error or 'no answer'}")
    again = Client(client.ip)
    try:
        await again.connect()
        served = await again.more(3, ANSWER_TIMEOUT_S)
        if not served:
            seen.broken.append(f"{fate.container}: a new client is not served: {again.error or 'no answer'}")
        elif again.first < client.last - COUNTS_PER_SAVE:
            counts = f"it counts on from {again.first}, {client.last} was answered"
            seen.broken.append(f"{fate.container}: its files are old: {counts}")
    finally:
        await again.close()


async def _clear(this: Play) -> None:
    """Leaves the lane as the next cell wants it, and counts what the cell left behind."""
    lane, breaker, seen = this.lane, this.breaker, this.seen
    if this.cell.actor is Actor.TARGET_DISK:
        await lane.gather(breaker.source)
        await breaker.tidy()
    await lane.gather(lane.places.get(CONTAINER, lane.at))
    seen.left = await lane.left_behind()
    seen.broken += [f"left behind: {line}" for line in seen.left[:5]]


def _note(seen: Seen, ended: dict[str, Any]) -> None:
    if ended.get("error"):
        seen.said.append(f"exit {ended['code']}: {ended['error']}")
