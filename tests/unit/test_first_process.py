"""A container whose first process is systemd: what it asks of a node, and how it is asked to end."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from migrator.errors import BadInput
from migrator.executor.wanted import Wanted
from migrator.inventory.snapshot import to_document
from migrator.model.compatibility import obstacles
from migrator.model.container import Descriptor, fault
from migrator.model.facts import Cluster, ContainerFacts, NodeFacts, Resources
from migrator.runtime import bundle
from migrator.transport import kit
from tests.unit.test_bundle import WEB, config

BOX = replace(WEB, init="systemd", command=("/sbin/init",))
WORDS: dict[str, Any] = {
    **{"name": "box", "template": "debian", "ips": ("10.0.0.7",), "gateways": (), "memory": "256M", "cpus": 1.0},
    **{"disk": "1G", "user": None, "labels": (), "env": ()},
}


def files(ct: Descriptor) -> dict[str, bytes]:
    return bundle.files(ct, "/kit", "br0", ())


def test_systemd_finds_a_writable_control_group_and_no_more_rights_than_others_have() -> None:
    made = config(BOX)
    mounts = {mount["destination"]: mount for mount in made["mounts"]}
    assert "rw" in mounts["/sys/fs/cgroup"]["options"]
    assert "container=migrator" in made["process"]["env"]
    assert made["process"]["capabilities"] == config(WEB)["process"]["capabilities"]
    assert made["linux"]["seccomp"] == config(WEB)["linux"]["seccomp"]


def test_a_plain_container_gets_neither() -> None:
    assert "/sys/fs/cgroup" not in [mount["destination"] for mount in config(WEB)["mounts"]]
    assert files(WEB).keys().isdisjoint(("init", "stop-signal"))


def test_a_node_is_told_the_number_of_the_signal() -> None:
    assert files(BOX)["init"] == b"systemd\n"
    assert files(BOX)["stop-signal"] == f"{signal.SIGRTMIN + 3}\n".encode()
    assert files(replace(BOX, stop_signal="INT"))["stop-signal"] == b"2\n"
    assert files(replace(WEB, stop_signal="QUIT"))["stop-signal"] == b"3\n"
    assert "init" not in files(replace(WEB, stop_signal="QUIT"))


@pytest.mark.parametrize("written", ["RTMIN+3", "SIGRTMIN+3", "sigrtmin+3"])
def test_a_signal_may_be_written_as_people_do(written: str) -> None:
    assert Wanted.parse(**WORDS, command=("a",), stop_signal=written).stop_signal == "RTMIN+3"


@pytest.mark.parametrize("written", ["", "KILL", "STOP", "37", "RTMIN+31", "RTMIN+03", "TERM\n", "x" * 500])
def test_what_asks_no_program_to_end_is_refused(written: str) -> None:
    with pytest.raises(BadInput, match="--stop-signal"):
        Wanted.parse(**WORDS, command=("a",), stop_signal=written)
    assert not written or fault(replace(WEB, stop_signal=written)) == "stop_signal"


def test_systemd_is_the_command_unless_another_is_given() -> None:
    assert Wanted.parse(**WORDS, command=(), init="systemd").command == ("/sbin/init",)
    assert Wanted.parse(**WORDS, command=("/lib/systemd/systemd",), init="systemd").command == ("/lib/systemd/systemd",)
    with pytest.raises(BadInput, match="COMMAND"):
        Wanted.parse(**WORDS, command=())


def test_systemd_is_not_started_as_another_user() -> None:
    with pytest.raises(BadInput, match="--user"):
        Wanted.parse(**WORDS | {"user": "www-data"}, command=(), init="systemd")


def test_a_node_with_groups_of_version_1_does_not_take_it() -> None:
    for version, ways in ((1, 1), (2, 0)):
        node = NodeFacts(name="n2", cgroup_version=version)
        found = [why for why in obstacles(BOX, node) if "control group" in why]
        assert len(found) == ways
        assert not [why for why in obstacles(WEB, node) if "control group" in why]


def test_a_snapshot_without_such_a_container_is_as_it_was() -> None:
    def told(ct: Descriptor) -> str:
        held = ContainerFacts("web", "serving", 1, 1, True, "-", Resources(0, 0, 0), descriptor=ct)
        return str(to_document(Cluster("c", (NodeFacts(name="n1", containers=(held,)),))))

    assert "stop_signal" not in told(WEB)
    assert "'init': 'systemd'" in told(BOX)


def test_its_descriptor_survives_its_file() -> None:
    assert TypeAdapter(Descriptor).validate_json(bundle.descriptor_json(BOX)) == BOX


# --- the kit -------------------------------------------------------------------------------------------------------


def sh(tmp_path: Path, script: str) -> str:
    prelude = f"KIT={kit.SCRIPTS}; . {kit.SCRIPTS}/lib.sh; CGROUP={tmp_path}/cgroup CONTAINERS={tmp_path}/containers; "
    done = subprocess.run(["sh", "-c", prelude + script], capture_output=True, text=True, timeout=20, check=False)
    assert done.stderr == ""
    return done.stdout


def tree(tmp_path: Path, groups: dict[str, str], delegated: bool) -> None:
    (tmp_path / "containers/box").mkdir(parents=True)
    for name, pids in groups.items():
        (tmp_path / "cgroup/ct/box" / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "cgroup/ct/box" / name / "cgroup.procs").write_text(pids)
    if delegated:
        (tmp_path / "containers/box/init").write_text("systemd\n")


def test_processes_in_groups_below_are_found_whatever_the_groups_are_called(tmp_path: Path) -> None:
    tree(tmp_path, {"": "", "init.scope": "1\n", "a b/$(reboot) *": "7\n8\n"}, delegated=True)
    assert sorted(sh(tmp_path, "pids_of box").split()) == ["1", "7", "8"]


def test_a_container_that_cannot_have_groups_below_is_asked_in_one_place(tmp_path: Path) -> None:
    tree(tmp_path, {"": "5\n6\n"}, delegated=False)
    assert sh(tmp_path, "pids_of box").split() == ["5", "6"]
    assert sh(tmp_path, "pids_of gone") == ""


def test_it_has_processes_as_long_as_the_kernel_says_so(tmp_path: Path) -> None:
    tree(tmp_path, {"": ""}, delegated=True)
    for populated, answer in (("1", "yes"), ("0", "no")):
        (tmp_path / "cgroup/ct/box/cgroup.events").write_text(f"populated {populated}\nfrozen 0\n")
        assert sh(tmp_path, "has_processes box && echo yes || echo no").strip() == answer
    assert sh(tmp_path, "has_processes gone && echo yes || echo no").strip() == "no"


@pytest.mark.parametrize("number", [2, 15, signal.SIGRTMIN + 3, signal.SIGRTMAX])
def test_a_signal_that_is_blocked_for_a_signalfd_is_heard(tmp_path: Path, number: int) -> None:
    script = f"import signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, [{number}]); print(flush=True)"
    script += "; sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        asked = f"hears {process.pid} {{}} && echo yes || echo no"
        assert sh(tmp_path, asked.format(number)).strip() == "yes"
        assert sh(tmp_path, asked.format(signal.SIGRTMIN + 4)).strip() == "no"
        process.kill()
