"""What a step is and what it gets: three things in one small record, and a context that every step shares.

`do` acts, `undo` takes back, both repeatable; `happened` tells from what the nodes answer whether the step's
effect is there, by one of `traces`. A step's result is data for the journal, and for the steps after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from migrator.model.container import Descriptor
from migrator.model.estimate import Manner, manner_of
from migrator.model.facts import NodeFacts
from migrator.model.memory_way import ENCRYPTED, PLAIN, MemoryWay, memory_way, trusted_networks
from migrator.model.modes import AUTO, GIVE_UP, GO_ON, Mode
from migrator.model.observation import Observation
from migrator.model.policy import Policy
from migrator.model.rates import DEFAULT_RATES, Rates
from migrator.model.site import NO_SITE, Site
from migrator.protocol.precopy import Round
from migrator.protocol.states import State
from migrator.transport.base import Answer, Node, NodeFailed
from migrator.transport.hooks import HookCaller, LocalHooks

JOB_WAIT_S = 20
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")


async def _at_once() -> None:
    """Comes to a move that waits for nobody."""


async def _never() -> None:
    await asyncio.get_running_loop().create_future()


@dataclass(frozen=True, slots=True)
class Turn:
    """A move's turn to be paused on its links. `come` returns when it has it, and raises if it may not be paused any
    more; `wanted` returns when another stands ready for one of its links, and never where it is no use to hand them
    over; `hand_over` gives them to it before the pause has ended.
    """

    come: Callable[[], Awaitable[object]] = _at_once
    wanted: Callable[[], Awaitable[object]] = _never
    hand_over: Callable[[], None] = lambda: None


AT_ONCE = Turn()


@dataclass(frozen=True, slots=True)
class Side:
    """One end of a move: the node, what was seen of it, and how the other end reaches it."""

    node: Node
    facts: NodeFacts
    migration_host: str
    migration_port: int = 22


@dataclass(slots=True)
class Move:
    """One migration as its steps see it. `results` holds what each step reached, by state.

    `thawed` is whether a rollback has ended the pause itself, `paused_ms` how long it was where the watchdog did.
    `leg` says which of the container's moves in the plan it is; no step asks for it. `holder` is this orchestrator's
    own word, by which a node tells it from another that has the same journal, and so the same run and token. `rates`
    are those that its pause is predicted by, with the speeds of the `shared` links between the nodes, bytes a
    second. `site` is what the cluster file says of the network around the nodes, and `hooks` calls its hooks. `mode` is
    the one that was chosen, `mode_why` why. A `rehearsal` ends before the seal.
    `last_pass` is what the last pass over the files has said, once it has ended. A fence that has made all ready waits
    for its `turn` to come, right before the freeze. `turn_ms` is how long that took. `rounds` are those of pre-copy,
    `rounds_over_s` is when the last of them ended, by the loop's clock. `id_index_there` numbers its range of user ids
    on the target; None is the one that it has.
    """

    id: str
    run: str
    descriptor: Descriptor
    source: Side
    target: Side
    expected_token: int
    token: int
    generation: int
    policy: Policy
    holder: str
    results: dict[State, dict[str, Any]] = field(default_factory=dict)
    last_pass: Answer | None = None
    thawed: bool = False
    paused_ms: int | None = None
    leg: int = 1
    mode: Mode = Mode.STOP_AND_COPY
    mode_why: str = ""
    rehearsal: bool = False
    rates: Rates = DEFAULT_RATES["stream"]
    shared: tuple[int, ...] = ()
    written_bytes_per_s: int | None = None
    site: Site = NO_SITE
    hooks: HookCaller = field(default_factory=LocalHooks)
    on_progress: Callable[[State, str], None] = lambda state, text: None
    turn: Turn = AT_ONCE
    turn_ms: int = 0
    rounds: tuple[Round, ...] = ()
    rounds_over_s: float = 0.0
    id_index_there: int | None = None

    @property
    def descriptor_there(self) -> Descriptor:
        """As it is on its target: with another range of user ids, where its own is another's there."""
        there = self.id_index_there
        return self.descriptor if there is None else replace(self.descriptor, id_index=there)

    @property
    def shifts(self) -> bool:
        return self.descriptor_there.id_index != self.descriptor.id_index

    @property
    def name(self) -> str:
        return self.descriptor.name

    @property
    def memory(self) -> MemoryWay:
        return memory_way(self.source.facts, self.target.facts)

    @property
    def plain(self) -> bool:
        """Whether memory is to go beside ssh: it is streamed, and the network between the nodes is declared trusted."""
        streamed = self.memory.name == "stream" and self.mode is not Mode.RESTART
        return streamed and bool(trusted_networks(self.source.facts, self.target.facts))

    @property
    def channel(self) -> str:
        """How its memory is to go over the network."""
        return PLAIN if self.plain else ENCRYPTED

    @property
    def manner(self) -> Manner:
        """How it is made, as estimates ask."""
        return manner_of(self.mode, self.policy, self.written_bytes_per_s)

    @property
    def way_out(self) -> str:
        """What is done about memory that is written faster than it is sent. Auto would have paused it longer anyway."""
        return self.policy.not_convergent or (GO_ON if self.policy.mode == AUTO else GIVE_UP)

    @property
    def claim(self) -> str:
        """Who it is that takes a move back."""
        return f"{self.run}/{self.holder}"


async def _nothing(move: Move) -> None:
    """The undo of a step that leaves nothing of its own."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step. `undo` runs only while the migration is not committed, on the node that `undoes_on` tells."""

    state: State
    do: Callable[[Move], Awaitable[dict[str, Any]]]
    happened: Callable[[Observation, Observation], bool]
    undo: Callable[[Move], Awaitable[None]] = _nothing
    undoes_on: Literal["source", "target"] = "source"

    def undo_side(self, move: Move) -> Side:
        return move.target if self.undoes_on == "target" else move.source


async def both(first: Awaitable[A], second: Awaitable[B]) -> tuple[A, B]:
    """What both return, as `all_of`."""
    tasks = (asyncio.ensure_future(first), asyncio.ensure_future(second))
    await _ended(tasks)
    return tasks[0].result(), tasks[1].result()


async def all_of(first: Awaitable[A], second: Awaitable[B], third: Awaitable[C]) -> tuple[A, B, C]:
    """What all three return. The first to fail ends the others: nothing goes on behind the rollback's back."""
    tasks = (asyncio.ensure_future(first), asyncio.ensure_future(second), asyncio.ensure_future(third))
    await _ended(tasks)
    return tasks[0].result(), tasks[1].result(), tasks[2].result()


async def beside(first: Awaitable[A], *others: Awaitable[object]) -> A:
    """What the first returns, once the others have ended as well; the first of all to fail ends the rest."""
    task = asyncio.ensure_future(first)
    await _ended((task, *map(asyncio.ensure_future, others)))
    return task.result()


async def _ended(tasks: Sequence[asyncio.Future[Any]]) -> None:
    try:
        await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


async def start_job(node: Node, move: Move, name: str, *words: str | int) -> None:
    """Starts a job on a node, or finds it started; does not wait."""
    await node.call("job", move.name, move.token, name, 0, *words)


async def refuse_ended(node: Node, move: Move, name: str, *words: str | int) -> None:
    """NodeFailed, with what it says, where a job that stands ready does not stand there any more."""
    answer = await node.call("job", move.name, move.token, name, 0, *words)
    if answer.get("job") != "running":
        await run_job(node, move, name, *words, timeout_s=1)
        raise NodeFailed(node.name, name, f"{name} of {move.name} ended before it was to begin")


async def run_job(node: Node, move: Move, name: str, *words: str | int, timeout_s: float) -> Answer:
    """Starts a job on a node, or finds it, and waits for its end. NodeFailed when it failed or was lost."""
    waited_s = 0.0
    while True:
        wait_s = max(1, int(min(JOB_WAIT_S, timeout_s - waited_s)))
        answer = await node.call("job", move.name, move.token, name, wait_s, *words, timeout_s=wait_s + 20)
        status = answer.get("job")
        if status == "done":
            if answer.get("exit") == "0":
                return Answer(answer.node, name, "\n".join(answer.lines("out")))
            said = list(answer.lines("err"))
            raise NodeFailed(
                node.name, name, f"{name} of {move.name} failed: {said[-1] if said else 'no reason given'}"
            )
        if status != "running":
            why = answer.get("err", "it was ended from outside")
            raise NodeFailed(node.name, name, f"{name} of {move.name} was lost: {why}")
        waited_s += wait_s
        if waited_s >= timeout_s:
            raise NodeFailed(node.name, name, f"{name} of {move.name} has not ended after {timeout_s:.0f} s")
