"""Plans that learn: from a journal that is named, from the one there is for facts as they are now, or not at all."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from migrator.cli.learning import taught
from migrator.inventory import snapshot
from migrator.journal.store import Journal
from migrator.model.plan_policy import PlanPolicy
from tests.properties.fleets import GIB, cluster, ct, node
from tests.unit.test_learnt import GB, ended

FLEET = cluster(node("n1", ct("a", anon_bytes=GIB, memory=2 * GIB)), node("n2", memory=64 * GIB))
BY_IMAGES = replace(FLEET, nodes=tuple(replace(each, stream_in="it cannot") for each in FLEET.nodes))
POLICY = PlanPolicy()


@pytest.fixture
def facts(tmp_path: Path) -> Path:
    snapshot.save(FLEET, tmp_path / "facts.json")
    return tmp_path / "facts.json"


def journal(path: Path, of: str, way: str = "stream", *, verify_files: bool = False) -> Path:
    """A journal of one run in a cluster, in which one gigabyte went from n1 to n2 at 100 MB/s."""
    made, (migration, events) = Journal(path), ended(GB, way=way)
    made.create_run("r", "drain n1", {"plan": {"cluster": of}, "policy": {"verify_files": verify_files}})
    made.add_migration(migration)
    assert made.store.append(migration.id, None, events)
    made.close()
    return path


def planned(migrator, facts: Path, *words: object) -> dict:
    code, out, err = migrator("plan", "drain", "n1", "--max-blackout", 600, "--snapshot", facts, "--json", *words)
    assert (code, err) == (0, "")
    return json.loads(out)


def test_a_plan_from_saved_facts_learns_only_from_a_journal_that_is_named(migrator, facts, tmp_path):
    there = journal(tmp_path / "journal.db", FLEET.name)  # the one that $MIGRATOR_JOURNAL names
    untaught, by_it = planned(migrator, facts), planned(migrator, facts, "--learn-from", there)
    assert "learnt" not in untaught["policy"]
    assert by_it["policy"]["learnt"]["n1"]["n2"]["send_bytes_per_s"] == 100_000_000
    assert by_it["moves"][0]["estimate"]["blackout_s"] > 10 > untaught["moves"][0]["estimate"]["blackout_s"]
    assert planned(migrator, facts, "--learn-from", there) == by_it


def test_a_plan_of_streamed_memory_learns_nothing_of_images(migrator, facts, tmp_path):
    there = journal(tmp_path / "j.db", FLEET.name, way="images")
    assert planned(migrator, facts, "--learn-from", there) == planned(migrator, facts)
    snapshot.save(BY_IMAGES, facts)
    by_it = planned(migrator, facts, "--learn-from", there)
    assert by_it["policy"]["learnt"]["n1"]["n2"]["way"] == by_it["moves"][0]["memory_way"] == "images"


def test_facts_as_they_are_now_are_planned_with_by_the_journal_that_is_there(tmp_path):
    ctx = SimpleNamespace(obj={"journal": str(tmp_path / "j.db"), "cluster": None})
    assert taught(ctx, FLEET, POLICY).learnt == {}
    assert list(tmp_path.iterdir()) == []  # none is made for that
    journal(tmp_path / "j.db", FLEET.name)
    assert taught(ctx, FLEET, POLICY).learnt["n1"]["n2"].runs == 1
    assert taught(ctx, BY_IMAGES, POLICY).learnt == {}
    assert taught(ctx, replace(FLEET, name="another"), POLICY).learnt == {}  # whose n1 is another n1
    assert taught(ctx, FLEET, POLICY, live=False).learnt == {}


def test_nothing_is_learnt_from_pauses_in_which_all_files_were_compared(migrator, facts, tmp_path):
    there = journal(tmp_path / "j.db", FLEET.name, verify_files=True)
    assert planned(migrator, facts, "--learn-from", there) == planned(migrator, facts)


def test_explain_says_what_the_estimate_rests_on(migrator, facts, tmp_path):
    there, plan = journal(tmp_path / "j.db", FLEET.name), tmp_path / "p.json"
    words = ("plan", "drain", "n1", "--max-blackout", 600, "--snapshot", facts, "-o", plan)
    assert migrator(*words)[0] == 0
    out = migrator("explain", plan, "a", "--snapshot", facts)[1]
    assert "estimated by the default rates for memory that is streamed: nothing was learnt of n1 -> n2\n" in out
    assert migrator(*words, "--learn-from", there)[0] == 0
    assert migrator("check", plan, "--snapshot", facts)[0] == 0
    out = migrator("explain", plan, "a", "--snapshot", facts)[1]
    assert (
        "estimated by 1 migration n1 -> n2 whose memory was streamed: send 95.4 MiB/s, files 143.1 MiB/s; "
        "beside that 0.55 s of the pause and 1.00 s around it\n"
    ) in out
    document = json.loads(migrator("explain", plan, "a", "--snapshot", facts, "--json")[1])
    assert document["rates"]["runs"] == 1


def test_a_journal_that_is_not_there_is_one_line(migrator, facts, tmp_path):
    code, out, err = migrator("plan", "drain", "n1", "--snapshot", facts, "--learn-from", tmp_path / "none.db")
    assert (code, out) == (2, "")
    assert err == f"migrator: --learn-from {tmp_path / 'none.db'}: there is no such journal\n"
    before = facts.read_bytes()
    code, out, err = migrator("plan", "drain", "n1", "--snapshot", facts, "--learn-from", facts)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert facts.read_bytes() == before


def test_pauses_that_may_overlap_are_planned_so_and_the_plan_says_it(migrator, facts, tmp_path):
    (tmp_path / "p.yaml").write_text("overlapping_pauses: true\n")
    assert planned(migrator, facts)["policy"]["overlapping_pauses"] is False
    assert planned(migrator, facts, "--overlapping-pauses")["policy"]["overlapping_pauses"] is True
    assert planned(migrator, facts, "--policy", tmp_path / "p.yaml")["policy"]["overlapping_pauses"] is True
