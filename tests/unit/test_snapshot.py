"""Snapshots: what cannot be so is refused, with file and field, before anything is planned with it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from migrator.errors import BadInput
from migrator.inventory import snapshot
from migrator.model.facts import Link, SharedLink
from tests.properties.fleets import cluster, ct, node

_NODES = cluster(node("n1", ct("a"), link=Link(1000, 1000)), node("n2"))
FLEET = replace(_NODES, links=(SharedLink("up", ("n1",), 10, 10),))


def written(tmp_path: Path, change: Any = None, digest: bool = False) -> Path:
    """A snapshot in which something was changed by hand, without its digest if that is not asked for."""
    document = json.loads(json.dumps(snapshot.to_document(FLEET)))
    if change is not None:
        change(document["cluster"])
    if not digest:
        del document["digest"]
    path = tmp_path / "s.json"
    path.write_text(json.dumps(document))
    return path


def put(*where: Any) -> Any:
    *way, last, value = where

    def change(facts: Any) -> None:
        for part in way:
            facts = facts[part]
        facts[last] = value

    return change


def test_a_snapshot_comes_back_with_its_digest_and_without(tmp_path: Path):
    assert snapshot.load(written(tmp_path, digest=True)) == FLEET
    assert snapshot.load(written(tmp_path)) == FLEET


def test_further_addresses_are_kept_and_change_no_digest_of_facts_without_them():
    (container,) = FLEET.nodes[0].containers
    assert container.descriptor is not None
    more = replace(container.descriptor, more_addresses=("fd00::7/64",), gateway6="fd00::1")
    both = replace(FLEET, nodes=(replace(FLEET.nodes[0], containers=(replace(container, descriptor=more),)),))
    facts = snapshot.to_document(both)["cluster"]
    assert snapshot._CLUSTER.validate_python(facts).nodes == both.nodes
    assert "more_addresses" not in json.dumps(snapshot.to_document(FLEET))


def test_an_edit_of_the_facts_is_refused_while_the_digest_stands(tmp_path: Path):
    path = written(tmp_path, put("nodes", 0, "cpus", 99), digest=True)
    with pytest.raises(BadInput, match=r"s.json: digest: does not match"):
        snapshot.load(path)
    assert snapshot.load(written(tmp_path, put("nodes", 0, "cpus", 99))).node("n1").cpus == 99


def test_an_older_file_without_facts_that_are_told_by_now_is_whole(tmp_path: Path):
    path = written(tmp_path, lambda facts: facts["nodes"][0]["containers"][0].pop("gate"), digest=True)
    assert snapshot.load(path).name == FLEET.name


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (put("nodes", 0, "capacity", "cpu_milli", -1), "nodes.0.capacity.cpu_milli (node n1): is to be from 0"),
        (
            put("nodes", 0, "capacity", "memory_bytes", 10**40),
            "nodes.0.capacity.memory_bytes (node n1): is to be from 0",
        ),
        (put("nodes", 0, "memory_available_bytes", -1), "nodes.0.memory_available_bytes (node n1): is to be from 0"),
        (put("nodes", 1, "link", "up_bytes_per_s", -7), "nodes.1.link.up_bytes_per_s (node n2): is to be from 1"),
        (put("nodes", 1, "link", "down_bytes_per_s", 0), "nodes.1.link.down_bytes_per_s (node n2): is to be from 1"),
        (put("links", 0, "up_bytes_per_s", 10**30), "links.0.up_bytes_per_s (link up): is to be from 1"),
        (put("links", 0, "moves_max", 0), "links.0.moves_max (link up): is to be at least 1"),
        (
            put("nodes", 0, "containers", 0, "anon_bytes", -1),
            "nodes.0.containers.0.anon_bytes (container a, node n1): is to be from 0",
        ),
        (
            put("nodes", 0, "containers", 0, "reserved", "disk_bytes", -1),
            "nodes.0.containers.0.reserved.disk_bytes (container a, node n1): ",
        ),
        (put("nodes", 0, "containers", 0, "name", "a b"), "nodes.0.containers.0.name (node n1): 'a b' cannot be"),
        (
            put("nodes", 0, "containers", 0, "descriptor", "id_index", 0),
            "containers.0.descriptor.id_index (container a, node n1): is to be from 16 to 64999, not",
        ),
        (put("nodes", 1, "name", "n1"), "nodes: 'n1' is the name of 2 nodes"),
        (put("nodes", 1, "name", "n\x1b[2J"), "nodes.1.name: 'n\\x1b[2J' cannot be the name of a node"),
        (put("nodes", []), "nodes: there is none"),
        (put("nodes", 0, "cpus", "many"), "nodes.0.cpus (node n1): is to be a whole number, not 'many'"),
    ],
)
def test_facts_that_cannot_be_are_refused_with_file_and_field(tmp_path: Path, change: Any, said: str):
    with pytest.raises(BadInput) as caught:
        snapshot.load(written(tmp_path, change))
    assert str(caught.value).startswith("/")
    assert f"s.json: {said}" in str(caught.value) or ("containers" in said and said in str(caught.value))
    assert "\n" not in str(caught.value)
