"""docs/reliability.md: what was promised for each cell and what was seen, written by the program that played it.

Only what lies between the markers is written; the rest of the page is for people.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from migrator.chaos.cells import Actor, Cell, Moment, Promise, Side, nothing_there, promised
from migrator.chaos.play import Seen
from migrator.chaos.soak import BOUNDS, JUDGED_FROM, Soak
from migrator.lab import image

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
# What each breakage is on the lab, in the table's words.
WHAT = {
    Actor.ORCHESTRATOR: "SIGKILL to its process; then `migrator resume`, twice.",
    Actor.SOURCE_SSH: "SIGKILL to sshd's processes that serve the orchestrator on the source; it goes on by itself.",
    Actor.TARGET_SSH: "The same on the target.",
    Actor.SOURCE_CRASH: "Everything on the source ends at once; its disk stays; it boots anew.",
    Actor.TARGET_CRASH: "The same with the target.",
    Actor.SOURCE_LINK_5S: "The source's cable is pulled for 5 s: no orchestrator, no node, no client gets through.",
    Actor.TARGET_LINK_5S: "The same with the target's.",
    Actor.SOURCE_LINK: """The source's cable stays pulled until the orchestrator has given up and the source has shown
what it does alone (`--max-blackout` 6 s); then it is joined and the run resumed. *Meanwhile* is what ran before.""",
    Actor.TARGET_LINK: "The same with the target's.",
    Actor.TARGET_DISK: """`/var/lib/migrator` of the target is a file system of 160 MiB of its own, filled to its last
byte; it is emptied when the orchestrator has ended. The target's other file systems are not full.""",
    Actor.TARGET_MEMORY: """This machine has no memory controller in the version 2 tree, so a shortage is made in four
ways. Until the room is reserved: another container takes it. Until the images are there: the memory set aside for them
is cut to what they use already. Until the restore: every process that sshd starts on the target has 64 MiB of address
space. From then on: what the kernel would do, the held processes are killed.""",
    Actor.CRIU: """SIGKILL to CRIU: while it dumps, while it restores, and while it stands over the held copy. In a dump
it has code of its own in the processes, and takes it back or not, by luck: they may die of it, and the files stay.""",
}


def write(section: str, text: str, page: Path = PAGE) -> None:
    """Puts a section into the page, in place of the one that is there."""
    begin, end = f"<!-- {section}: begin -->", f"<!-- {section}: end -->"
    whole = page.read_text() if page.exists() else "# Reliability\n"
    if begin not in whole:
        whole = f"{whole.rstrip()}\n\n{begin}\n{end}\n"
    before, _, rest = whole.partition(begin)
    _, _, after = rest.partition(end)
    page.write_text(f"{before}{begin}\n{text.strip()}\n{end}{after}")


def matrix_text(cells: Sequence[Cell], results: Sequence[Seen], took_s: float) -> str:
    """The matrix, one table for each actor."""
    parts = [_summary(cells, results, took_s)]
    for actor in Actor:
        mine = [seen for seen in results if seen.cell.actor is actor]
        parts.append(f"### {actor[0].upper()}{actor[1:]}\n\n{WHAT[actor]}")
        if mine:
            parts.append(_table(mine))
        if none := _nothing(cells, actor):
            parts.append(none)
    return "\n\n".join(parts)


def _summary(cells: Sequence[Cell], results: Sequence[Seen], took_s: float) -> str:
    empty = sum(bool(nothing_there(cell)) for cell in cells)
    broken = [seen for seen in results if seen.broken]
    lost_connections = sum(promised(seen.cell).kept and not seen.kept for seen in results)
    rows = [
        ("cells played", len(results)),
        ("containers lost", sum(seen.lost for seen in results)),
        ("containers that ran twice, or had two gates open", sum(bool(seen.twice) for seen in results)),
        ("connections lost that were promised", lost_connections),
        ("things left behind", sum(len(seen.left) for seen in results)),
        ("cells with any broken promise", len(broken)),
        ("cells with nothing to break, not counted", empty),
    ]
    table = "\n".join(["| seen | |", "|---|--:|", *(f"| {what} | {count} |" for what, count in rows)])
    bad = "".join(f"\n- **{seen.cell.name}**: {'; '.join(seen.broken)}" for seen in broken)
    return f"""## On the real lab

`make chaos` plays every state of a migration times everything that can break in it, and writes this part of the page.
Each cell is one migration of a container with 16 MiB of random memory between two nodes of a lab, under a client on one
TCP connection that never reconnects. It is broken at one moment, and recovered as an operator would: `migrator resume`
when the run is unfinished, `migrator ct start --all` after a power loss. *During* means that the act which leads to the
state was at work; *begin* that the journal had announced it and nothing was done; else the state had been reached.

What is promised is written from the design ([architecture](architecture.md)). A resume goes on with the plan, so that
until the commit both ends are good. Connection *kept* is the same one, no answer lost or repeated: memory and all.
Where the memory may be lost, the container must start again from its files and go on from them. *Left behind* is any
process, mount, namespace, filter, nft table, cgroup, key, file or record more (or less) than before on either node, the
orchestrator's files too. From outside it was looked every 20 ms whether two copies execute or two gates are open.
*Pause* is the longest time between two answers; it holds the time the breakage itself takes, and, after a cold start,
ends with the old connection.

{table}
{bad}

Played {datetime.now(UTC):%Y-%m-%d} in {took_s / 60:.0f} minutes on one machine that holds all nodes:
{os.cpu_count()} cores, kernel {platform.release()}, {image.load().criu}."""


def _table(results: Sequence[Seen]) -> str:
    head = ("in state", "promised", "runs on", "connection", "lost", "twice", "left", "pause", "the orchestrator")
    lines = ["| " + " | ".join(head) + " |", "|---|---|---|---|--:|--:|--:|--:|---|"]
    return "\n".join([*lines, *(_row(seen) for seen in results)])


def _row(seen: Seen) -> str:
    words = (
        _state(seen.cell),
        promise_text(promised(seen.cell)),
        str(seen.runs_on or "**nowhere**"),
        "kept" if seen.kept else "lost",
        str(seen.lost),
        str(seen.twice),
        str(len(seen.left)),
        f"{seen.pause_ms / 1000:.1f} s",
        _ended(seen),
    )
    return "| " + " | ".join(words) + " |"


def promise_text(promise: Promise) -> str:
    """A promise in a table's words."""
    where = "either" if promise.may_run == frozenset(Side) else "".join(promise.may_run)
    return f"{where}, {'kept' if promise.kept else 'memory may be lost'}"


def _ended(seen: Seen) -> str:
    how = "killed" if seen.exit_code is None else f"exit {seen.exit_code}"
    meanwhile = f"; meanwhile {seen.meanwhile}" if seen.meanwhile else ""
    return f"{how}{meanwhile}{'; resumed' if seen.resumed else ''}"


def _state(cell: Cell) -> str:
    return str(cell.state) if cell.moment is Moment.END else f"{cell.state}, {cell.moment}"


def _nothing(cells: Sequence[Cell], actor: Actor) -> str:
    reasons: dict[str, list[str]] = {}
    for cell in cells:
        if cell.actor is actor and (reason := nothing_there(cell)):
            reasons.setdefault(reason, []).append(str(cell.state))
    return "\n".join(f"Nothing to break there, because {why}: {', '.join(at)}." for why, at in reasons.items())


def soak_text(seen: Soak, took_s: float) -> str:
    """The soak's part of the page."""
    first, last = seen.weights[0], seen.weights[-1]
    bad = "".join(f"\n- **{what}**" for what in seen.broken) or "\n- nothing"
    rows = ((bound.what, *seen.held(key)) for key, bound in BOUNDS.items())
    held = "\n".join(f"| its {what}, in the second quarter, in the last | {a:,}, {b:,} |" for what, a, b in rows)
    return f"""## The soak

`make soak` moves one container back and forth between two nodes, {seen.wanted} times, with one orchestrator and under
one client on one TCP connection, and compares both nodes with what they were before.

| seen | |
|---|--:|
| migrations done | {seen.done} |
| answers on the one connection, none lost or repeated | {seen.answers:,} |
| longest time between two answers | {seen.longest_pause_ms:.0f} ms |
| processes, mounts, namespaces, filters, nft tables, cgroups, keys, files, records left behind | {len(seen.left)} |
| the orchestrator's memory after the first migration, after the last | {_mib(first)}, {_mib(last)} |
{held}
| its open descriptors after the first, after the last | {first["descriptors"]}, {last["descriptors"]} |

The orchestrator's memory is {_flatness(seen)}. Flat is: from the median of the second quarter to that of the last
it grows by no more than {_bounds(seen)}.

Broken promises:
{bad}

Played {datetime.now(UTC):%Y-%m-%d} in {took_s / 60:.0f} minutes."""


def memory_line(seen: Soak) -> str:
    """For who watches: "memory: flat (56,012 -> 56,040 KiB of resident memory, ...)"."""
    rows = ((bound.what, *seen.held(key)) for key, bound in BOUNDS.items())
    return f"memory: {_flatness(seen)} ({', '.join(f'{a:,} -> {b:,} {what}' for what, a, b in rows)})"


def _flatness(seen: Soak) -> str:
    if len(seen.weights) < JUDGED_FROM:
        return f"not judged, in fewer than {JUDGED_FROM} migrations"
    return "not flat" if seen.growing else "flat"


def _bounds(seen: Soak) -> str:
    return ", ".join(f"{bound.allowed(2 * seen.quarter)} {bound.what}" for bound in BOUNDS.values())


def _mib(weight: dict[str, int]) -> str:
    return f"{weight['rss_kib'] / 1024:.1f} MiB"
