"""migrator compat: the matrix, two nodes, one container; and checks that are waived, in all that is said of a plan."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from migrator.inventory import snapshot
from migrator.inventory.plan_document import integrity
from tests.cli.words import one_line
from tests.properties.fleets import cluster, ct, node
from tests.unit.test_sameness import TOLD

GOLDEN = Path(__file__).parent / "compat.txt"
OLD = {"cpu_flags": ("aes",), "kernel": "6.1.0", "criu": "4.0"}
FLEET = cluster(
    node("n1", ct("web"), **TOLD),
    node("n2", **TOLD),
    node("n3", **(TOLD | OLD)),
    node("n4", error="node n4: no answer within 5 s"),
    node("n5", **(TOLD | {"arch": "aarch64", "cpu_flags": (), "cpu_state": ""})),
)


@pytest.fixture
def fleet(tmp_path):
    snapshot.save(FLEET, tmp_path / "fleet.json")
    return tmp_path / "fleet.json"


def stripped(text: str) -> str:
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def test_the_matrix_two_nodes_and_a_container_are_the_golden_text(migrator, fleet):
    told = ""
    for words in ((), ("--waive", "cpu-features"), ("n1", "n3"), ("n3", "n1"), ("n3", "--container", "web")):
        code, out, err = migrator("compat", *words, "--snapshot", fleet)
        told += f"$ migrator compat {' '.join(words)}\n{stripped(out)}{stripped(err)}exit {code}\n\n"
    assert told == GOLDEN.read_text()


def test_what_a_container_uses_is_told_beside_a_long_list(migrator, tmp_path):
    features = ("crun", "map_droppable", "network_lock_nftables", "overlayfs_maps", "pagemap_scan", "timens")
    many = TOLD | {"features": features}
    users = replace(ct("web"), needs=("map_droppable",))
    snapshot.save(cluster(node("n1", users, **many), node("n2", **many)), tmp_path / "fleet.json")
    code, out, _ = migrator("compat", "n2", "--container", "web", "--snapshot", tmp_path / "fleet.json")
    row = next(line for line in out.splitlines() if line.startswith("kernel-features"))
    assert code == 0
    assert " ".join(row.split()) == "kernel-features 6 words; web uses map_droppable 6 words same"


def test_a_large_fleet_folds_to_its_kinds(migrator, tmp_path):
    alike = [replace(FLEET.node("n2"), name=f"x{number:03}") for number in range(200)]
    snapshot.save(cluster(*FLEET.nodes, *alike), tmp_path / "large.json")
    code, out, _ = migrator("compat", "--snapshot", tmp_path / "large.json", "--json")
    document = json.loads(out)
    assert code == 0
    assert [(kind["name"], len(kind["nodes"])) for kind in document["kinds"]] == [("n1", 202), ("n3", 1), ("n5", 1)]
    refused = {(pair["from"], pair["to"]): pair["refused"] for pair in document["pairs"]}
    assert refused["n1", "n3"] == ["cpu-features", "criu-version"]
    assert refused["n1", "n1"] == refused["n3", "n1"] == []
    assert document["no_answer"] == {"n4": "node n4: no answer within 5 s"}


def test_of_more_kinds_than_a_screen_has_room_for_those_that_do_not_go_together_are_listed(migrator, tmp_path):
    many = [node(f"k{number:02}", **(TOLD | {"criu": f"4.{number}"})) for number in range(14)]
    snapshot.save(cluster(*many), tmp_path / "many.json")
    _, out, _ = migrator("compat", "--snapshot", tmp_path / "many.json")
    assert "FROM / TO" not in out
    assert out.count("criu-version") == 14 * 13 // 2


def test_the_document_of_two_nodes_has_every_check_with_both_values(migrator, fleet):
    code, out, _ = migrator("compat", "n1", "n3", "--snapshot", fleet, "--json")
    (pair,) = json.loads(out)["pairs"]
    assert (code, pair["fits"]) == (3, False)
    (criu,) = [check for check in pair["checks"] if check["check"] == "criu-version"]
    assert (criu["source"], criu["target"], criu["verdict"]) == ("4.2.1", "4.0", "refused")
    waive = ("--waive", "criu-version", "--waive", "cpu-features")
    code, out, _ = migrator("compat", "n1", "n3", *waive, "--snapshot", fleet, "--json")
    assert (code, json.loads(out)["pairs"][0]["fits"]) == (0, True)


def test_a_container_without_a_target_is_held_against_every_kind_of_node(migrator, fleet):
    code, out, _ = migrator("compat", "--container", "web", "--snapshot", fleet, "--json")
    fits = {pair["to"]: pair["fits"] for pair in json.loads(out)["pairs"]}
    assert (code, fits) == (0, {"n2": True, "n3": False, "n5": False})


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("n1",), 2, "give no node, or two"),
        (("n1", "n1"), 2, "give no node, or two"),
        (("n1", "x"), 2, "there is no node 'x'"),
        (("n1", "n4"), 4, "no answer from n4"),
        (("--container", "gone"), 2, "container 'gone' is on no node that answers"),
        (("n1", "--container", "web"), 2, "container web is on node n1 already"),
        (("--waive", "luck"), 2, "--waive: 'luck' is no check of nodes (cpu-features, "),
        (("--waive", "architecture"), 2, "architecture cannot be waived: programs of one architecture do not run on"),
        (("--waive", "kernel"), 2, "kernel keeps no container from a node"),
    ],
    ids=str,
)
def test_what_cannot_be_asked_is_said_in_a_line(migrator, fleet, words, code, said):
    got, out, err = migrator("compat", *words, "--snapshot", fleet)
    assert (got, out, said in one_line(err)) == (code, "", True), err


def test_a_check_that_was_waived_is_in_the_plan_and_in_all_that_is_said_of_it(migrator, tmp_path):
    facts, plan = tmp_path / "two.json", tmp_path / "plan.json"
    snapshot.save(cluster(FLEET.node("n1"), FLEET.node("n3")), facts)
    words = ("plan", "drain", "n1", "--snapshot", facts, "-o", plan)
    code, _, err = migrator(*words)
    assert (code, "or --waive cpu-features" in one_line(err)) == (3, True)
    code, out, _ = migrator(*words, "--waive", "cpu-features", "--waive", "criu-version", "--waive", "cpu-features")
    told = "waived: check cpu-features, check criu-version"
    assert (code, told in out) == (0, True)
    assert json.loads(plan.read_text())["policy"]["checks_waived"] == ["cpu-features", "criu-version"]
    for look in (("check", plan), ("plan", "show", plan), ("explain", plan, "web")):
        assert told in migrator(*look, "--snapshot", facts)[1]
        document = json.loads(migrator(*look, "--snapshot", facts, "--json")[1])
        assert document["waived"][0] == {"number": 0, "words": "check cpu-features"}
    strict = json.loads(plan.read_text())
    del strict["policy"]["checks_waived"]
    plan.write_text(json.dumps(strict | {"integrity": integrity(strict)}))
    assert "its CPU has no avx2" in migrator("check", plan, "--snapshot", facts)[1]


@pytest.mark.parametrize("name", ["luck", "architecture", "kernel", 7])
def test_a_plan_file_that_waives_what_cannot_be_waived_is_refused(migrator, fits, tmp_path, name):
    plan = tmp_path / "plan.json"
    assert migrator("plan", "drain", "n1", "--snapshot", fits, "-o", plan)[0] == 0
    document = json.loads(plan.read_text())
    document["policy"]["checks_waived"] = [name]
    plan.write_text(json.dumps(document | {"integrity": integrity(document)}))
    code, _, err = migrator("check", plan, "--snapshot", fits)
    assert (code, "policy.checks_waived" in one_line(err)) == (2, True), err


@pytest.mark.parametrize("command", ["apply", "migrate", "rehearse", "plan"])
@pytest.mark.parametrize(("name", "said"), [("luck", "'luck' is"), ("bridge", "bridge cannot be waived")])
def test_a_waiver_that_names_nothing_ends_every_command_that_takes_one(migrator, fits, tmp_path, command, name, said):
    plan = tmp_path / "plan.json"
    migrator("plan", "drain", "n1", "--snapshot", fits, "-o", plan)
    words = {
        "apply": ("apply", plan),
        "migrate": ("migrate", "web", "--to", "n2"),
        "rehearse": ("rehearse", "web", "--to", "n2"),
        "plan": ("plan", "drain", "n1", "--snapshot", fits),
    }[command]
    code, _, err = migrator(*words, "--waive", name)
    assert (code, said in one_line(err)) == (2, True), err
