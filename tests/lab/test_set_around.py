"""What surrounds a container changed with its limits: at once and kept, over a move, and refused where it cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.lab.stage import Stage
from tests.lab.test_set import described, row

RULES = "table inet site {{\n chain in {{\n  type filter hook input priority 0;\n  tcp dport {port} drop\n }}\n}}\n"


def rules(folder: Path, port: int) -> str:
    path = folder / f"{port}.nft"
    path.write_text(RULES.format(port=port))
    return str(path)


def inside(stage: Stage, node: str, *command: str) -> str:
    """What a command of the node's own says in the container's network and names."""
    enter = 'exec nsenter --net="/proc/$0/ns/net" --uts="/proc/$0/ns/uts" "$@"'
    group = "$(head -n 1 /sys/fs/cgroup/ct/web/cgroup.procs)"
    return stage.on_node(node, "sh", "-c", f'p={group}; sh -c \'{enter}\' "$p" "$@"', "sh", *command).out


def seen(stage: Stage, node: str) -> dict[str, str]:
    return {
        "hostname": inside(stage, node, "hostname").strip(),
        "route": inside(stage, node, "ip", "route", "show", "10.8.0.0/16").strip(),
        "sysctl": inside(stage, node, "cat", "/proc/sys/net/core/somaxconn").strip(),
        "rules": "\n".join(line.strip() for line in inside(stage, node, "nft", "list", "ruleset").splitlines()),
    }


def change(stage: Stage, *words: str) -> Any:
    return stage.ok("ct", "set", "web", *words, "--json").json()


@pytest.fixture
def web(tidy: Stage) -> str:
    return tidy.counter("web", "n1", 1, more=("--nameserver", "10.0.0.1"))


def test_what_surrounds_it_is_changed_while_it_runs_and_goes_along(tidy: Stage, web: str, tmp_path: Path) -> None:
    via = tidy.ip(9).partition("/")[0]
    tidy.ok("ct", "exec", "web", "--", "sh", "-c", "echo web > /etc/hostname")
    words = ("--hostname", "web.example.org", "--route", f"10.8.0.0/16={via}", "--sysctl", "net.core.somaxconn=77")
    done = change(tidy, *words, "--firewall", rules(tmp_path, 4321), "--nameserver", "10.0.0.2", "--memory", "300M")
    assert (done["running"], done["around"]["hostname"], done["limits"]["memory_bytes"]) == (
        True,
        "web.example.org",
        300 << 20,
    )
    here = seen(tidy, "n1")
    assert (here["hostname"], here["sysctl"], f"via {via}" in here["route"]) == ("web.example.org", "77", True)
    assert "tcp dport 4321 drop" in here["rules"]
    assert tidy.ok("ct", "exec", "web", "--", "cat", "/etc/resolv.conf").out == "nameserver 10.0.0.2\n"
    assert tidy.ok("ct", "exec", "web", "--", "cat", "/etc/hostname").out == "web.example.org\n"

    tidy.ok("migrate", "web", "--to", "n2")
    assert seen(tidy, "n2") == here
    change(tidy, "--route", "10.8.0.0/16=none", "--firewall", rules(tmp_path, 4322), "--hostname", "none")
    there = seen(tidy, "n2")
    assert (there["hostname"], there["route"]) == ("web", "")
    assert tidy.ok("ct", "exec", "web", "--", "cat", "/etc/hostname").out == "web\n"
    assert ("4322" in there["rules"], "4321" in there["rules"]) == (True, False)
    change(tidy, "--memory", "256M")  # a limit alone leaves rules as they are, also those of the container's own root
    assert seen(tidy, "n2") == there
    tidy.ok("ct", "stop", "web", "--grace", "0")
    tidy.ok("ct", "start", "web")
    assert seen(tidy, "n2") == there


def test_what_a_running_one_cannot_take_is_refused_and_taken_when_it_is_stopped(tidy: Stage, web: str) -> None:
    change(tidy, "--sysctl", "net.core.somaxconn=77")
    before = described(tidy, "n1")
    for words, said in (
        (("--device", "tun"), "its devices are changed only while it is stopped"),
        (("--nameserver", "none"), "whether it has a resolv.conf of ours is changed only while it is stopped"),
        (("--sysctl", "net.core.somaxconn=none"), "a sysctl is taken away only while it is stopped"),
        (("--ip", tidy.ip(8)), "its addresses are changed only while it is stopped"),
        (("--env", "STAGE=test"), "its environment is changed only while it is stopped"),
    ):
        refused = tidy.migrator("ct", "set", "web", *words, "--memory", "300M")
        assert (refused.code, said in refused.err, "migrator ct stop web" in refused.err) == (3, True, True), (
            refused.err
        )
    assert described(tidy, "n1") == before
    tidy.ok("ct", "stop", "web", "--grace", "0")
    change(tidy, "--device", "tun", "--nameserver", "none", "--sysctl", "net.core.somaxconn=none")
    owned = tidy.migrator("ct", "set", "web", "--ip", tidy.ip(-88))  # the other node
    assert (owned.code, "something on the network answers for this address already" in owned.err) == (3, True)
    change(tidy, "--ip", tidy.ip(8), "--env", "STAGE=test", "--restart", "always", "--label", "app=web")
    tidy.ok("ct", "start", "web")
    told = row(tidy)
    assert (told["addresses"], told["keeper"], told["labels"]) == ([f"{tidy.ip(8)}/24"], "watching", {"app": "web"})
    look = ("sh", "-c", "stat -c %t:%T /dev/net/tun; ip -o -4 address show eth0; tr '\\0' '\\n' < /proc/1/environ")
    found = tidy.ok("ct", "exec", "web", "--", *look).out
    assert (found.splitlines()[0], tidy.ip(8) in found, "STAGE=test" in found) == ("a:c8", True, True)
    change(tidy, "--restart", "no")
    assert row(tidy)["keeper"] == ""


def test_wrong_rules_and_a_disk_that_cannot_be_limited_change_nothing(tidy: Stage, web: str, tmp_path: Path) -> None:
    before, here = described(tidy, "n1"), seen(tidy, "n1")
    (tmp_path / "wrong.nft").write_text("table inet site { what }\n")
    wrong = tidy.migrator("ct", "set", "web", "--firewall", str(tmp_path / "wrong.nft"), "--hostname", "other")
    assert (wrong.code, "--firewall: n1 says of it:" in wrong.err) == (2, True), wrong.err
    limited = tidy.migrator("ct", "set", "web", "--io", "write=1M", "--hostname", "other")
    if limited.code != 0:  # a lab's nodes have no such controller
        assert (limited.code, "--io: node n1 cannot limit it" in limited.err) == (3, True), limited.err
        assert (described(tidy, "n1"), seen(tidy, "n1")) == (before, here)


def test_rules_set_during_a_move_are_there_where_it_ends(tidy: Stage, web: str, tmp_path: Path) -> None:
    assert tidy.kill_at("web", "n2", "committed:end") == -9
    run = tidy.ok("runs", "--json").json()["runs"][0]["run"]
    waiting = tidy.start("ct", "set", "web", "--firewall", rules(tmp_path, 4321))
    assert waiting.stderr is not None
    assert "waiting for its end" in waiting.stderr.readline()
    tidy.ok("resume", run)
    out, err = waiting.communicate(timeout=60)
    assert waiting.returncode == 0, (out, err)
    assert "tcp dport 4321 drop" in seen(tidy, "n2")["rules"]
