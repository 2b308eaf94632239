"""A node's answer to the probe is believed no further than its words can reach."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.errors import MigratorError
from migrator.inventory.cluster_file import NodeEntry
from migrator.inventory.probe import parse
from migrator.inventory.snapshot import digest
from migrator.model.disk import Disk
from migrator.model.facts import Cluster, NodeFacts
from migrator.model.io_limits import IO_FEATURE, IoLimits
from migrator.runtime import bundle
from migrator.transport.base import Answer, NodeFailed
from tests.unit.test_bundle import WEB

KIT = Path(bundle.__file__).parent / "kit"
GOOD = f"""\
boot_id b
kernel 6.1
arch x86_64
cpus 4
memory_bytes 8000
memory_available_bytes 6000
disk_bytes 90000
disk_available_bytes 50000
inodes_available 1000
cpu_flags sse avx
cgroup 2 cpu memory
criu 4.2.1
runc 1.1.15
rsync 3.4.1
feature uffd-noncoop
bridge br0
template debian d1
kept-template debian d0
container web serving 3 2 yes -
holds web 268435456 500 1073741824
memory web 5000 4000
files web 4096
descriptor web {bundle.descriptor_json(WEB).decode()}
end probe
"""
ENTRY = NodeEntry(name="n1")


def parsed(text: str, entry: NodeEntry = ENTRY) -> NodeFacts:
    return parse(Answer("n1", "probe", text), NodeFacts("n1"), entry)


def test_what_a_keeper_says_is_told() -> None:
    text = GOOD.replace("holds web", "keeper web 3 it does not start: no\nholds web")
    (web,) = parsed(text).containers
    assert (web.keeper_starts, web.keeper) == (3, "it does not start: no")
    with pytest.raises(NodeFailed):
        parsed(GOOD.replace("holds web", "keeper web\nholds web"))


def test_since_when_one_is_up_is_told_and_is_no_part_of_a_snapshot() -> None:
    (node, told) = (parsed(GOOD), parsed(GOOD.replace("holds web", "up web 75\nholds web")))
    assert [facts.containers[0].up_s for facts in (node, told)] == [None, 75]
    assert digest(Cluster("c", (node,))) == digest(Cluster("c", (told,)))


def test_files_in_memory_are_told_of_each_container_and_are_of_what_a_dump_would_write() -> None:
    first, end = GOOD[GOOD.index("container web") :].split("end probe")
    second = first.replace(" web ", " web2 ").replace('"web"', '"web2"')
    text = GOOD[: GOOD.index("container web")] + first + second + "held web 300\nheld web2 70\nend probe" + end
    assert [(c.tmpfs_bytes, c.anon_bytes, c.paged_bytes) for c in parsed(text).containers] == [
        (300, 4300, 4000),
        (70, 4070, 4000),
    ]


def test_two_containers_that_are_kept_running_are_both_told() -> None:
    first, end = GOOD[GOOD.index("container web") :].split("end probe")
    second = first.replace(" web ", " web2 ").replace('"web"', '"web2"')
    kept = [
        part.replace(f"holds {name}", f"keeper {name} 1 -\nholds {name}")
        for name, part in (("web", first), ("web2", second))
    ]
    node = parsed(GOOD[: GOOD.index("container web")] + "".join(kept) + "end probe" + end)
    assert [(c.name, c.keeper_starts) for c in node.containers] == [("web", 1), ("web2", 1)]


def test_a_descriptor_from_before_there_were_restarters_has_none() -> None:
    old = GOOD.replace('"restart": "no", ', "")
    assert old != GOOD
    (web,) = parsed(old).containers
    assert web.descriptor == WEB
    with pytest.raises(NodeFailed, match="damaged"):
        parsed(GOOD.replace('"restart": "no"', '"restart": "maybe"'))


def test_a_good_answer_becomes_facts() -> None:
    facts = parsed(GOOD)
    assert facts.capacity.cpu_milli == 4000
    assert facts.controllers == ("cpu", "memory")
    assert facts.templates == {"debian": "d1", "debian@d0": "d0"}
    assert [facts.has_template("debian", digest) for digest in ("d0", "d1", "d2")] == [True, True, False]
    assert facts.features == ("uffd-noncoop",)
    (web,) = facts.containers
    assert (web.state, web.token, web.generation, web.alive, web.anon_bytes) == ("serving", 3, 2, True, 4000)
    assert web.descriptor == WEB
    assert facts.room.cpu_milli == 3500


def test_words_that_only_a_kernel_can_use_are_not_taken_for_features_of_the_cpu() -> None:
    old = parsed(GOOD.replace("sse avx", "fpu sse avx rep_good nopl"))
    new = parsed(GOOD.replace("sse avx", "fpu sse avx rep_good nopl xtopology smep"))
    assert old.cpu_flags == new.cpu_flags == ("avx", "fpu", "sse")


def test_what_the_processes_of_a_container_use_is_told() -> None:
    (web,) = parsed(GOOD.replace("files web", "needs web map_droppable\nfiles web")).containers
    assert web.needs == ("map_droppable",)
    (web,) = parsed(GOOD).containers
    assert web.needs == ()


def test_declared_capacity_takes_the_place_of_measured() -> None:
    entry = NodeEntry.model_validate({"name": "n1", "capacity": {"cpus": 16, "memory": "1G"}})
    capacity = parsed(GOOD, entry).capacity
    assert (capacity.cpu_milli, capacity.memory_bytes, capacity.disk_bytes) == (16_000, 1 << 30, 90_000)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("end probe\n", "", "cut short"),
        ("cpus 4", "cpus many", "no number for 'cpus'"),
        ("memory_bytes 8000", "memory_bytes 99999999999999999999999", "no number"),
        ("container web serving 3 2 yes -", "container web serving", "nobody understands"),
        ("container web serving 3", "container ../../x serving 3", "nobody understands"),
        ("container web serving 3", "container web serving -3", "where a number should be"),
        ('"name": "web"', '"name": "db"', "that of another"),
        ('"name": "web"', '"nome": "web"', "is damaged"),
    ],
)
def test_a_lie_is_one_clear_error(old: str, new: str, said: str) -> None:
    with pytest.raises(NodeFailed, match=said):
        parsed(GOOD.replace(old, new))


@given(st.text(max_size=300))
def test_noise_is_an_error_and_never_a_crash(noise: str) -> None:
    for text in (noise, GOOD.replace("end probe", noise), noise + "\n" + GOOD):
        try:
            parsed(text)
        except MigratorError as error:
            assert "\n" not in str(error)


def test_a_container_with_a_limited_disk_needs_a_node_that_can_limit_it() -> None:
    limited = bundle.descriptor_json(replace(WEB, io=IoLimits(write_iops=5))).decode()
    told = GOOD.replace(bundle.descriptor_json(WEB).decode(), limited)
    facts = parsed(told.replace("cgroup 2 cpu memory", "cgroup 2 cpu memory io.max"))
    assert (facts.containers[0].needs, IO_FEATURE in facts.features) == ((IO_FEATURE,), True)
    assert IO_FEATURE not in parsed(told).features
    assert parsed(GOOD).containers[0].needs == ()


def test_what_each_of_its_own_volumes_holds_is_told_and_of_no_other() -> None:
    owns = replace(WEB, disks=(Disk("data", "/srv/data", 1 << 20), Disk("logs", "/srv/logs", 1 << 20)))
    told = "own-volume web/data 4096\nown-volume web/none 8192\nown-volume db/logs 1\nfiles web"
    text = GOOD.replace(bundle.descriptor_json(WEB).decode(), bundle.descriptor_json(owns).decode())
    (web,) = parsed(text.replace("files web", told)).containers
    assert web.disks_bytes == {"data": 4096}
    with pytest.raises(NodeFailed, match="twice"):
        parsed(text.replace("files web", told.replace("web/none", "web/data")))


def test_the_kit_tells_what_a_container_and_each_of_its_own_volumes_holds(tmp_path: Path) -> None:
    for place in ("web/upper", "web/disks/data", "web/disks/upper", "disks/upper"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "file").write_bytes(b"x" * 65536)
    setting = f"CONTAINERS={tmp_path}; CGROUP={tmp_path}/none; any_is_there() {{ [ -e $1 ]; }}"
    script = f"{setting}; . {KIT}/survey.sh; tell_files"
    out = subprocess.run(["sh", "-euc", script], capture_output=True, text=True, check=True).stdout
    rows = {key: int(number) for key, number in (line.rsplit(" ", 1) for line in out.splitlines())}
    assert (rows.pop("changing web"), rows.pop("changing disks")) == (3 * 65536, 65536)
    assert set(rows) == {"own-volume web/data", "own-volume web/upper", "files web", "files disks"}
    one = rows["files disks"]
    assert one >= 65536
    assert (rows["own-volume web/data"], rows["files web"]) == (one, 3 * one)
