"""Ranges of user ids: which one a container gets on its target, and what CRIU is told of it there."""

from __future__ import annotations

import json
import struct
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from migrator.errors import Refused
from migrator.executor.ranges import free_ranges, overlaps
from migrator.model.container import ID_INDEX_MIN, Descriptor
from migrator.model.facts import Cluster, ContainerFacts, NodeFacts, Resources
from migrator.runtime import bundle
from migrator.transport.base import Answer
from tests.unit.test_bundle import WEB
from tests.unit.test_saga import Scene, ScriptedNode

KIT = Path(bundle.__file__).parent / "kit"


def node(name: str, *containers: Descriptor) -> NodeFacts:
    held = (ContainerFacts(ct.name, "serving", 1, 1, True, "-", Resources(), descriptor=ct) for ct in containers)
    return NodeFacts(name=name, containers=tuple(held))


def test_a_range_is_free_that_no_container_of_any_node_has() -> None:
    taken = [replace(WEB, name=f"c{index}", id_index=index) for index in (16, 17, 19)]
    cluster = Cluster("c", (node("n1", taken[0]), node("n2", *taken[1:])))
    assert free_ranges(cluster, 1) == [18]
    assert free_ranges(cluster, 1, 19) == [20]
    assert free_ranges(cluster, 1, 64_999) == [64_999]


def test_it_goes_on_from_the_beginning_when_the_last_ones_are_taken() -> None:
    assert free_ranges(Cluster("c", (node("n1", replace(WEB, id_index=64_999)),)), 1, 64_999) == [ID_INDEX_MIN]


def test_only_another_containers_equal_range_overlaps() -> None:
    assert overlaps(WEB, node("n2", replace(WEB, name="other")))
    assert not overlaps(WEB, node("n2", WEB, replace(WEB, name="other", id_index=21)))


def shell(directory: Path, script: str, **files: str) -> subprocess.CompletedProcess[str]:
    for name, text in files.items():
        (directory / name).mkdir(exist_ok=True)
        (directory / name / "id_base").write_text(text + "\n")
    setting = f'set -eu; CONTAINERS={directory}; refuse() {{ echo "$1" >&2; exit 10; }}; . {KIT}/ids.sh'
    return subprocess.run(["sh", "-c", f"{setting}; {script}"], capture_output=True, text=True, check=False)


def test_no_two_containers_of_a_node_get_one_range(tmp_path: Path) -> None:
    there = {"web": "1310720", "other": "1376256"}
    assert shell(tmp_path, "check_range web 1310720", **there).returncode == 0
    assert shell(tmp_path, "check_range new 1441792", **there).returncode == 0
    refused = shell(tmp_path, "check_range new 1376256", **there)
    assert (refused.returncode, refused.stderr) == (
        10,
        "container other has the range of user ids from 1376256 here\n",
    )


def varint(data: bytes) -> tuple[int, bytes]:
    value = shift = 0
    for position, byte in enumerate(data):
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, data[position + 1 :]
    raise AssertionError("it is cut short")


def message(data: bytes) -> list[tuple[int, int | bytes]]:
    """Fields of a message of protocol buffers."""
    fields: list[tuple[int, int | bytes]] = []
    while data:
        key, data = varint(data)
        number, data = varint(data)
        if key & 7 == 2:
            fields.append((key >> 3, data[:number]))
            data = data[number:]
        else:
            fields.append((key >> 3, number))
    return fields


@pytest.mark.parametrize("base", [1 << 20, 20 * 65536, 64_999 * 65536])
def test_criu_is_told_of_one_extent_for_users_and_one_for_groups(tmp_path: Path, base: int) -> None:
    image = tmp_path / "userns-12.img"
    image.write_bytes(b"12345678" + struct.pack("<I", 3) + b"old")
    done = shell(tmp_path, f"shift_namespace {tmp_path} web", web=str(base))
    assert done.returncode == 0, done
    data = image.read_bytes()
    assert data[:8] == b"12345678"
    assert struct.unpack("<I", data[8:12])[0] == len(data) - 12
    extents = [(field, message(inner)) for field, inner in message(data[12:]) if isinstance(inner, bytes)]
    assert extents == [(kind, [(1, 0), (2, base), (3, 65536)]) for kind in (1, 2)]


async def test_a_move_that_shifts_tells_the_target_alone_of_the_new_range(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    told: dict[tuple[str, str], tuple[tuple[str | int, ...], bytes]] = {}

    class Listening(ScriptedNode):
        async def call(self, verb: str, *args: str | int, stdin: bytes = b"", **more: Any) -> Answer:
            told[self.name, f"{verb} {args[2]}" if verb == "ct-put" else verb] = (args, stdin)
            return await super().call(verb, *args, stdin=stdin, **more)

    move = scene.move
    taken = replace(move.target.facts, containers=node("n2", replace(WEB, name="other")).containers)
    move.source = replace(move.source, node=Listening("n1", scene.calls))  # type: ignore[arg-type]
    move.target = replace(move.target, node=Listening("n2", scene.calls), facts=taken)  # type: ignore[arg-type]
    with pytest.raises(Refused, match="the same range of user ids"):
        await scene.run()
    (tmp_path / "again").mkdir()
    scene = Scene(tmp_path / "again")
    scene.move.source, scene.move.target, scene.move.id_index_there = move.source, move.target, 77
    await scene.run()
    assert told["n1", "prepare"][0][4] == WEB.id_base
    assert told["n2", "prepare"][0][4] == 77 * 65536
    assert told["n2", "prepare"][0][-2:] == (0, WEB.id_base)
    mapped = json.loads(told["n2", "ct-put config.json"][1])["linux"]["uidMappings"]
    assert mapped == [{"containerID": 0, "hostID": 77 * 65536, "size": 65536}]
