"""The matrix as tables: what was promised for each cell and what was seen."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from migrator.chaos.cells import OUTSIDE, Actor, Cell, Moment, Setting, nothing_there
from migrator.chaos.promises import Promise, promised
from migrator.chaos.scenes import DECIDED, KEPT, MOVE, RESUMED, SETTLED, STUCK, Scene, Side
from migrator.chaos.seen import Seen
from migrator.lab import image

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
    Actor.CRIU: """SIGKILL to CRIU: while it dumps, while it restores, and while it stands over the held copy. In a
dump it has code of its own in the processes, and takes it back or not, by luck: they may die of it, and the files
stay. *Early* is when its process is seen first; *during*, when it has seized the processes of a dump, or made the
first one of a restore; *late*, when their memory has been read, or is there again.""",
    Actor.PROGRAM: """SIGKILL to the container's processes where they run or are frozen: on the source, and on the
target once it was released there.""",
}


def matrix_text(cells: Sequence[Cell], results: Sequence[Seen], took_s: float) -> str:
    """The whole part of the page."""
    parts = [_summary(cells, results, took_s)]
    for actor in OUTSIDE:

        def mine(cell: Cell, actor: Actor = actor) -> bool:
            return cell.actor is actor and cell.scene is MOVE and cell.setting is Setting.PLAIN

        parts.append(
            _part(f"### {actor[0].upper()}{actor[1:]}", WHAT[actor], mine, ("in state", _state), cells, results)
        )
    parts.append(SCENES)
    for title, scenes, words in (
        ("While it is stuck", STUCK, STUCK_WORDS),
        ("Settled by an operator", SETTLED, SETTLED_WORDS),
        ("Killed inside a resume", RESUMED, RESUMED_WORDS),
    ):
        parts.append(f"### {title}\n\n{words}")
        parts += [_of_scene(scene, cells, results) for scene in scenes]
    parts.append(
        _part("### With a restart policy", RESTARTED_WORDS, _restarted, ("in state", _state_actor), cells, results)
    )
    parts.append(
        _part("### Three containers in one run", THREE_WORDS, _three, ("in state", _state_actor), cells, results)
    )
    return "\n\n".join(parts)


SCENES = """## Where one command is not enough

Here the first orchestrator was killed, and what is broken next stands over each table; then somebody comes with a
second command, and the cell breaks something at one point of that: after a write of its journal (*take-over*,
*settled*, *kept*, *run finished*), or *before* a call to a node or *after* its answer. Then all is mended, and the
run resumed."""
STUCK_WORDS = """`migrator resume` must end with 5 and change nothing, for a node that may hold the only copy, or
run one, does not answer. It is broken while nobody works on it; the orchestrator is killed inside that very resume.
Then the node is back, and a resume settles it: no operator has to."""
SETTLED_WORDS = """After a resume that ended with 5 comes `migrator settle web --keep NODE`, with the operator's
word that the other node is off where that is asked for. The kept side must run before the other is back
(*meanwhile*), also when the settling was killed and resumed; a node that comes back is cleaned by `migrator
resume`. The other direction is refused where the node to be kept does not answer."""
RESUMED_WORDS = "SIGKILL inside `migrator resume`; then a resume, twice. After a rollback it makes the move again."
RESTARTED_WORDS = """One container made with `--restart always`, so that its keeper and the node's boot would start
it again. They are disarmed from the seeding to the end of the run: none may start a second copy, whatever dies.
Afterwards nobody types `ct start`: what is down has to be started by its restarter, on the side that keeps it, and
the keeper must stand there alone."""
THREE_WORDS = """Three containers move in one run. The first is in the state when it is broken; the others are
wherever they have come to by then, and each is held to what is promised for that. The columns say one word where
all three agree."""
POINTS = {DECIDED: "settled", KEPT: "kept", "finish-run": "run finished"}


def _restarted(cell: Cell) -> bool:
    return cell.setting is Setting.RESTARTED


def _three(cell: Cell) -> bool:
    return cell.setting is Setting.THREE


def _of_scene(scene: Scene, cells: Sequence[Cell], results: Sequence[Seen]) -> str:
    def mine(cell: Cell) -> bool:
        return cell.scene == scene and cell.setting is Setting.PLAIN

    return _part("", f"**{scene.title[0].upper()}{scene.title[1:]}.**", mine, ("broken", _point), cells, results)


def _part(
    title: str,
    words: str,
    mine: Callable[[Cell], bool],
    first: tuple[str, Callable[[Cell], str]],
    cells: Sequence[Cell],
    results: Sequence[Seen],
) -> str:
    """A title, what was done, the table, and what could not be broken."""
    parts = [title, words]
    found = [seen for seen in results if mine(seen.cell)]
    if found:
        parts.append(_table(found, *first))
    parts.append(_nothing([cell for cell in cells if mine(cell)], first[1]))
    return "\n\n".join(part for part in parts if part)


def _summary(cells: Sequence[Cell], results: Sequence[Seen], took_s: float) -> str:
    empty = sum(bool(nothing_there(cell)) for cell in cells)
    broken = [seen for seen in results if seen.broken]
    rows = [
        ("cells played", len(results)),
        ("containers lost", sum(seen.lost for seen in results)),
        ("containers that ran twice, or had two gates open", sum(bool(seen.twice) for seen in results)),
        ("connections lost that were promised", sum(seen.connections_lost for seen in results)),
        ("things left behind", sum(len(seen.left) for seen in results)),
        ("cells with any broken promise", len(broken)),
        ("cells with nothing to break, not counted", empty),
    ]
    table = "\n".join(["| seen | |", "|---|--:|", *(f"| {what} | {count} |" for what, count in rows)])
    bad = "".join(f"\n- **{seen.cell.name}**: {'; '.join(seen.broken)}" for seen in broken)
    return f"""## On the real lab

`make chaos` plays every state of a migration times everything that can break in it, and writes this part of the page.
Each cell is one migration of a container with 16 MiB of random memory between two nodes of a lab, under a client on
one TCP connection that never reconnects. It is broken at one moment, and recovered as an operator would: `migrator
resume` when the run is unfinished, `migrator ct start --all` after a power loss. *Early*, *during* and *late* mean
that the act which leads to the state was at work; *begin* that the journal had announced it and nothing was done;
else the state had been reached.

What is promised is written from the design ([architecture](architecture.md)). A resume goes on with the plan, so that
until the commit both ends are good. Connection *kept* is the same one, no answer lost or repeated: memory and all.
Where the memory may be lost, the container must start again from its files and go on from them. *Left behind* is any
process, mount, namespace, filter, nft table, cgroup, key, file or record more (or less) than before on either node, the
orchestrator's files too. From outside it was looked every 20 ms whether two copies execute or two gates are open.
*Outage* is the longest time between two answers on that connection; it holds the time the breakage itself takes. Where
the connection was lost, it is the longest time (*down*) in which another client, that calls again and again, was not
served: from the last answer before the breakage to the first from the container that was started anew.

{table}
{bad}

Played {datetime.now(UTC):%Y-%m-%d} in {took_s / 60:.0f} minutes on one machine that holds all nodes:
{os.cpu_count()} cores, kernel {platform.release()}, {image.load().criu}."""


def _table(results: Sequence[Seen], first: str, label: Callable[[Cell], str]) -> str:
    head = (first, "promised", "runs on", "connection", "lost", "twice", "left", "outage", "the orchestrator")
    lines = ["| " + " | ".join(head) + " |", "|---|---|---|---|--:|--:|--:|--:|---|"]
    return "\n".join([*lines, *(_row(seen, label) for seen in results)])


def _row(seen: Seen, label: Callable[[Cell], str]) -> str:
    words = (
        label(seen.cell),
        promise_text(promised(seen.cell)),
        seen.runs_on,
        seen.connection,
        str(seen.lost),
        str(seen.twice),
        str(len(seen.left)),
        f"{seen.outage_ms / 1000:.1f} s{' down' if seen.cold else ''}",
        _ended(seen),
    )
    return "| " + " | ".join(words) + " |"


def promise_text(promise: Promise) -> str:
    """A promise in a table's words."""
    where = "either" if promise.may_run == frozenset(Side) else "".join(promise.may_run)
    return f"{where}, {'kept' if promise.kept else 'memory may be lost'}"


def _ended(seen: Seen) -> str:
    how = "killed" if seen.cell.actor is Actor.ORCHESTRATOR else "nobody"
    how = how if seen.exit_code is None else f"exit {seen.exit_code}"
    meanwhile = f"; meanwhile {seen.meanwhile}" if seen.meanwhile else ""
    return f"{how}{meanwhile}{'; resumed' if seen.resumed else ''}"


def _state(cell: Cell) -> str:
    return str(cell.state) if cell.moment is Moment.END else f"{cell.state}, {cell.moment}"


def _state_actor(cell: Cell) -> str:
    where = _state(cell) if cell.scene is MOVE else f"{cell.scene.title.partition(':')[0]}, at *{_at(cell)}*"
    return f"{where}: {cell.actor}"


def _point(cell: Cell) -> str:
    return f"at *{_at(cell)}*: {cell.actor}" if cell.point else str(cell.actor)


def _at(cell: Cell) -> str:
    return POINTS.get(cell.point, cell.point.removesuffix(":end"))


def _nothing(cells: Sequence[Cell], label: Callable[[Cell], str]) -> str:
    reasons: dict[str, list[str]] = {}
    for cell in cells:
        if reason := nothing_there(cell):
            reasons.setdefault(reason, []).append(label(cell))
    return "\n".join(f"Nothing to break there, because {why}: {', '.join(at)}." for why, at in reasons.items())
