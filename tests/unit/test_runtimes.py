"""The kit's words for a runtime, as crun and CRIU are told them."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from migrator.checker.check import check
from migrator.checker.findings import Code
from migrator.inventory import snapshot
from migrator.model.plan import Plan, Refusal
from migrator.model.plan_policy import PlanPolicy
from migrator.planner.drain import drain
from migrator.runtime import bundle
from tests.properties.fleets import cluster, ct, node
from tests.unit.test_bundle import WEB

KIT = Path(bundle.__file__).parent / "kit"


@pytest.fixture
def crun(tmp_path: Path):
    """Runs the kit's crun over one that tells its words; returns them, and CRIU's settings."""
    fake = tmp_path / "bin" / "crun"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    fake.chmod(0o755)
    (tmp_path / "move").mkdir()
    work = str(tmp_path / "move" / "work")

    def run(*words: str) -> tuple[list[str], list[str]]:
        env = {"PATH": f"{fake.parent}:{os.environ['PATH']}"}
        said = subprocess.run(
            ["sh", KIT / "crun", *(word.replace("WORK", work) for word in words)],
            env=env,
            capture_output=True,
            text=True,
            check=True,
        )
        settings = tmp_path / "move" / "crun.conf"
        told = settings.read_text().splitlines() if settings.exists() else []
        return [word.replace(work, "WORK") for word in said.stdout.splitlines()], told

    return run


FRONT = ["--root", "/run/migrator/runc", "--cgroup-manager", "cgroupfs"]


def test_what_both_have_words_for_goes_on_as_it_is(crun) -> None:
    assert crun("run", "--detach", "--bundle", "/b b", "web") == (
        [*FRONT, "run", "--detach", "--bundle", "/b b", "web"],
        [],
    )
    assert crun("kill", "web", "TERM") == ([*FRONT, "kill", "web", "TERM"], [])


def test_a_dump_whose_pages_are_served_is_told_to_criu(crun) -> None:
    words = ("--tcp-established", "--work-path", "WORK", "--lazy-pages", "--page-server", "127.0.0.1:27", "--status-fd")
    argv, settings = crun("checkpoint", *words, "7", "web")
    ignore = "--manage-cgroups-mode=ignore"
    assert argv == [*FRONT, "checkpoint", ignore, "--tcp-established", "--work-path", "WORK", "web"]
    assert {"lazy-pages", "port 27", "status-fd 7", "external mnt[/dev/null]:null", "empty-ns net"} <= set(settings)
    assert "page-server" not in settings
    assert settings[0].endswith("/crun-hook")


def test_a_round_of_pre_copy_is_sent_to_a_page_server(crun) -> None:
    _, settings = crun("checkpoint", "--pre-dump", "--work-path", "WORK", "--page-server", "127.0.0.1:27", "web")
    assert {"page-server", "address 127.0.0.1", "port 27"} <= set(settings)
    assert "lazy-pages" not in settings


def test_a_restore_takes_the_devices_of_its_own_node(crun) -> None:
    argv, settings = crun("restore", "--detach", "--lazy-pages", "--work-path", "WORK", "web.rehearsal")
    assert argv[-4:] == ["--detach", "--work-path", "WORK", "web.rehearsal"]
    assert {"lazy-pages", "external mnt[null]:/dev/null"} <= set(settings)


@pytest.mark.parametrize("verb", ["checkpoint", "restore"])
def test_a_dump_leaves_it_to_criu_what_is_hidden_and_tells_it_what_was_found_of_the_container(
    tmp_path: Path, verb: str
) -> None:
    for name, data in bundle.files(replace(WEB, runtime="crun"), "/kit", "br0", ()).items():
        (tmp_path / "web").mkdir(exist_ok=True)
        (tmp_path / "web" / name).write_bytes(data)
    more = "ghost-limit 7\naction-script /kit/criu-hook\nirmap-scan-path /etc/x\n"  # as tell_criu writes it
    more += "irmap-scan-path /tmp/x\\naction-script\\040/e/f\nghost-limit 8 9\n"  # and as no honest one would
    (tmp_path / "web/criu.conf").write_text(more)
    before = json.loads((tmp_path / "web/config.json").read_text())
    script = (KIT / "crun").read_text().replace("ROOT=/run/migrator/runc", f"ROOT={tmp_path}")
    script = script.replace("CONTAINERS=/var/lib/migrator/containers", f"CONTAINERS={tmp_path}")
    (tmp_path / "crun").write_text("#!/bin/sh\n")
    (tmp_path / "crun").chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    words = [verb, "--work-path", f"{tmp_path}/work", "web"]
    subprocess.run(["sh", "-c", script, "crun", *words], env=env, check=True)
    after = json.loads((tmp_path / "web/config.json").read_text())
    assert after["linux"]["maskedPaths"] == ([] if verb == "checkpoint" else before["linux"]["maskedPaths"])
    told = (tmp_path / "crun.conf").read_text().splitlines()
    assert ({"ghost-limit 7", "irmap-scan-path /etc/x"} <= set(told)) == (verb == "checkpoint")
    assert [line for line in told if line.startswith("action-script")] == [told[0]]
    assert not [line for line in told if "/tmp/x" in line or "8 9" in line]
    after["linux"]["maskedPaths"] = before["linux"]["maskedPaths"]
    assert after == before


def by_crun(name: str):
    made = ct(name)
    assert made.descriptor is not None
    return replace(made, descriptor=replace(made.descriptor, runtime="crun"))


def test_a_container_of_crun_goes_to_nodes_with_crun_alone_and_no_waiver_lifts_that() -> None:
    has, bare = node("n2", features=("crun", "timens", "userns")), node("n3")
    source = node("n1", by_crun("a"), ct("b"))
    made = drain(cluster(source, has, bare), ["n1"], "-", PlanPolicy())
    assert isinstance(made, Plan)
    assert made.move("a").target == "n2"
    assert check(cluster(source, has, bare), made, made.policy) == ()
    wrong = replace(made, moves=tuple(replace(move, target="n3") for move in made.moves))
    assert Code.INCOMPATIBLE in {finding.code for finding in check(cluster(source, has, bare), wrong, wrong.policy)}
    refused = drain(cluster(source, bare), ["n1"], "-", PlanPolicy(checks_waived=("kernel-features",)))
    assert isinstance(refused, Refusal)
    assert [stuck.container for stuck in refused.containers] == ["a"]
    assert "crun, which the container is made by, is not there" in refused.containers[0].reasons[0].text


def test_only_a_container_of_another_runtime_has_a_file_and_a_word_of_it(tmp_path: Path) -> None:
    assert "runtime" not in bundle.files(WEB, "/kit", "br0", ())
    assert bundle.files(replace(WEB, runtime="crun"), "/kit", "br0", ())["runtime"] == b"crun\n"
    for made, there in ((ct("a"), False), (by_crun("a"), True)):
        fleet = cluster(node("n1", made))
        snapshot.save(fleet, tmp_path / "facts.json")
        assert ('"runtime"' in (tmp_path / "facts.json").read_text()) == there
        assert snapshot.load(tmp_path / "facts.json") == fleet
