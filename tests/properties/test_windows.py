"""Time windows: every move that has one starts and ends inside it, and the checker, by its own reading, agrees."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from migrator.checker.check import check
from migrator.checker.findings import Code
from migrator.errors import Refused
from migrator.executor.moves import refuse_closed
from migrator.inventory import plan_file
from migrator.model.facts import Cluster, ContainerFacts, Link
from migrator.model.plan import Plan, Refusal, Span
from migrator.model.plan_policy import Headroom, PlanPolicy
from migrator.model.rules import (
    Affinity,
    Ban,
    Budget,
    Crowd,
    Fence,
    Pin,
    Priority,
    Rule,
    Spread,
    SurviveLoss,
    Window,
)
from migrator.model.windows import DAYS, opens_in_s, parse_opening
from migrator.planner.balance import Terms
from migrator.planner.drain import drain
from migrator.planner.look import spans
from migrator.planner.moves import move
from migrator.planner.rebalance import rebalance
from tests.properties.fleets import MIB, cluster, ct, node

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)  # a Monday
clock = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.sampled_from([0, 1, 30, 59]))
day = st.sampled_from(DAYS)
days = st.sampled_from(["", "mon-fri ", "sat,sun ", "fri-mon ", "wed "])
openings = st.tuples(days, clock, clock).filter(lambda o: o[1] != o[2]).map(lambda o: f"{o[0]}{o[1]}-{o[2]}")
zones = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"])
moments = st.integers(0, 365 * 86_400).map(lambda s: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=s))


def is_open(text: str, zone: str, moment: datetime) -> bool:
    """Whether a window is open in the minute of a moment, by going through the week minute by minute."""
    opening, local = parse_opening(text), moment.astimezone(ZoneInfo(zone))
    now = local.hour * 60 + local.minute
    long = opening.to_min > opening.from_min
    if local.weekday() in opening.days and opening.from_min <= now and (now < opening.to_min or not long):
        return True
    return not long and (local.weekday() - 1) % 7 in opening.days and now < opening.to_min


@settings(max_examples=150, deadline=None, derandomize=True)
@given(openings, zones, moments)
def test_a_window_opens_in_the_first_minute_that_is_in_it(text: str, zone: str, moment: datetime) -> None:
    moment = moment.replace(second=0)
    wait_s = opens_in_s([Window("a", (text,), zone)], moment, 0.0)
    first = next(m for m in range(9 * 1440) if is_open(text, zone, moment + timedelta(minutes=m)))
    assert wait_s is not None
    # a move that takes no time may also start at the very end of a window
    assert wait_s == first * 60 or is_open(text, zone, moment + timedelta(seconds=wait_s - 1))


@pytest.mark.parametrize("turn", [datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC)])
@pytest.mark.parametrize(
    "text", ["02:10-02:20", "01:30-02:30", "02:30-03:30", "02:00-03:00", "03:00-02:00", "01:00-02:00"]
)
def test_where_the_clocks_change_a_window_is_open_when_the_clock_of_its_zone_shows_its_hours(turn: datetime, text: str):
    """In spring 02:10 does not come, in autumn it comes twice."""
    window = Window("a", (text,), "Europe/Berlin")
    for minutes in range(-180, 180, 10):
        moment = turn + timedelta(minutes=minutes)
        wait_s = opens_in_s([window], moment, 60.0)
        first = next(m for m in range(9 * 1440) if is_open(text, "Europe/Berlin", moment + timedelta(minutes=m)))
        assert wait_s == first * 60


def test_a_plan_that_starts_in_the_night_without_the_hour_of_its_window_waits_for_the_next_one():
    policy = PlanPolicy(rules=(Window("a", ("02:10-02:20",), "Europe/Berlin"),), start="2026-03-28T23:00:00+00:00")
    fleet = cluster(node("n0", ct("a", 20)), node("n1"))
    made = drain(fleet, ["n0"], "-", policy)
    assert isinstance(made, Plan)
    assert check(fleet, made, policy) == ()
    assert made.move("a").start_s == 25 * 3600 + 600  # 02:10 of the day after, which is 00:10 UTC


@st.composite
def timed(draw: st.DrawFn) -> tuple[Cluster, PlanPolicy]:
    held = [
        ct(
            f"c{i}",
            20 + i,
            {"app": draw(st.sampled_from(["web", "db"]))},
            anon_bytes=draw(st.integers(1, 60)) * 8 * MIB,
        )
        for i in range(draw(st.integers(1, 5)))
    ]
    fleet = cluster(node("n0", *held), node("n1"), node("n2"))
    windows = st.builds(
        Window,
        st.sampled_from(["app=db", "app=web", "c0"]),
        st.lists(openings, min_size=1, max_size=2).map(tuple),
        zones,
    )
    rules = draw(st.lists(windows, min_size=1, max_size=2))
    start = draw(moments).isoformat()
    return fleet, PlanPolicy(headroom_percent=0, rules=(*rules, Budget("app", 1)), start=start)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(timed())
def test_a_plan_starts_every_move_in_its_window_or_says_that_it_is_never_open_so_long(
    drawn: tuple[Cluster, PlanPolicy],
) -> None:
    fleet, policy = drawn
    made = drain(fleet, ["n0"], "-", policy)
    event(type(made).__name__)
    if isinstance(made, Refusal):
        assert all(s.reasons[0].text.startswith("rule window: its move takes about") for s in made.containers)
        return
    assert check(fleet, made, policy) == ()
    when = spans(fleet, made)
    for one in made.moves:
        assert one.start_s in (None, when[one.container].start_s)
    assert plan_file.parse(plan_file.dump(made), "x.json") == made
    assert check(fleet, rebalance(fleet, "-", policy, Terms(20, 0.0)), policy) == ()


def night(*containers: str, start: datetime = NOON) -> PlanPolicy:
    rules = tuple(Window(name, ("mon-fri 22:00-04:00",)) for name in containers)
    return PlanPolicy(headroom_percent=0, rules=rules, start=start.isoformat())


def test_one_with_a_window_waits_for_it_and_the_others_do_not():
    fleet = cluster(node("n0", ct("a", 20), ct("b", 21)), node("n1"))
    made = drain(fleet, ["n0"], "-", night("a"))
    assert isinstance(made, Plan)
    assert {m.container: m.start_s for m in made.moves} == {"a": 36_000.0, "b": None}
    assert spans(fleet, made)["b"].start_s == 0.0
    assert any("1 of 2 moves has a time window" in note and "2026-03-02T22:00" in note for note in made.notes)
    late = drain(fleet, ["n0"], "-", night("a", start=NOON + timedelta(days=4, hours=15, minutes=59, seconds=59)))
    assert isinstance(late, Plan)  # saturday 03:59:59, which is friday's night, and too late in it: monday 22:00
    assert late.move("a").start_s == 1 + 18 * 3600 + 2 * 86_400


def test_a_window_that_is_too_short_is_told_with_how_long_the_move_takes():
    fleet = cluster(node("n0", ct("a", 20)), node("n1"))
    short = PlanPolicy(
        rules=(Window("a", ("sun 03:00-03:01",)), Window("a", ("mon 00:00-24:00",))), start=NOON.isoformat()
    )
    for made in (drain(fleet, ["n0"], "-", short), move(fleet, {"a": "n1"}, "-", short, "move")):
        assert isinstance(made, Refusal)
        said = made.containers[0].reasons[0].text
        assert said.startswith("rule window: its move takes about ")
        assert said.endswith("sun 03:00-03:01 UTC and mon 00:00-24:00 UTC are never open at one time for so long")
    assert rebalance(fleet, "-", short, Terms(20, 0.0)).moves == ()


def test_a_move_outside_of_its_window_is_found_and_so_is_one_that_does_not_say_when():
    fleet = cluster(node("n0", ct("a", 20), ct("b", 21)), node("n1"))
    made = drain(fleet, ["n0"], "-", night("a"))
    assert isinstance(made, Plan)
    for start_s in (None, 0.0, 35_999.0, 36_000.0 + 6 * 3600 - 1):
        moves = tuple(replace(m, start_s=start_s) if m.container == "a" else m for m in made.moves)
        found = check(fleet, replace(made, moves=moves), made.policy)
        assert [f.code for f in found] == [Code.WINDOW]
    early = replace(made, policy=replace(made.policy, start=(NOON + timedelta(hours=17)).isoformat()))
    assert [f.code for f in check(fleet, early, early.policy)] == [Code.WINDOW]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(openings, zones, moments)
def test_the_executor_begins_a_move_exactly_if_its_window_is_open_for_long_enough(
    text: str, zone: str, moment: datetime
) -> None:
    fleet = cluster(node("n0", ct("a", 20)), node("n1"))
    policy = PlanPolicy(rules=(Window("a", (text,), zone),), start=moment.isoformat())
    made = drain(fleet, ["n0"], "-", policy)
    descriptor = fleet.nodes[0].containers[0].descriptor
    if isinstance(made, Refusal) or descriptor is None:
        return
    planned = made.moves[0]
    if planned.start_s == 0.0:
        refuse_closed(planned, descriptor, policy.rules, "r1", moment)
        return
    with pytest.raises(Refused, match=f"container a on n0 may be moved only within .*{zone}.* migrator resume r1"):
        refuse_closed(planned, descriptor, policy.rules, "r1", moment)
    refuse_closed(planned, descriptor, policy.rules, "r1", moment + timedelta(seconds=planned.start_s or 0.0))
    refuse_closed(planned, descriptor, (), "r1", moment)


@pytest.mark.parametrize(
    "text",
    ["22:00", "22:00-22:00", "mon 25:00-26:00", "moo 01:00-02:00", "mon-tue-wed 01:00-02:00", "1:00-2:00", "mon  1"],
)
def test_what_is_no_window_is_refused(text: str):
    with pytest.raises(ValueError, match=r"window|days"):
        parse_opening(text)


def test_a_journal_gives_back_every_rule_of_a_plan_as_it_was():
    rules: tuple[Rule, ...] = (
        Ban("a", ("b",), soft=True, weight=2.0),
        Fence("a", ("b",)),
        Pin("a"),
        Spread("a", "b", 2, continuous=False),
        Crowd(3),
        Affinity("a", "r"),
        SurviveLoss(resources=("cpu",)),
        Budget("a", 2),
        Priority("a", 3),
        Window("a", ("mon 01:00-02:00",)),
    )
    policy = PlanPolicy(headroom=Headroom(cpu=3), rules=rules, start=NOON.isoformat())
    plan = Plan("i", "c", "s", (), (), 0.0, policy=policy)
    adapter = TypeAdapter(Plan)
    assert adapter.validate_json(adapter.dump_json(plan)) == plan
    assert adapter.validate_python(asdict(plan)) == plan


def slow(*containers: ContainerFacts) -> Cluster:
    """Containers on a node whose link takes seconds for each."""
    return cluster(replace(node("n0", *containers), link=Link(8 * MIB, 8 * MIB)), node("n1"), node("n2"))


def test_a_move_that_would_wait_for_its_turn_until_its_window_has_closed_is_put_off_to_the_next():
    fleet = slow(*(ct(f"c{i}", 20 + i, anon_bytes=400 * MIB) for i in range(3)))
    rules = tuple(Window(f"c{i}", ("mon 22:00-22:01", "tue 22:00-22:01")) for i in range(3))
    start = NOON + timedelta(hours=10)
    made = drain(fleet, ["n0"], "-", PlanPolicy(0, rules=rules, start=start.isoformat(), blackout_s_max=64))
    assert isinstance(made, Plan)
    assert check(fleet, made, made.policy) == ()
    ends_s = sorted(m.pause.end_s for m in made.moves if m.pause)
    assert 50 < ends_s[0] <= 60
    assert 86_450 < ends_s[1] <= 86_460
    assert 7 * 86_400 + 50 < ends_s[2] <= 7 * 86_400 + 60


def test_windows_that_meet_are_one():
    rules = (
        Window("a", ("sun 23:59-24:00", "mon 00:00-00:01")),
        Window("a", ("sat,sun 00:00-24:00", "mon 00:00-24:00")),
    )
    fleet = slow(ct("a", 20, anon_bytes=500 * MIB))
    made = drain(fleet, ["n0"], "-", PlanPolicy(0, rules=rules, start=NOON.isoformat(), blackout_s_max=100))
    assert isinstance(made, Plan)
    assert made.moves[0].estimate.duration_s > 60
    assert made.moves[0].start_s == 6.5 * 86_400 - 60
    assert check(fleet, made, made.policy) == ()
    alone = opens_in_s([Window("a", ("sat,sun 00:00-24:00",))], NOON, 40 * 3600.0)
    assert alone == 4.5 * 86_400


@pytest.mark.parametrize("start", ["", "9999-12-31T23:59:00+00:00", "0001-01-01T00:00:00+00:00"])
@pytest.mark.parametrize("start_s", [None, 0.0, 1e300])
def test_a_start_that_no_calendar_has_is_a_finding(start: str, start_s: float | None):
    fleet = cluster(node("n0", ct("a", 20)), node("n1"))
    made = drain(fleet, ["n0"], "-", night("a"))
    assert isinstance(made, Plan)
    moves = (replace(made.moves[0], start_s=start_s),)
    bad = replace(made, moves=moves, policy=replace(made.policy, start=start))
    assert Code.WINDOW in {f.code for f in check(fleet, bad, bad.policy)}
    good_start = replace(made, moves=(replace(made.moves[0], start_s=1e300),))
    assert Code.WINDOW in {f.code for f in check(fleet, good_start, good_start.policy)}


def test_a_pause_told_after_the_window_is_found_and_so_is_one_that_the_turns_before_it_put_there():
    fleet = slow(*(ct(f"c{i}", 20 + i, anon_bytes=400 * MIB) for i in range(2)))
    rules = tuple(Window(f"c{i}", ("mon 22:00-22:02",)) for i in range(2))
    start = NOON + timedelta(hours=10)
    made = drain(fleet, ["n0"], "-", PlanPolicy(0, start=start.isoformat(), blackout_s_max=64))
    assert isinstance(made, Plan)
    told = tuple(replace(m, start_s=0.0) for m in made.moves)
    plan = replace(made, moves=told, policy=replace(made.policy, rules=rules))
    assert {f.code for f in check(fleet, plan, plan.policy)} == set()
    rules = tuple(Window(f"c{i}", ("mon 22:00-22:01",)) for i in range(2))
    plan = replace(plan, policy=replace(plan.policy, rules=rules))
    assert {f.code for f in check(fleet, plan, plan.policy)} == {Code.WINDOW}
    hushed = tuple(replace(m, pause=Span(40.0, 59.0), estimate=replace(m.estimate, blackout_s=1.0)) for m in told)
    found = check(fleet, replace(plan, moves=hushed), plan.policy)
    assert {Code.WINDOW_UNLIKELY, Code.ESTIMATE} <= {f.code for f in found}
    assert Code.WINDOW not in {f.code for f in found}
