"""What is true in a simulated world, whatever anybody believes: which copies exist, run, are frozen, are held.

Theory. Every container has a *stamp*, one number for all of its state. Running changes state, so the stamp rises when
a copy begins to run and again when it is frozen. A copy in memory, an image and a tree of files carry the stamp of what
they hold. A copy may begin to run only if its memory and its files both carry the newest stamp: an older one would undo
what clients have seen, two of the newest would fork it. That one rule catches a fence that is none, a dump of a running
container, a last pass of files forgotten, a source thawed after its target ran.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from migrator.sim.laws import Law, Violation

if TYPE_CHECKING:
    from migrator.sim.machine import Machine

STEP_S_MAX = 0.004
FOLLOWS_NOT = "its memory could not follow"  # why post-copy's watcher kills
NOT_LET_GO = "CRIU could not let it go"  # and the node knows that, and ends it: nothing of it has run


def _wake(sleeper: asyncio.Future[None]) -> None:
    if not sleeper.done():
        sleeper.set_result(None)


@dataclass(slots=True)
class Truth:
    """One container. `connection` is "kept" until something resets it; `loss` names the fault that took its memory."""

    name: str
    stamp: int = 1
    connection: str = "kept"
    loss: str = ""
    runs_on: str = ""
    frozen_lost: str = ""  # the fault that took the frozen copy while another was held, and when
    frozen_lost_ms: int = 0
    site: str = ""  # where the site believes it to be, by the hook of which token; and whether one has failed for good
    site_token: int = 0
    site_failed: bool = False
    stopped_on: str = ""  # by restart: the node whose files are the container until a copy begins anew
    restarted: bool = False  # whether it ever was stopped for a move: then its connections end
    word: str = ""  # the operator's, that what one side holds may be given up


@dataclass(eq=False, slots=True)
class Copy:
    """The processes of a container on one node. `mode` is running, frozen, held or dead."""

    ct: str
    node: str
    stamp: int
    mode: str
    processes: int = 3
    tainted: str = ""  # why these processes can no longer be dumped or run as they were
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    counts: bool = True  # whether losing it is the loss of a copy
    anew: bool = False  # made from files for a move by restart, and nothing in its memory yet


@dataclass(slots=True)
class Clock:
    """The one clock of a world; nodes' uptimes and the journal's wall time are made from it."""

    loop: asyncio.AbstractEventLoop

    def now_s(self) -> float:
        return self.loop.time()

    def wall_ms(self) -> int:
        return 1_700_000_000_000 + round(self.loop.time() * 1000)


@dataclass(slots=True)
class World:
    """Machines, wires and containers. `on_step` strikes with what has been planned for that moment."""

    clock: Clock
    rng: Random
    machines: dict[str, Machine] = field(default_factory=dict)
    truths: dict[str, Truth] = field(default_factory=dict)
    parted: set[frozenset[str]] = field(default_factory=set)
    slowness: dict[frozenset[str], float] = field(default_factory=dict)
    marks: set[tuple[str, str]] = field(default_factory=set)  # markers, each on a storage
    steps: int = 0
    on_step: Callable[[], None] = lambda: None
    on_change: Callable[[str], None] = lambda ct: None
    # Whether a journal had decided against the copy that is held before the other one was lost.
    was_given_up: Callable[[str], bool] = lambda ct: False
    violations: list[Violation] = field(default_factory=list)
    trace: list[str] | None = None
    healed: bool = False
    struck: bool = False  # whether anything was broken so far
    streams: bool = False  # whether nodes can stream memory

    def say(self, text: str) -> None:
        """One line of the trace, if one is kept."""
        if self.trace is not None:
            self.trace.append(f"{self.clock.now_s():9.4f} #{self.steps:<5} {text}")

    def violate(self, law: Law, text: str) -> None:
        self.say(f"VIOLATION {text}")
        self.violations.append(Violation(law, text))

    def changed(self, ct: str, text: str) -> None:
        """Something about a container has changed: told, and judged at once."""
        self.say(text)
        self.on_change(ct)

    async def moment(self, who: str, what: str) -> None:
        """A point at which anything may happen: time passes, and a fault may strike."""
        self.steps += 1
        self.on_step()
        loop = self.clock.loop
        woken = loop.create_future()
        loop.call_later(self.rng.random() * STEP_S_MAX, _wake, woken)  # as asyncio.sleep does, and in half its time
        await woken

    # --- wires --------------------------------------------------------------------------------------------------

    def joined(self, one: str, other: str) -> bool:
        """Whether packets pass between two ends; an end is a node or an orchestrator."""
        return frozenset((one, other)) not in self.parted

    # --- containers -----------------------------------------------------------------------------------------------

    def copies(self, ct: str) -> list[Copy]:
        """Every copy that is not dead, on machines that are up."""
        return [m.ram.copies[ct] for m in self.machines.values() if m.ram is not None and ct in m.ram.copies]

    def stamps_on_disk(self, ct: str) -> list[int]:
        return [m.disk.trees[ct].stamp for m in self.machines.values() if ct in m.disk.trees]

    def execute(self, copy: Copy, tree_stamp: int) -> None:
        """A copy begins to run. Judged here, where it is true, and nowhere in what is judged."""
        truth = self.truths[copy.ct]
        where = f"{copy.ct} on {copy.node}"
        if copy.tainted:
            self.violate(Law.NEWEST, f"{where} runs on though {copy.tainted}")
        if copy.stamp != truth.stamp and not truth.word:
            self.violate(Law.NEWEST, f"{where} runs from memory of moment {copy.stamp}; it had come to {truth.stamp}")
        if tree_stamp != copy.stamp:
            self.violate(Law.NEWEST, f"{where} runs with files of moment {tree_stamp} and memory of {copy.stamp}")
        copy.mode = "running"
        self._ran(copy)
        truth.word = ""  # it was given for this
        truth.runs_on = copy.node
        truth.stopped_on = ""
        self.changed(copy.ct, f"{where} runs")

    def freeze(self, copy: Copy) -> None:
        if copy.mode == "running":
            self._ran(copy)
            copy.mode = "frozen"
            self.changed(copy.ct, f"{copy.ct} on {copy.node} is frozen")

    def _ran(self, copy: Copy) -> None:
        truth = self.truths[copy.ct]
        truth.stamp += 1
        copy.stamp = truth.stamp
        self.machines[copy.node].disk.trees[copy.ct].stamp = truth.stamp

    def cold_start(self, ct: str, node: str, tree_stamp: int) -> Copy:
        """New processes from files alone: right only when no memory of the newest moment is left anywhere."""
        truth = self.truths[ct]
        copy = Copy(ct, node, tree_stamp, "frozen")
        alive = [other for other in self.copies(ct) if other.stamp == truth.stamp and other.counts]
        if alive and not truth.word:
            self.violate(Law.A_COPY_IS_LEFT, f"{ct} starts cold on {node} while {alive[0].node} holds it in memory")
        truth.connection = "reset: it started cold"
        return copy

    def stop(self, copy: Copy) -> None:
        """A container is ended for a move by restart, or what is left of it is. Only one whose record says so: its
        files are all that it is from here on, and must not go before another has begun from them."""
        self.freeze(copy)
        truth = self.truths[copy.ct]
        record = self.machines[copy.node].disk.records.get(copy.ct)
        if record is None or record.cold != "yes":
            self.violate(Law.A_COPY_IS_LEFT, f"{copy.ct} on {copy.node} is stopped, and its record does not say so")
        if copy.stamp == truth.stamp and not copy.anew:
            truth.stopped_on, truth.restarted = copy.node, True
        copy.mode = "dead"
        copy.ended.set()
        self.changed(copy.ct, f"{copy.ct} on {copy.node} is stopped")

    def end(self, copy: Copy, cause: str, gate_open: bool) -> None:
        """A copy dies. `cause` is "code" when the product ended it, else the fault that did."""
        if copy.mode == "dead":
            return
        truth = self.truths[copy.ct]
        record = self.machines[copy.node].disk.records.get(copy.ct)
        unseen = cause not in ("code", NOT_LET_GO) and copy.mode == "held"
        if unseen and record is not None and record.state == "released":
            self._ran(copy)  # nobody can know that it had not run yet, so it counts as if it had
        was, copy.mode = copy.mode, "dead"
        copy.ended.set()
        last = copy.stamp == truth.stamp and not any(
            other is not copy and other.stamp == truth.stamp and other.counts for other in self.copies(copy.ct)
        )
        self._judge_memory_that_follows(copy, was, cause)
        if cause == "code":
            if gate_open and not truth.word:
                self.violate(
                    Law.CONNECTION, f"{copy.ct} on {copy.node} is killed with its gate open: its peers get a reset"
                )
            owner = was != "held" and copy.stamp == truth.stamp
            last = last and copy.counts
            if last and was == "held" and self.was_given_up(copy.ct):
                truth.loss = truth.frozen_lost
                truth.connection = f"reset: {truth.loss}"
            elif (last or owner) and not truth.word:
                self.violate(
                    Law.A_COPY_IS_LEFT, f"{copy.ct} on {copy.node} ({was}) is killed before another copy has taken over"
                )
        elif last and not copy.anew:
            truth.loss = cause
            truth.connection = f"reset: {cause}"
        elif copy.stamp == truth.stamp:
            truth.frozen_lost, truth.frozen_lost_ms = cause, self.clock.wall_ms()
        self.changed(copy.ct, f"{copy.ct} on {copy.node} ({was}) is dead: {cause}")

    def _judge_memory_that_follows(self, copy: Copy, was: str, cause: str) -> None:
        """No source is killed while a target still lacks what it has, and no target but for a fault."""
        if cause == FOLLOWS_NOT and was != "held" and not self.struck:
            self.violate(Law.A_COPY_IS_LEFT, f"{copy.ct} on {copy.node} is killed though nothing was broken")
        if cause != "code" or was != "frozen" or self.truths[copy.ct].word:
            return
        for other in self.copies(copy.ct):
            if other is not copy and other.mode == "running" and not other.counts:
                text = f"{copy.ct} on {copy.node} is killed while its memory still follows to {other.node}"
                self.violate(Law.A_COPY_IS_LEFT, text)

    def tree_removed(self, ct: str, stamp: int, node: str) -> None:
        truth = self.truths[ct]
        if truth.stopped_on == node and not truth.word:
            text = f"{ct} was stopped on {node}, and its files go before it has begun anywhere"
            self.violate(Law.A_COPY_IS_LEFT, text)
        if stamp == truth.stamp and truth.stamp not in self.stamps_on_disk(ct) and not truth.word:
            self.violate(Law.A_COPY_IS_LEFT, f"the last files of {ct} are removed from {node}")
        self.changed(ct, f"files of {ct} are removed from {node}")
