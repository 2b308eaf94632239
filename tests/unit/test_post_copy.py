"""What post-copy decides without a node: which mode is taken, what is missing where, and what is sent next."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.model.estimate import FOLLOW_PAUSE_BYTES, GATHER_S_MAX, Manner, estimate_move
from migrator.model.facts import ContainerFacts, Link, Resources
from migrator.model.memory_way import MemoryWay
from migrator.model.modes import Mode, Rounds, choose
from migrator.model.observation import Observation
from migrator.model.rates import DEFAULT_RATES
from migrator.protocol.recovery import Action, judge
from migrator.protocol.settlement import word_needed
from migrator.protocol.stale import Known
from migrator.protocol.states import State
from tests.unit.kit_modules import load

PAGE = 4096
PAGES = 64  # of a small address space, at which moves and drops are played
STREAM, IMAGES = MemoryWay("stream"), MemoryWay("images", "n2: no Python")


PAUSES_S = {Mode.STOP_AND_COPY: 0.5, Mode.PRE_COPY: 0.4, Mode.POST_COPY: 0.3}
ROUNDS, NO_ROUNDS = Rounds(not_worth="its memory is sent in no time"), Rounds("memory cannot be streamed")


class TestModes:
    def test_nothing_that_can_lose_memory_is_taken_unless_it_is_named_or_allowed(self) -> None:
        assert choose("auto", (), STREAM, ROUNDS, PAUSES_S).mode is Mode.STOP_AND_COPY
        assert choose("auto", ("post-copy",), STREAM, ROUNDS, PAUSES_S).mode is Mode.POST_COPY
        assert choose("post-copy", (), STREAM, ROUNDS, PAUSES_S).mode is Mode.POST_COPY

    def test_a_mode_that_was_named_is_refused_rather_than_exchanged(self) -> None:
        choice = choose("post-copy", (), IMAGES, NO_ROUNDS, PAUSES_S)
        assert choice.mode is Mode.POST_COPY
        assert choice.refused == "post-copy needs memory that can be streamed: n2: no Python; name another --mode"

    def test_auto_says_why_an_allowed_mode_was_not_taken(self) -> None:
        choice = choose("auto", ("post-copy",), IMAGES, NO_ROUNDS, PAUSES_S)
        assert (choice.mode, choice.refused) == (Mode.STOP_AND_COPY, "")
        assert "n2: no Python" in choice.why

    def test_the_pause_of_post_copy_does_not_grow_with_memory(self) -> None:
        rates = DEFAULT_RATES["stream"]
        web = ContainerFacts("web", "serving", 1, 1, True, "-", Resources())
        held = [replace(web, anon_bytes=size << 30) for size in (1, 64)]
        following = [estimate_move(each, Link(), Link(), rates, (), Manner(Mode.POST_COPY)) for each in held]
        at_once_s = FOLLOW_PAUSE_BYTES / rates.send_bytes_per_s
        for each, container in zip(following, held, strict=True):
            assert each.blackout_s == pytest.approx(rates.follow_pause_s + at_once_s, abs=0.001)
            assert each.following_bytes + each.paused_bytes == container.anon_bytes
            assert each.following_s == pytest.approx(each.following_bytes / rates.send_bytes_per_s, abs=0.001)
            assert each.ready_s == pytest.approx(rates.setup_s + each.gather_s, abs=0.001)
        assert 0 < following[0].gather_s < following[1].gather_s < GATHER_S_MAX
        small, large = (estimate_move(each, Link(), Link(), rates).blackout_s for each in held)
        assert following[0].blackout_s < small < large

    def test_auto_lets_memory_follow_only_where_that_pause_is_the_shorter_one(self) -> None:
        equal = PAUSES_S | {Mode.STOP_AND_COPY: PAUSES_S[Mode.POST_COPY]}
        choice = choose("auto", ("post-copy",), STREAM, ROUNDS, equal)
        assert choice.mode is Mode.STOP_AND_COPY
        assert choice.why.startswith("auto: the shortest predicted pause, 0.30 s (post-copy 0.30 s)")
        assert choose("auto", ("post-copy",), STREAM, ROUNDS, PAUSES_S).mode is Mode.POST_COPY


class TestRecovery:
    KNOWN = Known("r", 3, 1, State.COMMITTED, frozenset({State.RELEASED}), frozenset({State.RELEASED}), follows=True)
    SOURCE = Observation("sealed", 3, 1, "r", processes="frozen")

    @pytest.mark.parametrize(
        "target",
        [
            Observation("released", 3, 1, "r", memory="lost"),
            Observation("released", 3, 1, "r", same_boot=False),
        ],
    )
    def test_a_copy_that_ran_and_lost_its_memory_is_for_an_operator_to_choose(self, target: Observation) -> None:
        assert judge(self.KNOWN, self.SOURCE, target).action is Action.STUCK
        assert word_needed("web", "n2", self.SOURCE, target, verified=True) == "web on n2 is given up"
        assert word_needed("web", "n1", target, self.SOURCE, verified=True) == "web on n1 is given up"

    @pytest.mark.parametrize("memory", ["none", "follows"])
    def test_a_copy_whose_memory_follows_or_has_come_is_finished(self, memory: str) -> None:
        target = Observation("released", 3, 1, "r", processes="running", memory=memory)
        assert judge(self.KNOWN, self.SOURCE, target).action is Action.FINISH

    def test_once_it_was_seen_to_be_filled_a_reboot_of_the_target_is_its_own_affair(self) -> None:
        known = Known("r", 3, 1, State.COMMITTED, follows=False)
        assert judge(known, self.SOURCE, Observation("released", 3, 1, "r", same_boot=False)).action is Action.FINISH


# What a process does with its memory while pages are missing: `(what, first page, pages, to page)`.
ACTS = st.lists(
    st.tuples(
        st.sampled_from(["drop", "move", "fork", "place"]),
        st.integers(0, PAGES - 1),
        st.integers(1, 16),
        st.integers(0, PAGES - 1),
    ),
    max_size=25,
)


class TestSpaces:
    @given(missing=st.sets(st.integers(0, PAGES - 1)), acts=ACTS)
    def test_what_is_missing_follows_whatever_the_process_does(self, missing: set[int], acts: Any) -> None:
        """Held against a dictionary from each page of now to the page of then that it lacks."""
        spaces = load("spaces")
        space = spaces.Space(3, 1, [spaces.Piece(page * PAGE, page * PAGE, PAGE) for page in missing])
        model = {page: page for page in missing}
        for what, first, count, to in acts:
            if what == "drop":
                space.drop(first * PAGE, (first + count) * PAGE)
                model = {at: then for at, then in model.items() if not first <= at < first + count}
            elif what == "move" and not (first < to + count and to < first + count):
                space.move(first * PAGE, to * PAGE, count * PAGE)
                taken = {at: then for at, then in model.items() if first <= at < first + count}
                kept = {at: then for at, then in model.items() if at not in taken and not to <= at < to + count}
                model = kept | {at - first + to: then for at, then in taken.items()}
            elif what == "fork":
                child = space.fork(4)
                space.drop(0, 2 * PAGES * PAGE)  # a move may end beyond the pages
                assert not space
                space = child
            else:
                while piece := space.lacks(first * PAGE, count * PAGE):
                    assert first * PAGE <= piece.origin < (first + count) * PAGE
                    space.drop(piece.at, piece.end)
                model = {at: then for at, then in model.items() if not first <= then < first + count}
            found = {}
            for page in range(2 * PAGES):
                if piece := space.at(page * PAGE):
                    found[page] = (piece.origin + page * PAGE - piece.at) // PAGE
            assert found == model
            assert bool(space) == bool(model)


class Served:
    """A page server that serves pages of one byte each, the number of their page."""

    def __init__(self, frames: ModuleType) -> None:
        self.frames = frames

    def ask(self, run: Any) -> None:
        pass

    def pass_on(self, run: Any, out: Any, *, at_once: bool) -> None:
        frames = self.frames
        out.write(frames.HEADER.pack(frames.PAGES, run.pid, run.address, run.pages))
        out.write(b"".join(bytes([(run.address // PAGE + n) % 256]) * PAGE for n in range(run.pages)))


class TestSending:
    def test_what_is_waited_for_goes_first_and_nothing_unasked_without_leave(self) -> None:
        frames, follow_out = load("frames"), load("follow_out")
        stream_in, stream_out = os.pipe()
        outlet = load("channel").Outlet(stream_out)
        answers_in, answers_out = os.pipe()
        runs = [frames.Run(1, 0, 256)]
        sent: list[int] = []
        sender = threading.Thread(
            target=lambda: sent.append(follow_out.follow(Served(frames), runs, outlet, answers_in))
        )
        sender.start()
        order = []
        with os.fdopen(stream_in, "rb") as stream:
            os.write(answers_out, f"want 1 {200 * PAGE}\n".encode())
            for _ in range(4):
                kind, _, address, pages = frames.HEADER.unpack(stream.read(frames.HEADER.size))
                assert kind == frames.PAGES
                stream.read(pages * PAGE)
                order.append(address // PAGE)
                os.write(answers_out, b"more 300000\n")
            assert frames.HEADER.unpack(stream.read(frames.HEADER.size)) == (frames.END, 0, 0, 256)
        sender.join(10)
        assert order[0] == 192
        assert sorted(order) == [0, 64, 128, 192]
        assert sent == [256 * PAGE]

    def test_of_what_is_sent_unasked_small_areas_go_first(self) -> None:
        frames, follow_out = load("frames"), load("follow_out")
        heap, stack, data = frames.Run(1, 0, 200), frames.Run(1, 1 << 30, 3), frames.Run(1, 2 << 30, 20)
        backlog = follow_out.Backlog([heap, stack, data])
        taken = [backlog.take() for _ in range(6)]
        assert taken[:2] == [stack, data]
        assert [run.address // PAGE for run in taken[2:]] == [0, 64, 128, 192]
        assert not backlog

    @pytest.mark.parametrize("said", [b"want 1 999999999\n", b"nonsense\n", b"more x\n", b""])
    def test_a_target_that_asks_for_what_nobody_has_ends_it(self, said: bytes) -> None:
        frames, follow_out = load("frames"), load("follow_out")
        answers_in, answers_out = os.pipe()
        os.write(answers_out, said)
        os.close(answers_out)
        with pytest.raises(frames.Damaged), Path(os.devnull).open("wb") as null:
            outlet = load("channel").Outlet(null.fileno())
            follow_out.follow(Served(frames), [frames.Run(1, 0, 16)], outlet, answers_in)
