"""The saga over nodes that answer as told: what it writes first, what it undoes, and what it never does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from migrator.errors import FailedSafe, NeedsOperator, Refused
from migrator.executor.recover import migrate
from migrator.executor.saga import Rehearsed, Saga, Undecided, free_for_all
from migrator.journal.events import Phase
from migrator.journal.store import Journal, JournalError, Migration
from migrator.model.facts import ContainerFacts, NodeFacts, Resources
from migrator.model.modes import Mode
from migrator.model.policy import Policy
from migrator.protocol.checks import IMAGE_MARGIN_BYTES
from migrator.protocol.states import FORWARD, State
from migrator.steps import fence, fill, seed
from migrator.steps.base import AT_ONCE, Move, Side, Turn
from migrator.transport.base import Answer, NodeFailed, NodeRefused, NodeUnreachable
from tests.unit.test_bundle import WEB

CENSUS = "process 1\nsocket tcp LISTEN 0.0.0.0:80 0.0.0.0:*\n"
JOBS = {
    "send-files": "out bytes 0\nout sent 10\nout ms 5\n",
    "dump": "out dump_ms 1\nout send_ms 1\nout image_kib 4\n",
    "restore": "",
}
ANSWERS = {
    "keygen": "key ssh-ed25519 KEY\naddress 192.0.2.1\n",
    "admit": "user root\n",
    "fence": "frozen_at_ms 5\nquiet_ms 2\nunsent 0\n",
    "census": CENSUS,
    "await-held": "held yes\n" + CENSUS,
    "arp-owner": f"owner {WEB.mac}\n",
    "criu-check": "criu works\n",
    "release": "processes running\n",
    "inspect": "floor 0\nstate fenced\ntoken 2\ngeneration 1\nrun r\nsame_boot yes\nprocesses frozen\nheld yes\n",
}


class ScriptedNode:
    """Answers every verb with its good answer, unless the test says otherwise. Keeps one list of all calls."""

    def __init__(self, name: str, calls: list[str]) -> None:
        self.name = name
        self.calls = calls
        self.instead: dict[str, Callable[[], str]] = {}
        self.state = "fenced"

    async def call(
        self, verb: str, *args: str | int, stdin: bytes = b"", timeout_s: float = 30, tries: int = 3
    ) -> Answer:
        what = str(args[4]) if verb == "job" else verb
        self.calls.append(f"{self.name} {what}")
        if what == "thaw":
            self.state = "serving"
        if what in self.instead:
            return Answer(self.name, verb, self.instead[what]())
        if verb == "job":
            return Answer(self.name, verb, "job done\nexit 0\n" + JOBS[what])
        return Answer(self.name, verb, ANSWERS.get(verb, "").replace("state fenced", f"state {self.state}"))

    def standing_by(self) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    async def host_key(self) -> tuple[str, str]:
        return "ssh-ed25519", "HOST"


class Scene:
    def __init__(self, tmp_path: Path) -> None:
        self.calls: list[str] = []
        self.source, self.target = ScriptedNode("n1", self.calls), ScriptedNode("n2", self.calls)
        self.journal = Journal(tmp_path / "j.db")
        self.journal.create_run("r", "move", {})
        self.journal.add_migration(Migration("r/web/1", "r", "web", "n1", "n2", 2, 1, None, {}))
        web = ContainerFacts("web", "serving", 1, 1, True, "-", Resources(), anon_bytes=4096, descriptor=WEB)
        same = {
            "arch": "x86_64",
            "cgroup_version": 2,
            "criu": "4.2",
            "runc": "1.1",
            "rsync": "3",
            "bridges": ("br0",),
            "templates": {"debian": "d"},
            "memory_available_bytes": 1 << 40,
            "disk_available_bytes": 1 << 40,
            "inodes_available": 1 << 20,
        }
        self.move = Move(
            id="r/web/1",
            run="r",
            descriptor=WEB,
            source=Side(self.source, NodeFacts("n1", containers=(web,), **same), "192.0.2.1"),  # type: ignore[arg-type]
            target=Side(self.target, NodeFacts("n2", **same), "192.0.2.2"),  # type: ignore[arg-type]
            expected_token=1,
            token=2,
            generation=1,
            policy=Policy(recovery_timeout_s=0.01),
            holder="mine",
        )

    def fail(self, node: ScriptedNode, verb: str, kind: type[Exception] = NodeFailed) -> None:
        def act() -> str:
            raise kind(node.name, verb, f"{verb} does not work")

        node.instead[verb] = act

    async def run(self) -> None:
        await Saga(self.move, self.journal).run()

    @property
    def state(self) -> State:
        return Journal(self.journal.path).progress("r/web/1").state


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


async def test_a_good_move_goes_through_every_state_in_order(scene: Scene) -> None:
    await scene.run()
    ended = [e.state for e in scene.journal.events("r/web/1") if e.phase is Phase.END]
    assert ended == list(FORWARD[1:])


async def test_a_rehearsal_thaws_before_it_restores_and_seals_and_decides_nothing_for_the_target(scene: Scene) -> None:
    scene.move.rehearsal = True
    with pytest.raises(Rehearsed):
        await scene.run()
    assert scene.calls.index("n1 thaw") < scene.calls.index("n2 await-held")
    assert not {"n1 seal", "n2 release", "n1 retire"} & set(scene.calls)
    assert scene.state is State.ROLLED_BACK


async def test_memory_that_will_follow_is_gathered_before_the_fence_and_a_node_that_cannot_holds_nothing_up(
    scene: Scene,
) -> None:
    scene.move.mode = Mode.POST_COPY
    scene.source.instead["huge-pages"] = lambda: "job done\nexit 0\nout huge_bytes 4194304\n"
    assert (await seed.do(scene.move))["huge_bytes"] == 4 << 20
    scene.source.instead["huge-pages"] = lambda: "job done\nexit 1\nerr no\n"
    assert (await seed.do(scene.move))["huge_bytes"] == 0


async def test_a_move_whose_memory_does_not_follow_gathers_none(scene: Scene) -> None:
    assert "huge_bytes" not in await seed.do(scene.move)
    assert "n1 huge-pages" not in scene.calls


async def test_after_a_take_over_memory_that_follows_is_waited_for_and_no_dump_begun(scene: Scene) -> None:
    scene.target.instead["await-filled"] = lambda: "filled yes\n"
    scene.move.results[State.LEASED] = {"token": scene.move.token - 1}
    await fill.do(scene.move)
    assert scene.calls == ["n2 await-filled"]


async def test_a_restore_that_dies_while_it_stands_ready_is_known_before_the_freeze(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fence, "ASK_S", 0)
    for side in ("source", "target"):
        there = getattr(scene.move, side)
        setattr(scene.move, side, replace(there, facts=replace(there.facts, stream_out="yes", stream_in="yes")))
    scene.target.instead["restore"] = lambda: "job lost\nerr it was killed\n"

    @contextlib.asynccontextmanager
    async def never(move: Move) -> AsyncIterator[Turn]:
        yield Turn(come=asyncio.Event().wait)

    with pytest.raises(FailedSafe, match="node n2: restore of web was lost: it was killed; container web runs on n1"):
        await Saga(scene.move, scene.journal, never).run()
    assert "n1 fence" not in scene.calls
    assert scene.state is State.ROLLED_BACK


@pytest.mark.parametrize(
    ("wanted", "said", "handed"), [(True, "nearly yes\n", 1), (True, "nearly no\n", 0), (False, "nearly yes\n", 0)]
)
async def test_links_are_handed_over_when_nearly_all_is_sent_and_another_stands_ready_for_them(
    scene: Scene, wanted: bool, said: str, handed: int
) -> None:
    for side in ("source", "target"):
        there = getattr(scene.move, side)
        setattr(scene.move, side, replace(there, facts=replace(there.facts, stream_out="yes", stream_in="yes")))
    scene.source.instead["await-nearly"] = lambda: said
    scene.source.instead["await-dumped"] = lambda: JOBS["dump"].replace("out ", "")

    async def is_wanted() -> None:
        if not wanted:
            await asyncio.Event().wait()

    @contextlib.asynccontextmanager
    async def turn(move: Move) -> AsyncIterator[Turn]:
        yield Turn(wanted=is_wanted, hand_over=lambda: scene.calls.append("handed over"))

    await Saga(scene.move, scene.journal, turn).run()
    assert scene.calls.count("handed over") == handed
    assert scene.calls.count("n1 await-nearly") == wanted


@pytest.mark.parametrize("later", ["", "carry nft QkJC\nmark other\n"])
async def test_what_its_root_has_made_in_its_network_goes_before_the_freeze_and_what_changes_then_after_it(
    scene: Scene, later: str
) -> None:
    scene.source.instead["own-network"] = lambda: "carry nft QUFB\nmark one\n"
    scene.source.instead["fence"] = lambda: ANSWERS["fence"] + later
    await scene.run()
    carried = [call for call in scene.calls if call in ("n1 own-network", "n2 carry", "n1 fence")]
    assert carried == ["n1 own-network", "n2 carry", "n1 fence", *(["n2 carry"] if later else [])]
    assert scene.state is State.DONE


async def test_what_a_target_cannot_make_of_its_network_is_refused_in_the_check(scene: Scene) -> None:
    scene.source.instead["obstacles"] = lambda: "own nft table inet own\ncarry nft QUFB\nmark one\n"
    scene.target.instead["check-network"] = lambda: "fault its rules: rule of chain in, recent: No such file\n"
    with pytest.raises(
        Refused, match="node n2 cannot make what its root has made in its network: its rules: rule of chain in, recent"
    ):
        await scene.run()
    assert "n2 reserve" not in scene.calls


async def test_a_turn_ends_with_the_seal_for_the_source_sends_nothing_more(scene: Scene) -> None:
    def over() -> None:
        scene.calls.append("turn over")

    @contextlib.asynccontextmanager
    async def turn(move: Move) -> AsyncIterator[Turn]:
        yield AT_ONCE
        over()

    await Saga(scene.move, scene.journal, turn).run()
    assert scene.calls.index("n1 seal") + 1 == scene.calls.index("turn over") < scene.calls.index("n2 release")


async def test_every_act_is_announced_in_the_journal_before_it(scene: Scene) -> None:
    announced: list[bool] = []

    def at_fence() -> str:
        announced.append(Journal(scene.journal.path).progress("r/web/1").pending is State.FENCED)
        return "frozen_at_ms 1\nquiet_ms 0\nunsent 0\n"

    scene.source.instead["fence"] = at_fence
    await scene.run()
    assert announced == [True]


async def test_the_target_is_released_only_after_the_commit_is_on_disk(scene: Scene) -> None:
    decided: list[State | None] = []

    def at_release() -> str:
        decided.append(Journal(scene.journal.path).progress("r/web/1").decision)
        return "processes running\n"

    scene.target.instead["release"] = at_release
    await scene.run()
    assert decided == [State.COMMITTED]
    assert scene.calls.index("n1 seal") < scene.calls.index("n2 release") < scene.calls.index("n1 retire")


@pytest.mark.parametrize(
    ("side", "verb"),
    [
        ("source", "fence"),
        ("source", "dump"),
        ("source", "census"),
        ("source", "send-files"),
        ("target", "await-held"),
        ("source", "seal"),
    ],
)
async def test_a_failure_before_the_commit_thaws_first_and_then_cleans(scene: Scene, side: str, verb: str) -> None:
    scene.fail(getattr(scene, side), verb)
    with pytest.raises(FailedSafe, match=f"{verb} does not work; container web runs on n1 as before"):
        await scene.run()
    assert scene.state is State.ROLLED_BACK
    assert [call for call in scene.calls if "inspect" not in call][-3:] == ["n1 thaw", "n2 discard-target", "n1 settle"]
    assert "n2 release" not in scene.calls
    assert "n1 retire" not in scene.calls


@pytest.mark.parametrize(
    "inspected",
    ["floor 0\nstate fenced\ntoken 2\ngeneration 1\nsame_boot no\nprocesses none\n", "what is that\n"],
    ids=["memory lost", "nonsense"],
)
async def test_a_verified_copy_is_not_discarded_unless_the_source_is_known_to_be_whole(
    scene: Scene, inspected: str
) -> None:
    scene.fail(scene.source, "seal")
    scene.source.instead["inspect"] = lambda: inspected
    with pytest.raises(Undecided, match=r"undecided between n1 and n2: .*resume r"):
        await scene.run()
    assert scene.state is State.VERIFIED
    assert "n2 discard-target" not in scene.calls


async def test_a_container_whose_processes_ended_meanwhile_is_not_said_to_run(scene: Scene) -> None:
    scene.fail(scene.source, "dump")
    scene.source.instead["inspect"] = lambda: (
        "floor 0\nstate serving\ntoken 2\ngeneration 1\nsame_boot no\nprocesses none\n"
    )
    with pytest.raises(FailedSafe, match="its processes have ended there; start it from its files"):
        await scene.run()


@pytest.mark.parametrize(
    "inspected",
    [
        "floor 9\nstate absent\ntoken 0\ngeneration 0\nsame_boot no\nprocesses none\n",
        "floor 0\nstate serving\ntoken 9\ngeneration 2\nsame_boot yes\nprocesses running\n",
    ],
    ids=["moved away", "taken over"],
)
async def test_who_wakes_up_after_another_has_gone_on_decides_nothing_and_says_nothing_of_the_container(
    scene: Scene, inspected: str
) -> None:
    scene.fail(scene.source, "dump")
    scene.source.instead["inspect"] = lambda: inspected
    with pytest.raises(Undecided):
        await scene.run()
    assert scene.state is State.FENCED
    assert "n1 thaw" not in scene.calls


async def test_what_a_source_that_does_not_answer_holds_is_not_said(scene: Scene) -> None:
    scene.fail(scene.source, "dump")
    scene.fail(scene.source, "inspect", NodeUnreachable)
    with pytest.raises(FailedSafe, match="stays on n1, which does not answer now"):
        await scene.run()


async def test_the_source_is_not_thawed_before_aborted_is_on_disk(scene: Scene) -> None:
    decided: list[State | None] = []
    scene.fail(scene.source, "dump")

    def at_thaw() -> str:
        decided.append(Journal(scene.journal.path).progress("r/web/1").decision)
        return ""

    scene.source.instead["thaw"] = at_thaw
    with pytest.raises(FailedSafe):
        await scene.run()
    assert decided == [State.ABORTED]


async def test_a_copy_that_is_not_what_was_dumped_is_never_released(scene: Scene) -> None:
    scene.target.instead["await-held"] = lambda: "held yes\nprocess 1\nprocess 2\n"
    with pytest.raises(FailedSafe, match="not what was dumped"):
        await scene.run()
    assert "n2 release" not in scene.calls


async def test_a_restore_that_does_not_come_to_hold_says_what_is_missing(scene: Scene) -> None:
    scene.target.instead["await-held"] = lambda: "held no\nwhy its memory is not in its place\n"
    scene.target.instead["job"] = lambda: "job running\n"
    with pytest.raises(FailedSafe, match=r"web does not hold, waited for up to \d+ s: its memory is not in its place"):
        await scene.run()
    assert "n2 release" not in scene.calls


async def test_a_pause_that_its_source_has_ended_is_told_as_the_reason(scene: Scene) -> None:
    """The restore's own words are of what came of it."""
    scene.fail(scene.target, "await-held")
    scene.source.instead["thaw"] = lambda: "thawed before\npaused_ms 16800\n"
    with pytest.raises(
        FailedSafe, match=r"its pause reached 15 s, and its source ended it, after 16\.8 s; see --max-b"
    ):
        await scene.run()
    assert scene.state is State.ROLLED_BACK


async def test_a_node_that_has_no_room_refuses_and_the_exit_code_says_so(scene: Scene) -> None:
    scene.fail(scene.target, "reserve", NodeRefused)
    with pytest.raises(Refused):
        await scene.run()
    assert "n1 fence" not in scene.calls


async def test_a_target_that_cannot_be_cleaned_is_a_debt_and_not_forgotten(scene: Scene) -> None:
    scene.fail(scene.source, "dump")
    scene.fail(scene.target, "discard-target", NodeUnreachable)
    with pytest.raises(FailedSafe, match=r"not cleaned yet: node n2.*migrator resume r"):
        await scene.run()
    assert scene.state is State.ABORTED  # so that resume comes back to it


async def test_a_target_that_does_not_answer_after_the_commit_needs_the_operator(scene: Scene) -> None:
    scene.fail(scene.target, "release", NodeUnreachable)
    with pytest.raises(NeedsOperator, match="committed to n2 and not released"):
        await scene.run()
    assert "n1 thaw" not in scene.calls
    assert "n1 retire" not in scene.calls
    assert scene.state is State.COMMITTED


async def test_a_copy_that_dies_in_its_release_leaves_the_source_as_it_is(scene: Scene) -> None:
    scene.target.instead["release"] = lambda: "not_let_go CRIU: it was killed\nprocesses none\n"
    with pytest.raises(NeedsOperator, match=r"web died on n2 in its release: CRIU: it was killed\. .*--keep n1"):
        await scene.run()
    assert "n1 thaw" not in scene.calls
    assert "n1 retire" not in scene.calls
    assert scene.state is State.RELEASED


SEALED = "state sealed\ntoken 2\ngeneration 1\nrun r\nfloor 0\nsame_boot yes\nprocesses frozen\ngate closed\n"
LOST = "state held\ntoken 2\ngeneration 0\nrun r\nfloor 0\nsame_boot no\nprocesses none\n"


async def test_a_copy_that_died_between_commit_and_release_gives_the_container_back_at_once(scene: Scene) -> None:
    scene.fail(scene.target, "release", NodeFailed)
    scene.source.instead["inspect"] = lambda: SEALED
    scene.target.instead["inspect"] = lambda: LOST  # it was held when it was waited for
    with pytest.raises(FailedSafe, match="runs on n1 as before: the target lost its copy"):
        await migrate(scene.move, scene.journal, free_for_all, lambda move, state, phase: None)
    assert Journal(scene.journal.path).progress("r/web/1").decision is State.REVOKED
    assert scene.state is State.ROLLED_BACK
    leased = len(scene.calls) - 1 - scene.calls[::-1].index("n2 lease")
    assert leased < scene.calls.index("n1 thaw")  # so that no release that comes late can count


@pytest.mark.parametrize(
    ("failing", "told"),
    [
        (("target", "reserve"), "it was not frozen, and runs on there"),
        (("source", "dump"), "its own watchdog lets it run again there, at most 15 s after the freeze"),
    ],
)
async def test_a_source_that_falls_silent_is_told_with_what_it_does_by_itself(
    scene: Scene, failing: tuple[str, str], told: str
) -> None:
    scene.fail(getattr(scene, failing[0]), failing[1])
    for verb in ("thaw", "settle"):
        scene.fail(scene.source, verb, NodeUnreachable)
    with pytest.raises(FailedSafe, match=told) as failed:
        await scene.run()
    assert f"{failing[1]} does not work" in str(failed.value)
    assert scene.state is State.ABORTED


async def test_a_source_that_cannot_be_removed_leaves_the_move_unfinished_and_safe(scene: Scene) -> None:
    scene.fail(scene.source, "retire", NodeUnreachable)
    with pytest.raises(FailedSafe, match="runs on n2, but n1 is not cleaned"):
        await scene.run()
    assert scene.state is State.RELEASED


def full(*_: object) -> bool:
    raise JournalError("journal j.db: cannot be written: database or disk is full")


@pytest.mark.parametrize(
    ("verb", "told"),
    [
        ("lease", "is undecided between n1 and n2 (n1: it was not frozen, and runs on there)"),
        ("dump", "is undecided between n1 and n2 (n1: if it was frozen, its own watchdog lets it run again there"),
        ("seal", "is undecided between n1 and n2 (n1: it may be sealed: then it stays frozen there"),
        ("commit", "is committed to n2"),
    ],
)
async def test_a_journal_that_takes_nothing_any_more_is_told_with_the_container_and_what_to_do(
    scene: Scene, verb: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = scene.journal.store
    decide = store.decide

    def fills() -> str:
        for write in ("append", "decide", "raise_token"):
            monkeypatch.setattr(store, write, full)
        return ANSWERS.get(verb, "job done\nexit 0\n" + JOBS.get(verb, ""))

    def decided(*what: Any) -> bool:
        done = decide(*what)
        fills()
        return done

    if verb == "commit":
        monkeypatch.setattr(store, "decide", decided)
    else:
        scene.source.instead[verb] = fills
    with pytest.raises(NeedsOperator) as failed:
        await migrate(scene.move, scene.journal, free_for_all, lambda move, state, phase: None)
    said = str(failed.value)
    assert said.startswith(f"container web {told}")
    assert said.endswith("disk is full; free or mend the journal's disk, then: migrator resume r")
    assert not {"n1 thaw", "n2 release", "n1 retire"} & set(scene.calls)


async def test_a_commit_that_could_not_be_written_and_neither_its_abort_releases_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scene.journal.store, "decide", full)
    with pytest.raises(NeedsOperator, match=r"undecided between n1 and n2 .*disk is full; free .*migrator resume r$"):
        await scene.run()
    assert scene.state is State.SEALED
    assert not {"n1 thaw", "n2 release", "n1 retire"} & set(scene.calls)


@pytest.mark.parametrize(("verb", "end"), [("dump", State.ROLLED_BACK), ("release", State.DONE)])
async def test_a_cancellation_rolls_back_before_the_commit_and_finishes_after_it(
    scene: Scene, verb: str, end: State
) -> None:
    node = scene.target if verb == "release" else scene.source
    task: asyncio.Task[None] | None = None

    def interrupt() -> str:
        assert task is not None
        task.cancel()
        if verb == "release":
            return ANSWERS["release"]
        return "job done\nexit 0\n" + JOBS["dump"]

    node.instead[verb] = interrupt
    task = asyncio.create_task(scene.run())
    with pytest.raises(asyncio.CancelledError):
        await task
    assert scene.state is end


async def test_images_are_bounded_by_what_is_free_beside_the_restored_memory(scene: Scene) -> None:
    free = 256 << 20  # of which the target needs one half for the pages as they are restored
    asked: dict[str, int] = {}
    for node in (scene.source, scene.target):
        plain = node.call

        async def call(
            verb: str, *args: str | int, node: ScriptedNode = node, plain: Any = plain, **more: Any
        ) -> Answer:
            if verb == "prepare":
                asked[node.name] = int(args[5])
            answer: Answer = await plain(verb, *args, **more)
            return answer

        node.call = call  # type: ignore[method-assign]
    scene.move.source = replace(scene.move.source, facts=replace(scene.move.source.facts, memory_available_bytes=free))
    scene.move.target = replace(scene.move.target, facts=replace(scene.move.target.facts, memory_available_bytes=free))
    await scene.run()
    assert asked == {"n1": free, "n2": (free + IMAGE_MARGIN_BYTES) // 2}


def test_a_key_outlives_the_longest_move_that_a_policy_allows() -> None:
    policy = Policy()
    assert policy.key_lifetime_s > (1 + policy.seed_passes_max) * policy.job_timeout_s + policy.blackout_s_max
