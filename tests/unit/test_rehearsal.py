"""What a rehearsal says that it has shown, and what not: in words, and of which moves of a plan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from migrator.cli.rehearse import _asked, said
from migrator.executor.rehearse import shown
from migrator.inventory.plan_file import save
from migrator.model.modes import Allowed, Mode
from migrator.model.plan import Plan
from migrator.model.plan_policy import PlanPolicy
from migrator.planner.drain import drain
from tests.properties.fleets import cluster, ct, node


def words(mode: Mode, later: tuple[str, ...] = ()) -> list[str]:
    return said("web", "n1", "n2", shown("r1", mode, "auto: the shortest", "n2"), later)


def test_where_a_move_would_be_made_so_it_says_that_no_more() -> None:
    assert words(Mode.STOP_AND_COPY) == [
        "run r1: container web can be moved to n2; it runs on n1 as before",
        "shown by stop-and-copy, as a move would be",
    ]


@pytest.mark.parametrize(
    ("mode", "what"),
    [
        (Mode.PRE_COPY, "rounds of memory before the pause"),
        (Mode.POST_COPY, "memory that follows when it runs on n2 already"),
        (Mode.RESTART, "its start from its files on n2"),
    ],
)
def test_where_a_move_would_go_by_another_mode_it_says_by_which_and_what_was_not_shown(mode: Mode, what: str) -> None:
    line = words(mode)[1]
    assert f"shown by stop-and-copy; a move would be by {mode} (auto: the shortest), of which was not shown: " in line
    assert what in line


def test_a_second_leg_is_told_as_not_shown(tmp_path: Path) -> None:
    facts = cluster(node("n1", ct("web")), node("n2"), node("n3"))
    policy = PlanPolicy(allow=(Allowed("web", ("post-copy",)),), mode="stop-and-copy")
    plan = drain(facts, ("n1",), "-", policy)
    assert isinstance(plan, Plan)
    (move,) = plan.moves
    onward = replace(move, leg=2, source=move.target, target="n3" if move.target == "n2" else "n2", waits_for=("web",))
    save(replace(plan, moves=(move, onward)), tmp_path / "p.json")
    asked = _asked(None, None, tmp_path / "p.json")
    assert asked.moves == [("web", "n1", move.target)]
    assert asked.later == {"web": [onward.target]}
    assert (asked.given["mode"], asked.allow) == ("stop-and-copy", policy.allow)
    assert words(Mode.STOP_AND_COPY, ("n3",))[-1] == "not shown: in the plan web goes on from n2 to n3"
