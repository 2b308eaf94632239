"""The guard on a lab: the kernel's own pressure, who makes it, and the plan that ends it, carried out."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.lab.stage import Stage

SPINS = "import os\nfor _ in range(3): os.fork()\nwhile True: pass"  # eight that all want to run


@pytest.fixture
def touchy(tidy: Stage, tmp_path: Path) -> str:
    """A cluster file by which n1 is under pressure as soon as anything waits for its CPUs, and the others never are.

    The nodes of a lab share one kernel, and so their own pressure.
    """
    cluster = yaml.safe_load(tidy.paths.cluster_file.read_text())
    for node in cluster["nodes"]:
        never = {"memory_some": 0, "memory_full": 0, "io_full": 0, "memory_free": 0, "swap_in": 0, "oom_kills": 0}
        node["guard"] = never | {"cpu_some": 1 if node["name"] == "n1" else 0}
    made = tmp_path / "touchy.yaml"
    made.write_text(yaml.safe_dump(cluster))
    return str(made)


def test_who_spins_on_a_node_that_waits_for_cpus_is_named_and_moved_by_the_plan(
    tidy: Stage, touchy: str, tmp_path: Path
) -> None:
    tidy.counter("idle", "n1", 1)
    where = ("--node", "n1", "--template", "debian", "--ip", tidy.ip(2), "--cpus", "0.5")
    tidy.ok("ct", "create", "busy", *where, "--", "python3", "-c", SPINS)
    plan = str(tmp_path / "plan.json")
    found = tidy.migrator("guard", "--watch", "1", "--for", "50", "-o", plan, "--json", cluster=touchy)
    if (probed := tidy.ok("probe").json()["cluster"]["nodes"][0]).get("pressure", {}).get("cpu") is None:
        assert (found.code, found.json()["no_psi"]) == (0, ["n1", "n2", "n3"]), probed
        return
    document = found.json()
    assert (found.code, document["error"]) == (3, "under pressure: n1"), found.err
    assert [strain["resource"] for strain in document["strains"]] == ["cpu"]
    (leaves,) = document["leaving"]
    assert (leaves["container"], leaves["source"]) == ("busy", "n1")
    (row,) = [row for row in tidy.ok("ct", "list", "--json").json()["containers"] if row["name"] == "busy"]
    assert row["pressure"]["cpu"]["some_avg10"] > 1  # its own group's, by which it is told from idle
    tidy.ok("check", plan)
    tidy.ok("apply", plan)
    assert tidy.places("busy") == [(leaves["target"], "running")]
    assert tidy.places("idle") == [("n1", "running")]


def test_many_are_made_by_one_command_and_none_of_them_where_one_cannot_be(tidy: Stage) -> None:
    words = ("--node", "n1", "--template", "debian", "--ip", tidy.ip(1), "--memory", "16M", "--cpus", "0.1")
    made = tidy.ok("ct", "create", "web", "--count", "3", *words, "--json", "--", "sleep", "1000").json()["containers"]
    assert [each["name"] for each in made] == ["web-1", "web-2", "web-3"]
    assert [each["address"].partition("/")[0] for each in made] == [tidy.ip(n).partition("/")[0] for n in (1, 2, 3)]
    assert len({each["id_base"] for each in made}) == 3
    words = ("--node", "n1", "--template", "debian", "--ip", tidy.ip(5), "--memory", "16M", "--cpus", "0.1")
    refused = tidy.migrator("ct", "create", "web", "--count", "4", *words, "--", "sleep", "1000")
    assert (refused.code, "container web-1 exists already" in refused.err) == (2, True), refused.err
    rows = tidy.ok("ct", "list", "--json").json()["containers"]
    assert [(row["name"], row["state"]) for row in rows] == [(f"web-{n}", "running") for n in (1, 2, 3)]
