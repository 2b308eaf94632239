"""What may be promised of a node's resources, as the cluster file says."""

from __future__ import annotations

import pytest

from migrator.errors import BadInput
from migrator.inventory import cluster_file
from migrator.inventory.cluster_file import Overcommit
from migrator.inventory.overcommit import promised
from migrator.model.facts import Resources
from migrator.model.plan import Plan, Refusal
from migrator.model.plan_policy import PlanPolicy
from migrator.planner.drain import drain
from tests.properties.fleets import GIB, cluster, ct, node

TEXT = """
defaults:
  overcommit: {cpu: 4, memory: 1.5}
nodes:
- name: n1
- name: n2
  overcommit: {memory: measured, disk: 2}
"""
FULL = node("n1", ct("a", memory=8 * GIB), memory_available_bytes=6 * GIB, disk_available_bytes=90 * GIB)


def test_a_node_has_the_defaults_where_it_says_nothing_itself():
    file = cluster_file.parse(TEXT, "c.yaml")
    assert file.overcommit(file.entry("n1")) == Overcommit(cpu=4, memory=1.5)
    assert file.overcommit(file.entry("n2")) == Overcommit(cpu=4, memory="measured", disk=2)


def test_a_ratio_multiplies_what_there_is():
    assert promised(FULL, Overcommit()).capacity == FULL.capacity
    assert promised(FULL, Overcommit(cpu=2.5, memory=1.5, disk=0.5)).capacity == Resources(10_000, 12 * GIB, 50 * GIB)


def test_measured_is_what_the_records_hold_and_what_is_really_free():
    facts = promised(FULL, Overcommit(memory="measured", disk="measured"))
    assert facts.capacity == Resources(4000, 14 * GIB, 91 * GIB)
    assert facts.room.memory_bytes == 6 * GIB


def test_a_node_that_did_not_answer_promises_nothing():
    silent = node("n1", error="no answer")
    assert promised(silent, Overcommit(cpu=2)) == silent


def test_a_full_node_takes_more_by_what_is_measured_and_no_more_than_that():
    policy = PlanPolicy(headroom_percent=0)
    leaving = node("n0", ct("b", 40, memory=4 * GIB))
    assert isinstance(drain(cluster(leaving, FULL), ["n0"], "-", policy), Refusal)
    loose = promised(FULL, Overcommit(memory="measured"))
    assert isinstance(drain(cluster(leaving, loose), ["n0"], "-", policy), Plan)
    more = node("n0", ct("b", 40, memory=4 * GIB), ct("c", 41, memory=4 * GIB))
    assert isinstance(drain(cluster(more, loose), ["n0"], "-", policy), Refusal)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("cpu: 4", "cpu: 0", "c.yaml:3: defaults.overcommit.cpu: "),
        ("cpu: 4", "cpu: measured", "c.yaml:3: defaults.overcommit.cpu: "),
        ("memory: measured", "memory: guessed", "c.yaml:7: nodes.1.overcommit.memory (node n2): "),
        ("disk: 2", "disks: 2", "c.yaml:7: nodes.1.overcommit.disks (node n2): there is no such key"),
        ("memory: 1.5", "memory: .inf", "c.yaml:3: defaults.overcommit.memory: "),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_its_place(old: str, new: str, said: str):
    with pytest.raises(BadInput) as caught:
        cluster_file.parse(TEXT.replace(old, new), "c.yaml")
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)
