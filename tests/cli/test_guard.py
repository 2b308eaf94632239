"""migrator guard: what it says of two readings, how it ends, and the plan that it writes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from migrator.inventory import plan_file, snapshot
from migrator.model.disk import Disk
from migrator.model.pressure import Guard, Pressure, Stall
from tests.properties.fleets import GIB, MIB, cluster, ct, node

CALM = Pressure(Stall(), Stall(), Stall(), 0, 0, at_ms=0)
BUSY = ct("busy", memory=2 * GIB, rss_bytes=900 * MIB, anon_bytes=900 * MIB, files_bytes=0)


@pytest.fixture
def reading(tmp_path):
    """Saves a reading of n1 with a container that uses 900 MiB, and of n2; of n1 so much memory is available."""

    def save(name: str, free_bytes: int, **given: object) -> object:
        facts = node("n1", replace(BUSY, pressure=Pressure(oom_kills=0)), memory_available_bytes=free_bytes)
        path = tmp_path / name
        nodes = (replace(facts, **({"pressure": CALM} | given)), node("n2", pressure=CALM))
        snapshot.save(cluster(*nodes), path)
        return path

    return save


def test_a_quiet_cluster_ends_with_0_and_says_what_was_looked_at(migrator, reading):
    words = ("--snapshot", reading("a", 4 * GIB), "--snapshot", reading("b", 4 * GIB))
    code, out, err = migrator("guard", *words)
    assert (code, out, err) == (0, "quiet: 2 nodes, 1 containers\n", "")
    document = json.loads(migrator("guard", *words, "--json")[1])
    assert (document["quiet"], document["plan"], document["no_psi"]) == (True, None, [])


def test_pressure_ends_with_3_names_who_goes_where_and_writes_a_plan_that_can_be_applied(migrator, reading, tmp_path):
    later, plan = reading("b", 200 * MIB), tmp_path / "plan.json"
    code, out, err = migrator("guard", "--snapshot", reading("a", 4 * GIB), "--snapshot", later, "-o", plan)
    assert (code, err) == (3, "migrator: under pressure: n1\n")
    lines = out.splitlines()
    assert lines[0] == "node n1: memory: 200.0 MiB of 8.0 GiB are available (guard: 5%)"
    assert lines[1].startswith("  busy should go to n2: uses 900.0 MiB of memory, 900.0 MiB to send; ")
    assert lines[2] == f"{plan}: 1 moves; carry them out with: migrator apply {plan}"
    (move,) = plan_file.load(plan).moves
    assert (move.container, move.source, move.target) == ("busy", "n1", "n2")
    assert migrator("check", plan, "--snapshot", later)[0] == 0


def test_what_programs_read_has_the_same_and_the_plan(migrator, reading):
    words = ("--snapshot", reading("a", 4 * GIB), "--snapshot", reading("b", 200 * MIB), "--json")
    code, out, _ = migrator("guard", *words)
    document = json.loads(out)
    assert (code, document["exit_code"], document["error"]) == (3, 3, "under pressure: n1")
    (strain,), (leaves,) = document["strains"], document["leaving"]
    assert (strain["node"], strain["resource"], leaves["container"], leaves["target"]) == ("n1", "memory", "busy", "n2")
    assert [move["container"] for move in document["plan"]["moves"]] == ["busy"]


def test_where_nobody_can_go_each_node_says_why(migrator, reading):
    words = ("--snapshot", reading("a", GIB), "--snapshot", reading("b", 200 * MIB), "--headroom", "90")
    code, out, _ = migrator("guard", *words)
    assert (code, "busy cannot go to n2: " in out, "not enough of it is used" in out) == (3, True, True)


def test_thresholds_are_those_of_the_node(migrator, reading):
    lenient = Guard(memory_free=0)
    words = ("--snapshot", reading("a", MIB, guard=lenient), "--snapshot", reading("b", MIB, guard=lenient))
    assert migrator("guard", *words)[0] == 0


def test_a_node_that_does_not_answer_is_not_quiet_and_one_without_psi_is_told(migrator, reading):
    before = reading("a", GIB)
    silent = reading("b", GIB, error="no route to host")
    code, out, err = migrator("guard", "--snapshot", before, "--snapshot", silent)
    assert out.startswith("quiet: 1 of 2 nodes")
    assert (code, "no answer from n1: nobody knows how these are" in err) == (4, True)
    code, _, err = migrator("guard", "--snapshot", before, "--snapshot", reading("c", GIB, pressure=Pressure()))
    assert (code, "no PSI in the kernel of n1; boot it with psi=1" in err) == (0, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--for", "5"), "--for is how long to --watch"),
        (("--snapshot", "a"), "give the earlier and the later"),
        (("--watch", "0"), "--watch"),
        (("--between", "nan"), "--between"),
        (("-o", "A", "--snapshot", "A", "--snapshot", "A"), "is the file that is read"),
    ],
)
def test_what_cannot_be_asked_is_refused(migrator, reading, words, said):
    path = reading("a", GIB)
    code, _, err = migrator("guard", *(path if word == "A" else word for word in words))
    assert (code, said in err) == (2, True), err


def test_a_volume_over_its_size_is_named_with_both_numbers(migrator, tmp_path):
    owner = ct("db", disks_bytes={"data": 30 * MIB})
    owner = replace(owner, descriptor=replace(owner.descriptor, disks=(Disk("data", "/srv/data", 20 * MIB),)))
    snapshot.save(cluster(node("n1", owner, pressure=CALM)), tmp_path / "facts")
    words = ("--snapshot", tmp_path / "facts", "--snapshot", tmp_path / "facts")
    code, out, err = migrator("guard", *words)
    assert (code, err) == (3, "migrator: more in a volume than planned: db\n")
    assert out.startswith("container db on n1: volume data holds 30.0 MiB, and 20.0 MiB are planned for it; ")
    (told,) = json.loads(migrator("guard", *words, "--json")[1])["outgrown"]
    assert (told["container"], told["volume"], told["used_bytes"]) == ("db", "data", 30 * MIB)
