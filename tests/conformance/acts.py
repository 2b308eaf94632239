"""Reads step scripts and lives them on a side, whichever it is; tables are worked out on simulated machines first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from migrator.sim.loop import VirtualLoop
from tests.conformance.compare import Effects, Moment, Outcome
from tests.conformance.sim_side import SimSide, Start

TOKENS = 10
OLD, RIGHT, NEW = "{0}", "{1}", "{7}"
# Every verb that belongs to a container, with everything it may be told; @ stands for a token.
ROWS = (
    "inspect web",
    "ct-start web",
    "ct-stop web 0",
    "ct-remove web",
    "ct-put web @ restart 7",
    "lease web @ {9} other",
    "lease web @ @ r",
    "lease web @ @ other",
    "reserve web @ {room}",
    "settle web @ 2",
    "settle web @ 2 r",
    "settle web @ 2 other",
    "job web @ nine 0 send-files web @ 9",
    "job web @ dump 0 dump web @ images",
    "job web @ restore 0 restore web @ images",
    "keygen web @ {peer}",
    "link web @ root {peer} 22 {host_key}",
    "fence web @ 300",
    "stop web @ 300 5",
    "seal web @",
    "thaw web @",
    "thaw web @ r",
    "thaw web @ other",
    "reclaim web @",
    "retire web @",
    "admit web @ 127.0.0.1 600 ssh-ed25519 KEY",
    "prepare web @ source debian {id_base} 100000000 0",
    "prepare web @ target debian {id_base} 100000000 0",
    "template-done web @ debian {digest}",
    "await-held web @ 1",
    "release web @",
    "stand-down web @ 1",
    "stand-down web @ 90",
    "adopt web @ 1",
    "adopt web @ 90",
    "discard-target web @",
    "discard-target web @ r",
    "discard-target web @ other",
)


class Side(Protocol):
    """Nodes of one kind, with a container that serves on the source. Roles are s and t."""

    values: dict[str, str]

    async def call(self, role: str, words: list[str], fault: str = "") -> Outcome: ...
    async def batch(self, role: str, lines: list[str]) -> list[Outcome]: ...
    async def put(self, role: str, token: str) -> list[Outcome]: ...
    async def crash(self, role: str) -> None: ...
    async def boot(self, role: str) -> None: ...
    async def kill(self, role: str) -> None: ...
    async def watchdog(self, token: str) -> None: ...
    async def runs(self, role: str) -> None: ...
    async def lose(self, role: str, token: str) -> None: ...
    async def maim(self, role: str) -> None: ...
    async def bridge(self, role: str, name: str) -> None: ...
    async def end_job(self, role: str, token: str, name: str) -> None: ...
    async def part(self) -> None: ...
    async def heal(self) -> None: ...
    async def step(self, way: str, name: str) -> Outcome: ...
    async def effects(self) -> Effects: ...


@dataclass(frozen=True, slots=True)
class Act:
    """One line of a script; `lines` are the calls that a table has come to."""

    line: str
    lines: tuple[str, ...] = ()


def read(script: str, loop: VirtualLoop) -> list[Act]:
    """A script's acts. A table holds the calls that have no effect where it stands."""
    acts: list[Act] = []
    for line in script.splitlines():
        if line.startswith("table "):
            acts.append(Act(line, tuple(_rows(acts, line.split()[1], loop)[0])))
        elif line:
            acts.append(Act(line))
    return acts


def with_effect(script: str, role: str, loop: VirtualLoop) -> list[str]:
    """The calls of a table that do take effect after a script."""
    return _rows(read(script, loop), role, loop)[1]


def _rows(before: list[Act], role: str, loop: VirtualLoop) -> tuple[list[str], list[str]]:
    """All calls of a table: those without effect where a script has come to, and those with."""
    without: list[str] = []
    having: list[str] = []
    sides: list[SimSide] = []  # a loop alone does not hold the tasks of a world
    rows = [row.replace("@", token) for token in (OLD, RIGHT, NEW) for row in ROWS if "@" in row]
    rows += [row for row in ROWS if "@" not in row]

    async def main() -> None:
        side: SimSide | None = None
        for row in dict.fromkeys(rows):
            if side is None:
                side = SimSide(Start(), loop)
                sides.append(side)
                await live(side, [act for act in before if not act.lines], 1)
                was = await side.effects()
            await side.batch(role, [filled(row, side, 1)])
            if await side.effects() == was:
                without.append(row)
            else:
                having.append(row)
                side = None

    loop.run(main())
    return without, having


def filled(line: str, side: Side, base: int) -> str:
    return line.format(*range(base, base + TOKENS), **side.values)


async def live(side: Side, acts: list[Act], base: int) -> list[Moment]:
    """Does one act after the other, and looks after each."""
    moments: list[Moment] = []
    for act in acts:
        if act.lines:
            outcomes = await side.batch(act.line.split()[1], [filled(line, side, base) for line in act.lines])
            moments += [Moment(f"{act.line}: {line}", (told,)) for line, told in zip(act.lines, outcomes, strict=True)]
            moments.append(Moment(act.line, (), await side.effects()))
        else:
            outcomes = await _do(side, filled(act.line, side, base).split())
            seen = {} if act.line.startswith("start ") else await side.effects()
            moments.append(Moment(act.line, tuple(outcomes), seen))
    return moments


async def _do(side: Side, words: list[str]) -> list[Outcome]:
    first, *rest = words
    match first:
        case "s" | "t":
            return [await side.call(first, rest)]
        case "start":
            return await _do(side, rest)
        case "twice":
            return [*await _do(side, rest), *await _do(side, rest)]
        case "cut":
            return [await side.call(rest[0], rest[1:], "cut-mid")]
        case "do" | "undo":
            return [await side.step(first, rest[0])]
        case "put":
            return await side.put(*rest)
        case "table":
            return []
        case "crash" | "boot" | "kill" | "watchdog" | "runs" | "lose" | "maim" | "bridge" | "end_job" | "part" | "heal":
            await getattr(side, first)(*rest)
            return []
    raise AssertionError(f"no such act: {first}")
