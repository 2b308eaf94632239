"""Volumes: what is refused before anything is made, what a node is given, and how sameness is proven."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from migrator.errors import BadInput, Refused
from migrator.executor.wanted import Wanted
from migrator.inventory import cluster_file, snapshot
from migrator.inventory.probe import parse as parse_probe
from migrator.model import volume
from migrator.model.container import fault
from migrator.model.facts import NodeFacts
from migrator.model.volume import Mounted, Volume
from migrator.runtime import bundle
from migrator.steps import check, volumes
from migrator.transport.base import Answer, NodeUnreachable
from tests.properties.fleets import cluster, ct, node
from tests.unit.test_bundle import WEB, config
from tests.unit.test_probe import ENTRY, GOOD
from tests.unit.test_saga import Scene, scene  # noqa: F401

DATA = Volume("data", "/srv/data")
THERE = {"data": Mounted("/mnt/nfs/data"), "logs": Mounted("/mnt/nfs/logs")}
HELD = replace(WEB, volumes=(DATA, Volume("logs", "/var/log/web", read_only=True)))


@pytest.mark.parametrize("text", ["data:/srv/data", "data:/srv/data:ro", "my-data_2:/etc/app", "d:/var/log/nginx"])
def test_a_volume_is_written_as_its_name_and_its_path_inside(text: str) -> None:
    assert str(volume.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("data", "begin with /"),
        ("data:srv/data", "begin with /"),
        ("data:/", "a path is made of"),
        ("data:/srv/../etc", "a path is made of"),
        ("data:/srv/./data", "a path is made of"),
        ("data:/srv//data", "a path is made of"),
        ("data:/srv/my data", "a path is made of"),
        ("data:/srv/data\n", "a path is made of"),
        ("data:/" + "a/" * 600 + "a", "a path is made of"),
        ("data:/proc", "the runtime mounts"),
        ("data:/proc/fs", "the runtime mounts"),
        ("data:/sys/x", "the runtime mounts"),
        ("data:/dev/shm", "the runtime mounts"),
        ("data:/run/x", "the runtime mounts"),
        ("data:/tmp/x", "the runtime mounts"),
        ("data:/etc", "the container's system"),
        ("data:/usr", "the container's system"),
        ("data:/var/log", "the container's system"),
        ("data:/srv/data:rw", "one of its own, and nothing else"),
        ("/mnt/nfs:/srv/data", "would not be there after a move"),
        ("../data:/srv/data", "would not be there after a move"),
    ],
)
def test_a_volume_that_cannot_be_is_refused_with_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        volume.parse(text)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["data:/srv/data", "data:/srv/other"], "volume data is there twice"),
        (["data:/srv/data", "logs:/srv/data"], "are one, or one in the other"),
        (["data:/srv", "logs:/srv/logs"], "are one, or one in the other"),
        ([f"v{number}:/srv/{number}" for number in range(17)], "at most 16 volumes"),
        (["data:/srv/\x1b[31m"], "a path is made of"),
    ],
)
def test_volumes_that_cannot_be_together_are_one_line_of_bad_input(given: list[str], says: str) -> None:
    with pytest.raises(BadInput, match=says) as refused:
        wanted(tuple(given))
    assert "\n" not in str(refused.value)
    assert "\x1b" not in str(refused.value)


def wanted(given: tuple[str, ...]) -> Wanted:
    return Wanted.parse(
        name="web",
        template="debian",
        ips=("10.0.0.7",),
        gateways=(),
        memory="64M",
        cpus=1.0,
        disk="1G",
        user=None,
        labels=(),
        env=(),
        command=("sleep",),
        volumes=given,
    )


@pytest.mark.parametrize(
    "path",
    ["/", "/var/lib/migrator", "/var/lib/migrator/containers/web", "/var/lib", "/run/migrator/x", "/etc/x", "/proc/1"],
)
def test_a_nodes_own_files_and_those_of_migrator_are_no_volume(path: str) -> None:
    assert volume.node_fault(path)


def test_a_descriptor_from_elsewhere_is_held_to_the_same() -> None:
    assert fault(HELD) == ""
    for bad in (Volume("data", "/proc"), Volume("data", "/srv/../x"), Volume("../x", "/srv/x")):
        assert fault(replace(WEB, volumes=(bad,))) == "volumes"


CLUSTER = """
version: 1
volumes: {data: /mnt/nfs/data, logs: /mnt/nfs/logs}
nodes:
- name: n1
- name: n2
  volumes: {data: /srv/data}
"""


def test_a_node_may_have_a_volume_at_a_path_of_its_own() -> None:
    file = cluster_file.parse(CLUSTER, "c.yaml")
    assert file.volume_paths(file.entry("n1")) == {"data": "/mnt/nfs/data", "logs": "/mnt/nfs/logs"}
    assert file.volume_paths(file.entry("n2")) == {"data": "/srv/data", "logs": "/mnt/nfs/logs"}


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("/mnt/nfs/data, ", "mnt/nfs, ", "c.yaml:3: volumes.data: .*begin with /"),
        ("/mnt/nfs/data, ", "/mnt/../data, ", "c.yaml:3: volumes.data: "),
        ("/mnt/nfs/data, ", "/var/lib/migrator/x, ", "Migrator's own state"),
        ("{data: /srv/data}", "{other: /srv/x}", "c.yaml:7: nodes.1.volumes.other: is not among the site's"),
        ("{data: /srv/data}", "{data: /mnt/nfs/logs/data}", "on n2 its path is that of logs, or inside it"),
        ("{data: /srv/data}", "{data: /mnt/nfs/logs}", "on n2 its path is that of"),
        ("logs:", "../logs:", "c.yaml:3: volumes"),
    ],
)
def test_a_wrong_volume_in_the_cluster_file_is_told_with_its_line(old: str, new: str, says: str) -> None:
    assert old in CLUSTER
    with pytest.raises(BadInput, match=says):
        cluster_file.parse(CLUSTER.replace(old, new), "c.yaml")


def test_the_bundle_binds_each_volume_from_where_this_node_has_it() -> None:
    made = bundle.files(HELD, "/kit", "br0", (), THERE)
    assert made["volumes"] == b"data /mnt/nfs/data /srv/data\nlogs /mnt/nfs/logs /var/log/web\n"
    options = ["bind", "private", "nosuid", "nodev"]
    assert json.loads(made["config.json"])["mounts"][-2:] == [
        {"destination": "/srv/data", "type": "bind", "source": "/mnt/nfs/data", "options": options},
        {"destination": "/var/log/web", "type": "bind", "source": "/mnt/nfs/logs", "options": [*options, "ro"]},
    ]


def test_a_bundle_without_volumes_is_as_it_was() -> None:
    assert "volumes" not in bundle.files(WEB, "/kit", "br0", (), THERE)
    assert not [mount for mount in config()["mounts"] if mount["type"] == "bind"]


def test_no_bundle_is_made_with_a_volume_that_nobody_has_declared() -> None:
    with pytest.raises(BadInput, match="names no volume logs"):
        bundle.files(HELD, "/kit", "br0", (), {"data": THERE["data"]})


def test_a_node_tells_of_the_volumes_that_it_was_asked_for_and_is_believed_of_no_other() -> None:
    declared = NodeFacts("n1", volumes={name: Mounted(f"/mnt/{name}", "?") for name in ("data", "logs", "more")})
    told = "volume data yes\nvolume logs /mnt/logs is not there\nvolume strange yes\nend probe"
    facts = parse_probe(Answer("n1", "probe", GOOD.replace("end probe", told)), declared, ENTRY)
    assert {name: mounted.fault for name, mounted in facts.volumes.items()} == {
        "data": "",
        "logs": "/mnt/logs is not there",
        "more": "it does not tell whether it is there",
    }


def test_volumes_are_kept_in_a_snapshot_and_change_no_digest_of_facts_without_them(tmp_path: Path) -> None:
    without = cluster(node("n1", ct("a")))
    assert "volumes" not in json.dumps(snapshot.to_document(without))
    (held,) = without.nodes[0].containers
    assert held.descriptor is not None
    held = replace(held, descriptor=replace(held.descriptor, volumes=HELD.volumes))
    fleet = cluster(node("n1", held, volumes=THERE))
    snapshot.save(fleet, tmp_path / "s.json")
    assert snapshot.load(tmp_path / "s.json") == fleet


# --- the proof -----------------------------------------------------------------------------------------------------


class Storage:
    """What both nodes of a scene have at their paths: which node's volume is on which storage."""

    def __init__(self, scene: Scene, **at_target: str) -> None:  # noqa: F811
        self.scene, self.marks, self.removed = scene, set[tuple[str, str]](), 0
        self.at_target = {"data": "data", "logs": "logs"} | at_target
        scene.move.descriptor = HELD
        scene.move.target = replace(scene.move.target, facts=replace(scene.move.target.facts, volumes=THERE))
        for side in (scene.source, scene.target):
            side.call = self.calls(side.name, side.call)  # type: ignore[method-assign]

    def calls(self, name: str, otherwise: Callable[..., object]) -> Callable[..., object]:
        async def call(verb: str, *args: str | int, **more: object) -> Answer:
            if verb == "mark-volume":
                self.marks.add((str(args[1]), str(args[2])))
                return Answer(name, verb, f"path /mnt/nfs/{args[1]}\n")
            if verb == "unmark-volume":
                self.marks.discard((str(args[1]), str(args[2])))
                self.removed += 1
                return Answer(name, verb, "")
            if verb == "see-mark":
                at = self.at_target[str(args[0]).rpartition("/")[2]]
                if at == "silent":
                    raise NodeUnreachable(name, verb, "no answer")
                if at.startswith("!"):
                    return Answer(name, verb, f"fault {at[1:]}\n")
                if at.startswith("="):
                    return Answer(name, verb, f"mark {at[1:]}\n")
                return Answer(name, verb, f"mark {args[2] if (at, str(args[2])) in self.marks else ''}\n")
            answer = await otherwise(verb, *args, **more)  # type: ignore[misc]
            assert isinstance(answer, Answer)
            return answer

        return call


def found(storage: Storage) -> list[str]:
    return asyncio.run(volumes.findings(storage.scene.move))


def test_a_marker_that_is_seen_at_the_other_path_proves_one_storage(scene: Scene) -> None:  # noqa: F811
    storage = Storage(scene)
    assert found(storage) == []
    assert (storage.marks, storage.removed) == (set(), 2)


@pytest.mark.parametrize("at", ["elsewhere", "=00"])
def test_another_directory_of_the_same_name_is_told_with_both_paths(scene: Scene, at: str) -> None:  # noqa: F811
    storage = Storage(scene, data=at)
    (told,) = found(storage)
    assert told.startswith("volume data is not the same storage on n1 (/mnt/nfs/data) and on n2 (/mnt/nfs/data)")
    assert "mount the same export on both" in told
    assert storage.marks == set()


def test_two_volumes_that_are_exchanged_on_the_target_are_both_found(scene: Scene) -> None:  # noqa: F811
    assert len(found(Storage(scene, data="logs", logs="data"))) == 2


def test_storage_that_has_gone_on_the_target_is_told_in_its_words(scene: Scene) -> None:  # noqa: F811
    storage = Storage(scene, logs="!nothing is mounted at /mnt/nfs/logs, or above it")
    assert found(storage) == ["volume logs on n2: nothing is mounted at /mnt/nfs/logs, or above it"]


def test_the_marker_goes_also_when_the_target_does_not_answer(scene: Scene) -> None:  # noqa: F811
    storage = Storage(scene, data="silent")
    with pytest.raises(NodeUnreachable):
        found(storage)
    assert (storage.marks, storage.removed) == (set(), 1)


def test_a_container_without_volumes_asks_nobody(scene: Scene) -> None:  # noqa: F811
    asyncio.run(volumes.prove(scene.move))
    assert scene.calls == []


def test_a_move_to_another_storage_is_refused_in_the_check_before_anything(scene: Scene) -> None:  # noqa: F811
    storage = Storage(scene, data="elsewhere")
    assert any("is not the same storage" in reason for reason in asyncio.run(check.ask(storage.scene.move)))
    with pytest.raises(Refused, match="cannot move to n2: volume data is not the same storage"):
        asyncio.run(volumes.prove(storage.scene.move))


def test_a_node_that_lacks_a_volume_is_said_so_by_the_check(scene: Scene) -> None:  # noqa: F811
    storage = Storage(scene)
    move = storage.scene.move
    lost = {"data": Mounted("/mnt/nfs/data", "nothing is mounted at /mnt/nfs/data; mount its storage")}
    move.target = replace(move.target, facts=replace(move.target.facts, volumes=lost))
    told = asyncio.run(check.ask(move))
    assert "volume data: nothing is mounted at /mnt/nfs/data; mount its storage" in told
    assert "volume logs: the cluster file does not name it; name it under volumes" in told
