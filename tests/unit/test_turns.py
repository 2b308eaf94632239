"""Turns: pauses on one link never overlap, and nobody waits in a circle or for one that does not come back."""

from __future__ import annotations

import asyncio
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from migrator.executor.turns import Turns
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
    """Moves that pause for some seconds each, in virtual time; when each was paused, by name."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.seen: dict[str, tuple[float, float]] = {}

    async def pause(self, name: str, source: str, target: str, lasts_s: float) -> None:
        clock = asyncio.get_running_loop().time
        async with self.turns.pausing(over(source, target)):
            begin_s = clock()
            await asyncio.sleep(lasts_s)
        self.seen[name] = (begin_s, clock())


def played(turns: Turns, *moves: tuple[str, str, str, float]) -> dict[str, tuple[float, float]]:
    pauses = Pauses(turns)

    async def life() -> None:
        await asyncio.gather(*(pauses.pause(*move) for move in moves))

    VirtualLoop().run(life())
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


@pytest.mark.parametrize("at_s", [0.5, 2.0])  # while it waits, and in the moment in which its turn comes
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
        seen = played(Turns(Policy(), links), *moves)
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
