"""Limits as they are written, kept and told."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from pydantic import TypeAdapter

from migrator.errors import BadInput
from migrator.executor.limit_words import parse_change
from migrator.inventory.snapshot import digest
from migrator.model.container import Descriptor, fault
from migrator.model.limits import Change, limits_of, not_enforced
from migrator.runtime.limits import resources
from tests.properties.fleets import MIB, cluster, ct, node
from tests.unit.test_bundle import WEB

ALL = ("cpu", "io", "io.weight", "memory", "memory.swap", "pids")


def test_what_is_not_given_stays() -> None:
    full = replace(WEB, swap_bytes=0, pids=50, io_weight=20)
    assert Change().of(full) == full
    assert parse_change(memory="1G").of(full) == replace(full, memory_bytes=1024 * MIB)


def test_none_takes_a_limit_away_and_no_swap_is_a_limit() -> None:
    full = replace(WEB, swap_bytes=5, pids=50, io_weight=20)
    assert parse_change(swap="none", pids="none", io_weight="none").of(full) == WEB
    assert parse_change(swap="0").of(full).swap_bytes == 0


@pytest.mark.parametrize(
    "words",
    [
        {"memory": "none"},
        {"memory": "4M3"},
        {"memory": "1"},
        {"swap": "-1"},
        {"swap": "9999P"},
        {"cpus": float("nan")},
        {"cpus": 0.0},
        {"pids": "31"},
        {"pids": "\u0664\u0664\u0664"},
        {"pids": "9" * 30},
        {"io_weight": "9"},
        {"io_weight": "1001"},
    ],
)
def test_what_is_no_limit_is_refused_by_the_name_of_its_option(words: dict[str, str]) -> None:
    with pytest.raises(BadInput, match=f"^--{next(iter(words)).replace('_', '-')}"):
        parse_change(**words)  # type: ignore[arg-type]


def test_a_description_of_before_is_read_and_one_that_cannot_be_is_told() -> None:
    old = json.loads(json.dumps({key: getattr(WEB, key) for key in ("name", "template", "template_digest", "address")}))
    old |= {"command": ["sleep"], "id_index": 20, "memory_bytes": 1, "cpu_milli": 1, "disk_bytes": 1}
    ct = TypeAdapter(Descriptor).validate_python(old)
    assert (limits_of(ct).swap_bytes, ct.pids, ct.io_weight, fault(ct)) == (None, 0, 0, "")
    for field, wrong in (("swap_bytes", -1), ("pids", 3), ("pids", -1), ("io_weight", 5), ("io_weight", 2000)):
        assert fault(replace(ct, **{field: wrong})) == field  # type: ignore[arg-type]


def test_limits_that_are_not_set_do_not_change_a_snapshots_digest_and_no_swap_does() -> None:
    held = ct("web")
    assert held.descriptor is not None
    without = replace(held, descriptor=replace(held.descriptor, swap_bytes=0))
    assert digest(cluster(node("n1", held))) != digest(cluster(node("n1", without)))


def test_the_runtime_is_told_what_the_node_can_enforce_and_the_rest_is_named() -> None:
    full = replace(WEB, swap_bytes=64 * MIB, pids=50, io_weight=200)
    told = resources(full, ALL)
    assert told["memory"] == {"limit": WEB.memory_bytes, "swap": WEB.memory_bytes + 64 * MIB}
    assert (told["pids"], told["blockIO"]) == ({"limit": 50}, {"weight": 200})
    assert not_enforced(limits_of(full), ALL) == []
    assert set(resources(full, ("memory", "io"))) == {"devices", "memory"}
    assert not_enforced(limits_of(full), ("memory", "io")) == ["cpu", "io_weight", "pids", "swap"]
    assert not_enforced(limits_of(WEB), ()) == ["cpu", "memory"]
