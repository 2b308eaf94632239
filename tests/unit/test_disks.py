"""Volumes of a container's own: what is asked for, what a node is told, and which files the passes look at again."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from migrator.errors import BadInput
from migrator.inventory import snapshot
from migrator.model.container import fault
from migrator.model.disk import Disk, parse
from migrator.model.facts import Cluster, ContainerFacts, NodeFacts, Resources
from migrator.model.volume import Volume
from migrator.runtime import bundle
from tests.unit.test_bundle import WEB, config
from tests.unit.test_injection import wanted

DATA = Disk("data", "/srv/data", 2 << 30)
MORE = Disk("more", "/srv/a.b", 3 << 20)
OWN = replace(WEB, disks=(DATA, MORE))
KIT = Path(bundle.__file__).parent / "kit"


def test_a_size_makes_a_volume_the_containers_own_and_is_planned_for() -> None:
    asked = wanted(volumes=("shared:/srv/shared:ro", "data:/srv/data:2G"), disk="1G")
    assert asked.volumes == (Volume("shared", "/srv/shared", read_only=True),)
    assert asked.disks == (DATA,)
    assert asked.disk_bytes == 3 << 30


@pytest.mark.parametrize("disk", [DATA, MORE, replace(DATA, size_bytes=(1 << 20) + 1)])
def test_it_is_told_as_it_is_asked_for(disk: Disk) -> None:
    assert parse(str(disk)) == disk


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("data:/srv/data:2X",), "data:/srv/data:2X"),
        (("data:/srv/data:0",), "1M at least"),
        (("data:srv:2G",), "begin with /"),
        (("data:/etc:2G",), "container's system"),
        (("data:/run/x:2G",), "the runtime mounts"),
        (("Data:/srv/data:2G",), "not a volume's name"),
        (("data:/srv/data:2G", "data:/srv/other"), "data is there twice"),
        (("data:/srv/data:2G", "other:/srv/data/in"), "one in the other"),
        (tuple(f"v{n}:/srv/v{n}:1M" for n in range(17)), "at most 16 volumes"),
    ],
)
def test_what_is_no_volume_is_refused_with_its_option(given: tuple[str, ...], said: str) -> None:
    with pytest.raises(BadInput, match="--volume") as refused:
        wanted(volumes=given)
    assert said in str(refused.value)


def test_a_node_binds_it_from_the_containers_own_directory() -> None:
    (bind,) = (mount for mount in config(OWN)["mounts"] if mount["destination"] == "/srv/data")
    assert bind["source"] == "/var/lib/migrator/containers/web/disks/data"
    assert {"bind", "private", "nosuid", "nodev"} <= set(bind["options"])
    assert bundle.files(OWN, "/kit", "br0", ())["disk-list"] == b"data /srv/data\nmore /srv/a.b\n"
    assert "disk-list" not in bundle.files(WEB, "/kit", "br0", ())


def test_a_description_from_elsewhere_with_one_that_cannot_be_is_not_believed() -> None:
    assert fault(OWN) == ""
    for wrong in (replace(DATA, name="../x"), replace(DATA, path="/proc"), replace(DATA, size_bytes=0)):
        assert fault(replace(WEB, disks=(wrong,))) == "disks"
    assert fault(replace(OWN, volumes=(Volume("data", "/srv/x"),))) == "disks"


def test_a_snapshot_of_before_is_read_and_they_are_kept(tmp_path: Path) -> None:
    for ct in (WEB, OWN):
        facts = ContainerFacts(ct.name, "serving", 1, 1, True, "-", Resources(), descriptor=ct)
        cluster = Cluster("c", (NodeFacts(name="n1", containers=(facts,)),))
        snapshot.save(cluster, tmp_path / "facts")
        assert ("disks" in json.dumps(snapshot.to_document(cluster))) == bool(ct.disks)
        assert snapshot.load(tmp_path / "facts") == cluster


def kit(tmp_path: Path, script: str, stdin: bytes = b"") -> bytes:
    """What functions of the kit say of a container with these disks, whose directory is below `tmp_path`."""
    home = tmp_path / "web"
    home.mkdir(exist_ok=True)
    (home / "disk-list").write_bytes(bundle.files(OWN, "/kit", "br0", ())["disk-list"])
    (home / "id_base").write_text(f"{os.getuid() or 1310720}\n")
    words = 'fail() { echo "$2"; exit 1; }; refuse() { fail 10 "$1"; }; check_name() { :; }'
    setting = f"set -eu; CONTAINERS={tmp_path}; {words}"
    text = f"{setting}; . {KIT}/volumes.sh; . {KIT}/disks.sh; {script}"
    return subprocess.run(["sh", "-c", text], input=stdin, capture_output=True, check=True).stdout


def test_a_file_that_is_open_in_a_volume_is_found_where_it_lies_on_the_node(tmp_path: Path) -> None:
    names = [b"srv/data/log", b"srv/a.b/c d", b"srv/axb/e", b"srv/database", b"var/log/x\ny"]
    found = kit(tmp_path, "in_place web", b"".join(name + b"\0" for name in names)).split(b"\0")[:-1]
    home = str(tmp_path / "web").encode()
    assert found == [
        home + b"/disks/data/log",
        home + b"/disks/more/c d",
        home + b"/upper/srv/axb/e",
        home + b"/upper/srv/database",
        home + b"/upper/var/log/x\ny",
    ]


def test_one_whose_files_are_gone_keeps_its_container_from_starting_empty(tmp_path: Path) -> None:
    kit(tmp_path, "make_disks web; make_disks web")
    assert kit(tmp_path, "disks_there web || :") == b""
    (tmp_path / "web" / "disks" / "data").rmdir()
    assert b"volume data: its files are gone from this node" in kit(tmp_path, "disks_there web || :")
