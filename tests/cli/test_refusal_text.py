"""A refusal tells each container the reason of every class of nodes, and of a class the node that lacks least."""

from __future__ import annotations

import re

from migrator.cli.plan import refused
from migrator.cli.refusal_text import classes, print_refusal, refusal_line, same_reasons
from migrator.inventory.snapshot import digest
from migrator.model.plan import Reason, Refusal, Stuck
from migrator.model.plan_policy import PlanPolicy
from migrator.planner import look_closely
from migrator.planner.drain import drain
from tests.properties.fleets import GIB, MIB, cluster, ct, node


def told(*reasons: Reason) -> list[str]:
    return [str(reason) for reason in classes(reasons)]


def test_a_few_nodes_are_told_one_by_one():
    reasons = [Reason(f"memory {n}.0 GiB short", f"n{n}") for n in (1, 2, 3)]
    assert told(*reasons) == [str(reason) for reason in reasons]


def test_many_nodes_with_one_reason_are_told_once():
    reasons = [Reason("cordoned (by operator)", f"n{n}") for n in range(90)]
    assert told(*reasons) == ["90 nodes (n0, n1 ...): cordoned (by operator)"]


def test_of_nodes_that_lack_different_amounts_the_one_that_lacks_least_is_shown():
    reasons = [Reason(f"memory {900 - n}.0 MiB short", f"n{n}") for n in range(5)] + [
        Reason("memory 1.0 GiB short", "n7"),
        Reason("CPU 2 short", "n8"),
    ]
    assert told(*reasons) == [
        "6 nodes (n0, n1 ...): memory 896.0 MiB short (that is n4, which lacks least)",
        "n8: CPU 2 short",
    ]


def test_of_nodes_that_lack_nothing_no_one_is_said_to_lack_least():
    alike = [Reason(f"anti-affinity: i{n:06} of group g=1 is there", f"n{n}") for n in range(7, 12)]
    assert told(*alike) == [
        "5 nodes (n7, n8 ...): anti-affinity: i000007 of group g=1 is there (that is n7, and the others are alike)"
    ]
    longer = [Reason(f"its pause is predicted at {n}.0 s, over the limit of 1.00 s", f"n{n}") for n in range(9, 4, -1)]
    assert "predicted at 5.0 s, over the limit of 1.00 s (that is n5, the least of them)" in told(*longer)[0]


def test_what_is_wrong_with_the_container_itself_is_never_made_a_class():
    reasons = [Reason(f"it is wrong in way {n}") for n in range(6)]
    assert len(told(*reasons)) == 6


def test_a_large_fleet_that_is_full_says_for_every_container_what_is_missing(monkeypatch):
    monkeypatch.setattr(look_closely, "PAIRS_MAX", 10)
    leaving = [ct(f"c{n}", memory=4 * GIB, anon_bytes=MIB) for n in range(20)]
    there = [node(f"n{n:02}", memory=5 * GIB) for n in range(15)]
    fleet = cluster(node("a", *leaving, memory=100 * GIB), *there)
    made = drain(fleet, ["a"], digest(fleet), PlanPolicy(headroom_percent=0))
    assert isinstance(made, Refusal)
    assert len(made.containers) == 5
    for stuck in made.containers:
        (reason,) = classes(stuck.reasons)
        assert re.fullmatch(r"memory 3\.1 GiB short, with c\d+ coming.*", reason.text), reason
    assert refusal_line(made).startswith("drain a: 5 containers cannot move: ")
    assert "not every arrangement was tried" in refusal_line(made)


def paused(number: int, seconds: float) -> Stuck:
    said = f"its pause is predicted at {seconds} s, over the limit of 15.0 s; allow it with --max-blackout"
    return Stuck(f"c{number:03}", f"n{number % 9}", tuple(Reason(said, f"t{n}") for n in range(50)))


def test_containers_that_cannot_move_for_one_reason_are_told_together(capsys):
    many = Refusal("drain n0", tuple(paused(n, 19.6 + n) for n in range(124)))
    print_refusal(many, same_reasons(many.containers))
    _, line = capsys.readouterr().out.splitlines()
    assert "c000, c001, c002, c003, c004 and 119 more" in line
    assert "its pause is predicted at 19.6 s to 142.6 s, over the limit of 15.0 s" in line
    assert "n0, n1, n2, n3, n4 and 4 more" in line
    assert refusal_line(many).startswith(
        "drain n0: 124 containers cannot move: c000, c001, c002, c003, c004 and 119 more ("
    )
    assert len(refusal_line(many)) < 300


def test_a_few_containers_that_cannot_move_are_told_one_by_one():
    told = same_reasons([paused(n, 19.6) for n in range(3)])
    assert [one.names for one in told] == ["c000", "c001", "c002"]


def test_a_refusal_of_a_hundred_different_reasons_fits_on_a_screen(capsys):
    several = Refusal("drain n0", tuple(Stuck(f"c{n}", "n0", (Reason("x" * (n + 1)),)) for n in range(100)))
    print_refusal(several, same_reasons(several.containers))
    *_, last = lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 42
    assert last == "... and 60 more lines; --json has them all"


def test_amounts_that_differ_in_more_than_one_place_are_told_of_the_first():
    stuck = [Stuck(f"c{n}", "n0", (Reason(f"memory {n} GiB short, disk {n} GiB short", "n1"),)) for n in range(1, 6)]
    ((reason,),) = [one.reasons for one in same_reasons(stuck)]
    assert str(reason) == "n1: memory 1 GiB short, disk 1 GiB short, and alike for the others"


def test_a_drain_names_the_command_that_can_be_asked_what_another_node_would_do(capsys):
    made = Refusal("drain n1", change="with one node more like n1 (--add-node extra-1=n1)")
    assert refused(made, False, "migrator plan drain n1") == 3
    assert capsys.readouterr().out == "what other nodes would do is seen, and not done, with: migrator plan drain n1\n"
    assert refused(Refusal("drain n1", change="without rule 1: --waive 1"), False, "migrator plan drain n1") == 3
    assert capsys.readouterr().out == ""
