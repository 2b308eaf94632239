"""Plays one cell: a migration under a live client, broken at its moment, recovered as an operator would, and judged."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from migrator.chaos.actors import PART_S, Breaker
from migrator.chaos.cells import LONG_LINKS, SHORT_LINKS, Actor, Cell, Moment, Promise, Side, promised
from migrator.chaos.client import COUNTS_PER_SAVE, Client
from migrator.chaos.lane import CONTAINER, Lane
from migrator.chaos.observe import Observer
from migrator.chaos.worker import WorkerError
from migrator.errors import MigratorError

BLACKOUT_S = 15.0
BLACKOUT_PARTED_S = 6.0
END_TIMEOUT_S = 150.0
ANSWER_TIMEOUT_S = 40.0
STUCK = 5


@dataclass
class Seen:
    """What was seen of one cell. `exit_code` is the first orchestrator's, None when it was killed."""

    cell: Cell
    exit_code: int | None = None
    resumed: bool = False
    runs_on: Side | None = None
    meanwhile: str = ""
    kept: bool = False
    twice: int = 0
    left: list[str] = field(default_factory=list)
    pause_ms: float = 0.0
    took_s: float = 0.0
    said: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    @property
    def lost(self) -> int:
        return int(self.runs_on is None)


async def play(cell: Cell, lane: Lane) -> Seen:
    """One cell. Whatever hangs or breaks down is a finding, not an error of this program."""
    seen = Seen(cell)
    began_s = asyncio.get_running_loop().time()
    source = lane.at
    breaker = Breaker(lane, cell, source, lane.other(source))
    client = Client(lane.ip)
    try:
        await breaker.prepare()
        await client.connect()
        if not await client.more(3, ANSWER_TIMEOUT_S):
            raise WorkerError(f"the client was not served before anything was broken: {client.error}")
        with Observer(lane.paths, lane.spec.nodes, CONTAINER, lane.veth) as observer:
            await _break(cell, lane, breaker, observer, seen)
            await _recover(lane, seen)
            await _look(lane, seen, source, client)
        seen.twice = len(observer.broken)
        seen.broken += observer.broken[:3]
        judge(promised(cell), seen)
        await _clear(lane, breaker, seen)
    except (MigratorError, TimeoutError) as error:
        seen.broken.append(str(error) or type(error).__name__)
    finally:
        await client.close()
    seen.pause_ms = client.gap_ms
    seen.took_s = asyncio.get_running_loop().time() - began_s
    return seen


async def _break(cell: Cell, lane: Lane, breaker: Breaker, observer: Observer, seen: Seen) -> None:
    """From the begin of the migration to its orchestrator's end, with the breakage in between."""
    worker = await lane.orchestrator()
    try:
        parted = cell.actor in LONG_LINKS
        held = await worker.ask(
            "migrate",
            container=CONTAINER,
            target=breaker.target,
            stop_at=cell.stop_at,
            call_off_at=cell.call_off_at,
            blackout_s=BLACKOUT_PARTED_S if parted else BLACKOUT_S,
        )
        if held.get("stopped") != cell.stop_at:
            raise WorkerError(f"the migration did not come to {cell.stop_at}: {held.get('error')}")
        breaker.token = held["token"]
        if cell.moment is Moment.DURING:
            await worker.send({"do": "go"})
            await breaker.seen()
        await breaker.strike(worker)
        if cell.actor is Actor.ORCHESTRATOR:
            return
        if cell.moment is not Moment.DURING:
            await worker.send({"do": "go"})
        ending = asyncio.create_task(worker.answer(END_TIMEOUT_S))
        if cell.actor in SHORT_LINKS:
            await asyncio.sleep(PART_S)  # the breakage itself: that long is the link parted
            await breaker.mend()
        ended = await ending
        seen.exit_code = ended["code"]
        _note(seen, ended)
        if parted:
            await _meanwhile(promised(cell), breaker, observer, seen)
        if cell.actor not in SHORT_LINKS:
            await breaker.mend()
    finally:
        await worker.kill()


async def _meanwhile(promise: Promise, breaker: Breaker, observer: Observer, seen: Seen) -> None:
    """While the link stays parted: which side runs, waited for as long as the watchdog may take."""
    sides = {Side.SOURCE: breaker.source, Side.TARGET: breaker.target}
    waited = BLACKOUT_PARTED_S + 10 if promise.meanwhile else 0.6
    deadline_s = asyncio.get_running_loop().time() + waited
    while asyncio.get_running_loop().time() < deadline_s:
        if promise.meanwhile and observer.executes(sides[promise.meanwhile]):
            break
        await asyncio.sleep(0.05)
    running = [str(side) for side, node in sides.items() if observer.executes(node)]
    seen.meanwhile = " and ".join(running) or "nothing runs"
    if promise.meanwhile and str(promise.meanwhile) not in running:
        seen.broken.append(f"while parted {seen.meanwhile}, promised was the {promise.meanwhile}")


async def _recover(lane: Lane, seen: Seen) -> None:
    """What an operator does: resume what is unfinished; after a power loss start what should run."""
    now = await _listed(lane)
    if now["outcome"] is None:
        seen.resumed = True
        for words in ("resume", "resume again"):
            worker = await lane.orchestrator()
            try:
                ended = await worker.ask("resume", END_TIMEOUT_S, run=now["run"])
            finally:
                await worker.kill()
            _note(seen, ended)
            if ended["code"] != 0:
                seen.broken.append(f"{words} ended with {ended['code']}: {ended['error']}")
            if seen.cell.actor is not Actor.ORCHESTRATOR:
                break  # that a second one changes nothing is asked where nothing else is broken
    for row in (await _listed(lane))["rows"]:
        if row["state"] == "down":
            _note(seen, await lane.operator("start-all", node=row["node"]))


async def _listed(lane: Lane) -> dict[str, Any]:
    """Where everything is, once every node answers."""
    for _ in range(5):
        now = await lane.operator("list")
        if now["code"] == 0 and not now["silent"]:
            return now
    raise WorkerError(f"nodes stay silent: {now}")


async def _look(lane: Lane, seen: Seen, source: str, client: Client) -> None:
    """Where the container is, and whether its connection came through; else whether its files did."""
    rows = [row for row in (await _listed(lane))["rows"] if row["name"] == CONTAINER]
    places = [(row["node"], row["state"]) for row in rows]
    if len(places) != 1 or places[0][1] != "running":
        seen.broken.append(f"the container is listed as {places or 'nowhere'}")
        return
    lane.at = places[0][0]
    seen.runs_on = Side.SOURCE if lane.at == source else Side.TARGET
    seen.kept = await client.more(3, ANSWER_TIMEOUT_S)
    if seen.kept:
        return
    seen.said.append(f"client: {client.error or 'no answer'}")
    again = Client(lane.ip)
    try:
        await again.connect()
        served = await again.more(3, ANSWER_TIMEOUT_S)
        if not served:
            seen.broken.append(f"a new client is not served: {again.error or 'no answer'}")
        elif again.first < client.last - COUNTS_PER_SAVE:
            seen.broken.append(f"its files are old: it counts on from {again.first}, {client.last} was answered")
    finally:
        await again.close()


def judge(promise: Promise, seen: Seen) -> None:
    """Holds what was seen against what was promised."""
    if seen.runs_on is not None and seen.runs_on not in promise.may_run:
        seen.broken.append(f"it runs on the {seen.runs_on}")
    if promise.kept and not seen.kept and seen.runs_on is not None:
        seen.broken.append("the connection was lost")
    parted_or_full = seen.cell.actor in (*SHORT_LINKS, *LONG_LINKS, Actor.TARGET_DISK)
    dead_copy = seen.cell.actor in (Actor.CRIU, Actor.TARGET_MEMORY, Actor.TARGET_CRASH)
    if seen.exit_code == STUCK and not (parted_or_full or dead_copy):
        seen.broken.append("it was stuck, though every node answers")


async def _clear(lane: Lane, breaker: Breaker, seen: Seen) -> None:
    """Leaves the lane as the next cell wants it, and counts what the cell left behind."""
    if breaker.cell.actor is Actor.TARGET_DISK:
        if lane.at == breaker.target:
            back = await lane.operator("migrate", container=CONTAINER, target=breaker.source, blackout_s=BLACKOUT_S)
            if back["code"] != 0:
                raise WorkerError(f"it does not move on: {back['error']}")
            lane.at = breaker.source
        await breaker.tidy()
    seen.left = await lane.left_behind()
    seen.broken += [f"left behind: {line}" for line in seen.left[:5]]


def _note(seen: Seen, ended: dict[str, Any]) -> None:
    if ended.get("error"):
        seen.said.append(f"exit {ended['code']}: {ended['error']}")
