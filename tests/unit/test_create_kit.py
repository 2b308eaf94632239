"""Making a container: its files come whole or not at all, and who was made meanwhile is seen by what describes it."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from migrator.errors import Refused
from migrator.executor.creation import refuse_twins, refuse_unfit
from migrator.inventory.cluster_file import ClusterFile, NodeEntry
from migrator.inventory.probe import described
from migrator.model.facts import Cluster, NodeFacts
from migrator.runtime import bundle
from migrator.transport.base import Answer
from tests.unit.test_bundle import WEB

KIT = Path(bundle.__file__).parent / "kit"
FILE = ClusterFile(nodes=[NodeEntry(name="n1")])


def kit(directory: Path, script: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    settings = f"""set -eu; RECORDS={directory}/records CONTAINERS={directory}/containers
        fail() {{ echo "$2" >&2; exit "$1"; }}; refuse() {{ fail 10 "$1"; }}
        check_number() {{ case $1 in '' | *[!0-9]*) refuse "not a number: $1" ;; esac; }}
        . {KIT}/container.sh; . {KIT}/survey.sh"""
    words = ["sh", "-c", f"{settings}; {script}"]
    return subprocess.run(words, input=stdin, capture_output=True, text=True, check=False)


@pytest.fixture
def node(tmp_path: Path) -> Path:
    for name in ("records", "containers/web"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def test_files_that_come_one_behind_the_other_are_told_apart_by_their_sizes(node: Path) -> None:
    done = kit(node, "ct=web; receive_put net 4 io 0 restart 3; cat $parts; rm $parts", "net\nno\n")
    assert (done.returncode, done.stdout) == (0, "net\nno\n")
    done = kit(node, "ct=web; receive_put net 4 io 0 restart 3; cat ${parts##* }; rm $parts", "net\nno\n")
    assert done.stdout == "no\n"


@pytest.mark.parametrize("stdin", ["", "net\n", "net\nno", "net\nno\nmore"])
def test_files_that_come_cut_short_or_too_long_leave_nothing(node: Path, stdin: str) -> None:
    done = kit(node, "ct=web; receive_put net 4 restart 3", stdin)
    assert (done.returncode, done.stderr) == (1, "restart of web came cut short\n")
    assert list((node / "containers/web").iterdir()) == []


@pytest.mark.parametrize("words", ["", "net", "net x", "net 1 passwd 1", "net 1 restart", "../net 1"])
def test_what_is_no_file_of_a_container_is_refused_before_anything_is_read(node: Path, words: str) -> None:
    assert kit(node, f"check_put {words}").returncode == 10


def now(node: Path) -> Cluster:
    done = kit(node, "verb_described")
    assert done.returncode == 0, done
    return described(FILE, {"n1": Answer("n1", "described", done.stdout)})


def test_who_is_described_is_seen_and_who_has_no_record_is_not(node: Path) -> None:
    assert now(node).nodes[0].containers == ()
    (node / "containers/web/descriptor.json").write_bytes(bundle.descriptor_json(WEB))
    assert now(node).nodes[0].containers == ()
    for name in ("web", "being-made"):
        (node / "records" / name).touch()
    cluster = now(node)
    assert [found.descriptor for found in cluster.nodes[0].containers] == [WEB]
    refuse_twins(cluster, "n1", [WEB])
    with pytest.raises(Refused, match="container web was made on n1 at the same moment; try again"):
        refuse_twins(cluster, "n2", [WEB])


def test_a_node_whose_descriptions_are_cut_short_has_not_answered(node: Path) -> None:
    cluster = described(FILE, {"n1": Answer("n1", "described", "")})
    assert "cut short" in cluster.nodes[0].error


def test_a_container_fits_a_node_with_cgroups_of_either_version_and_systemd_as_its_init_version_2_alone() -> None:
    for fits in (1, 2, 0):  # 0: it does not tell
        refuse_unfit(WEB, NodeFacts("n1", cgroup_version=fits))
    with pytest.raises(Refused, match=r"--init systemd: node n1: .*; boot it with version 2"):
        refuse_unfit(replace(WEB, init="systemd"), NodeFacts("n1", cgroup_version=1))
