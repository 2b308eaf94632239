"""Turns: pauses on one link never overlap, and nobody waits in a circle or for one that does not come back."""

from __future__ import annotations

import asyncio
import contextlib
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from migrator.executor.turns import STAND_S_MAX, Turns
from migrator.model.facts import SharedLink
from migrator.model.links import taken
from migrator.model.policy import Policy
from migrator.sim.loop import VirtualLoop

RACK = SharedLink("r1", ("n1", "n2"))


def over(source: str, target: str) -> Any:
    """All of a move that turns ask for."""
    sides = [SimpleNamespace(node=SimpleNamespace(name=name)) for name in (source, target)]
    return SimpleNamespace(source=sides[0], target=sides[1])


class Pauses:
    """Moves that pause for some seconds each, in virtual time, as long as predicted or not. When each was next and when
    it was paused, by name. In their last `tail_s` they send little, so they hand their links over if they are asked to.
    """

    def __init__(
        self, turns: Turns, predicted_s: float | None = None, ready_s: float = 0.0, tail_s: float = 0.0
    ) -> None:
        self.turns = turns
        self.predicted_s = predicted_s
        self.ready_s = ready_s
        self.tail_s = tail_s
        self.next_s: dict[str, float] = {}
        self.seen: dict[str, tuple[float, float]] = {}

    async def pause(self, name: str, source: str, target: str, lasts_s: float) -> None:
        clock = asyncio.get_running_loop().time
        predicted_s = lasts_s if self.predicted_s is None else self.predicted_s
        async with self.turns.pausing(over(source, target), predicted_s) as turn:
            self.next_s[name] = clock()
            await asyncio.sleep(self.ready_s)
            await turn.come()
            begin_s = clock()
            await asyncio.sleep(lasts_s - self.tail_s)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0):
                    await turn.wanted()
                    turn.hand_over()
            await asyncio.sleep(self.tail_s)
        self.seen[name] = (begin_s, clock())

    def play(self, *moves: tuple[str, str, str, float]) -> None:
        async def life() -> None:
            await asyncio.gather(*(self.pause(*move) for move in moves))

        VirtualLoop().run(life())


def played(turns: Turns, *moves: tuple[str, str, str, float]) -> dict[str, tuple[float, float]]:
    pauses = Pauses(turns)
    pauses.play(*moves)
    return pauses.seen


def test_pauses_on_one_link_come_one_after_the_other_in_the_order_in_which_they_were_ready() -> None:
    seen = played(Turns(Policy()), ("a", "n1", "n2", 2.0), ("b", "n1", "n3", 3.0), ("c", "n4", "n3", 1.0))
    assert seen == {"a": (0.0, 2.0), "b": (2.0, 5.0), "c": (0.0, 1.0)}


def test_up_and_down_are_two_links() -> None:
    seen = played(Turns(Policy()), ("a", "n1", "n2", 2.0), ("b", "n2", "n1", 2.0))
    assert seen == {"a": (0.0, 2.0), "b": (0.0, 2.0)}


def test_pauses_on_an_uplink_that_nodes_share_do_not_overlap_and_those_inside_do() -> None:
    moves = (("a", "n1", "n3", 2.0), ("b", "n2", "n4", 2.0), ("c", "n5", "n1", 2.0), ("d", "n1", "n2", 2.0))
    seen = played(Turns(Policy(), [RACK]), *moves)
    assert seen == {"a": (0.0, 2.0), "b": (2.0, 4.0), "c": (0.0, 2.0), "d": (2.0, 4.0)}  # d: n1 is busy with a


def test_who_waits_for_one_link_does_not_hold_another() -> None:
    seen = played(Turns(Policy()), ("a", "n1", "n2", 5.0), ("b", "n1", "n3", 1.0), ("c", "n4", "n3", 1.0))
    assert seen["c"] == (0.0, 1.0)


def test_asked_for_pauses_overlap() -> None:
    seen = played(Turns(Policy(overlapping_pauses=True)), ("a", "n1", "n2", 2.0), ("b", "n1", "n2", 2.0))
    assert seen == {"a": (0.0, 2.0), "b": (0.0, 2.0)}


def test_a_move_that_is_lost_in_its_pause_keeps_others_waiting_no_longer_than_the_longest_pause() -> None:
    policy = Policy(blackout_s_max=15.0)
    seen = played(Turns(policy), ("lost", "n1", "n2", 86_400.0), ("b", "n1", "n3", 1.0), ("c", "n1", "n2", 1.0))
    assert seen == {"lost": (0.0, 86_400.0), "b": (15.0, 16.0), "c": (16.0, 17.0)}


def test_the_next_makes_ready_a_second_before_the_predicted_end_and_freezes_when_the_other_has_ended() -> None:
    pauses = Pauses(Turns(Policy()), ready_s=0.6)
    pauses.play(("a", "n1", "n2", 5.0), ("b", "n1", "n3", 5.0), ("c", "n1", "n2", 5.0))
    assert pauses.next_s == {"a": 0.0, "b": 4.0, "c": 9.6}
    assert pauses.seen == {"a": (0.6, 5.6), "b": (5.6, 10.6), "c": (10.6, 15.6)}


def test_a_long_pause_hands_its_links_over_to_one_who_stands_ready_a_moment_before_its_end() -> None:
    pauses = Pauses(Turns(Policy()), tail_s=0.25)
    pauses.play(("a", "n1", "n2", 5.0), ("b", "n1", "n3", 5.0), ("c", "n1", "n2", 5.0))
    assert pauses.seen == {"a": (0.0, 5.0), "b": (4.75, 9.75), "c": (9.5, 14.5)}


def test_a_short_pause_keeps_its_links_and_so_does_one_whom_nobody_waits_for() -> None:
    pauses = Pauses(Turns(Policy()), tail_s=0.25)
    pauses.play(("a", "n1", "n2", 1.0), ("b", "n1", "n3", 1.0), ("alone", "n4", "n5", 5.0))
    assert pauses.seen == {"a": (0.0, 1.0), "b": (1.0, 2.0), "alone": (0.0, 5.0)}


def test_links_that_are_handed_over_are_free_for_all_who_wait_for_them() -> None:
    pauses = Pauses(Turns(Policy()), tail_s=0.25)
    pauses.play(("a", "n1", "n2", 2.0), ("b", "n1", "n3", 2.0), ("c", "n4", "n2", 9.0))
    assert pauses.seen == {"a": (0.0, 2.0), "b": (1.75, 3.75), "c": (1.75, 10.75)}


def test_a_pause_that_ends_before_it_is_predicted_to_keeps_nobody_waiting() -> None:
    pauses = Pauses(Turns(Policy()), predicted_s=9.0)
    pauses.play(("a", "n1", "n2", 2.0), ("b", "n1", "n3", 2.0))
    assert pauses.next_s == {"a": 0.0, "b": 2.0}
    assert pauses.seen["b"] == (2.0, 4.0)


def test_a_pause_that_lasts_longer_than_predicted_keeps_the_next_standing_until_it_ends() -> None:
    pauses = Pauses(Turns(Policy()), predicted_s=3.0)
    pauses.play(("a", "n1", "n2", 8.0), ("b", "n1", "n3", 1.0))
    assert pauses.next_s == {"a": 0.0, "b": 2.0}
    assert pauses.seen["b"] == (8.0, 9.0)


def test_nobody_stands_ready_for_longer_than_a_receiver_hears_nothing() -> None:
    pauses = Pauses(Turns(Policy(blackout_s_max=600.0)), predicted_s=3.0)
    pauses.play(("lost", "n1", "n2", 86_400.0), ("b", "n1", "n3", 1.0))
    assert pauses.next_s["b"] == 600.0 - STAND_S_MAX
    assert pauses.seen["b"] == (600.0, 601.0)


def test_who_is_next_on_a_link_is_passed_by_nobody() -> None:
    pauses = Pauses(Turns(Policy()))

    async def life() -> None:
        first = [pauses.pause("a", "n1", "n2", 5.0), pauses.pause("b", "n1", "n3", 1.0)]
        tasks = [asyncio.ensure_future(each) for each in first]
        await asyncio.sleep(4.5)  # b is next, and what n3 receives lies idle
        later = [pauses.pause("c", "n5", "n3", 1.0), pauses.pause("d", "n7", "n8", 1.0)]
        await asyncio.gather(*tasks, *later)

    VirtualLoop().run(life())
    assert pauses.next_s == {"a": 0.0, "b": 4.0, "c": 5.0, "d": 4.5}
    assert pauses.seen == {"a": (0.0, 5.0), "b": (5.0, 6.0), "c": (6.0, 7.0), "d": (4.5, 5.5)}


def test_who_is_not_ready_when_its_links_are_free_has_its_turn_all_the_same() -> None:
    pauses = Pauses(Turns(Policy()), predicted_s=9.0, ready_s=3.0)
    pauses.play(("a", "n1", "n2", 2.0), ("b", "n1", "n3", 2.0), ("c", "n1", "n2", 2.0))
    assert pauses.next_s == {"a": 0.0, "b": 5.0, "c": 10.0}
    assert pauses.seen == {"a": (3.0, 5.0), "b": (8.0, 10.0), "c": (13.0, 15.0)}


# While it waits, while it stands ready, and in the moments in which it is next and in which its turn comes.
@pytest.mark.parametrize("at_s", [0.5, 1.0, 1.5, 2.0])
def test_a_move_that_is_cancelled_leaves_no_turn_behind(at_s: float) -> None:
    pauses = Pauses(Turns(Policy()))

    async def life() -> None:
        first = asyncio.ensure_future(pauses.pause("a", "n1", "n2", 2.0))
        second = asyncio.ensure_future(pauses.pause("b", "n1", "n2", 2.0))
        asyncio.get_running_loop().call_later(at_s, second.cancel)
        third = asyncio.ensure_future(pauses.pause("c", "n1", "n2", 1.0))
        await asyncio.wait([first, second, third])
        assert second.cancelled()

    VirtualLoop().run(life())
    assert pauses.seen == {"a": (0.0, 2.0), "c": (2.0, 3.0)}


def test_whatever_the_moves_no_two_are_paused_on_one_link_and_all_have_their_turn() -> None:
    for seed in range(200):
        chance = Random(seed)
        links = [RACK, SharedLink("row", ("n1", "n2", "n3"))][: chance.randrange(3)]
        moves = [
            (f"m{number}", *chance.sample(["n1", "n2", "n3", "n4", "n5"], 2), float(chance.randrange(1, 9)))
            for number in range(chance.randrange(1, 12))
        ]
        pauses = Pauses(Turns(Policy(), links), chance.choice([None, 0.0, 3.0, 99.0]), chance.choice([0.0, 0.6, 2.0]))
        pauses.play(*moves)
        seen = pauses.seen
        assert seen.keys() == {name for name, *_ in moves}
        ways = {name: set(taken(source, target, links)) for name, source, target, _ in moves}
        for name, (begin_s, end_s) in seen.items():
            for other, (from_s, to_s) in seen.items():
                assert name == other or not ways[name] & ways[other] or end_s <= from_s or to_s <= begin_s


def test_a_move_takes_its_own_links_and_those_that_it_crosses() -> None:
    def say(source: str, target: str) -> tuple[str, ...]:
        return taken(source, target, [RACK])

    assert say("n1", "n3") == ("link r1 up", "node n1 up", "node n3 down")
    assert say("n3", "n2") == ("link r1 down", "node n2 down", "node n3 up")
    assert say("n1", "n2") == ("node n1 up", "node n2 down")
