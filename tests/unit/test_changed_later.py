"""What a container can be given after it was made: some of it at any time, some while it is stopped."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from migrator.cli.ct_set import around_of
from migrator.errors import BadInput
from migrator.executor.asked_change import parse_asked
from migrator.executor.readdress import asks_for_ports, clash, new_ips, refuse_odd
from migrator.model.around import only_stopped
from migrator.model.container import Descriptor, fault
from migrator.model.facts import Cluster, ContainerFacts, NodeFacts, Resources
from migrator.model.nics import Nic
from migrator.model.ports import Port
from migrator.transport import kit
from tests.unit.test_bundle import WEB

MADE = replace(
    WEB,
    address="10.0.0.7/24",
    more_addresses=("fd00::7/64",),
    gateway="10.0.0.1",
    gateway6="fd00::1",
    env=("A=1", "B=two=2"),
    labels={"app": "web", "tier": "front"},
    published=(Port(8080, 80),),
)


def test_labels_and_environment_are_changed_one_by_one_and_taken_away_by_none() -> None:
    change = parse_asked(labels=("app=db", "new=x=y", "tier=none"), env=("B=none", "C=", "A=3"))
    found = change.of(MADE)
    assert found.labels == {"app": "db", "new": "x=y"}
    assert found.env == ("A=3", "C=")
    assert parse_asked(labels=("app=web",)).of(MADE) == MADE


def test_addresses_gateways_and_ports_are_the_new_list() -> None:
    found = parse_asked(ips=("10.0.1.9",), gateways=("10.0.1.1",), published=("53:53/udp",)).of(MADE)
    assert (found.address, found.more_addresses) == ("10.0.1.9/24", ())
    assert (found.gateway, found.gateway6, found.published) == ("10.0.1.1", None, (Port(53, 53, "udp"),))
    assert found.mac != MADE.mac
    assert parse_asked(ips=("10.0.0.7", "fd00::7")).of(MADE) == MADE
    bare = parse_asked(gateways=("none",), published=("none",)).of(MADE)
    assert (bare.gateways, bare.published, fault(bare)) == ((), (), "")


def test_who_starts_it_again_is_changed_and_stays_where_it_is_not_named() -> None:
    assert parse_asked(restart="always").of(MADE).restart == "always"
    assert parse_asked(labels=("a=b",)).of(replace(MADE, restart="always")).restart == "always"
    assert parse_asked().empty
    assert not parse_asked(restart="no").empty


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"labels": ("app",)}, "--label 'app': write KEY=VALUE"),
        ({"env": ("=x",)}, "--env '=x': write KEY=VALUE"),
        ({"ips": ("10.0.0.7", "10.0.0.7/16")}, "--ip 10.0.0.7: is there twice"),
        ({"ips": ("none",)}, "--ip"),
        ({"gateways": ("10.0.0.1", "10.0.0.2")}, "--gateway: a container has one for IPv4"),
        ({"gateways": ("none", "10.0.0.1")}, "--gateway"),
        ({"published": ("none", "1:1")}, "--publish 'none'"),
        ({"published": ("80",)}, "--publish '80': write"),
    ],
)
def test_what_none_can_have_is_refused_by_the_name_of_its_option(words: dict[str, tuple[str, ...]], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        parse_asked(**words)  # type: ignore[arg-type]


def test_only_a_stopped_one_takes_another_address_gateway_environment_or_port() -> None:
    assert only_stopped(MADE, parse_asked(labels=("a=b",), restart="always").of(MADE)) == ()
    assert only_stopped(MADE, parse_asked(ips=("10.0.0.8",)).of(MADE)) == ("addresses",)
    assert only_stopped(MADE, parse_asked(ips=("10.0.0.7/16", "fd00::7")).of(MADE)) == ("addresses",)
    assert only_stopped(MADE, parse_asked(gateways=("none",)).of(MADE)) == ("gateways",)
    assert only_stopped(MADE, parse_asked(env=("C=1",)).of(MADE)) == ("environment",)
    assert only_stopped(MADE, parse_asked(published=("none",)).of(MADE)) == ("ports",)


def test_what_was_not_there_to_be_taken_away_is_told() -> None:
    change = parse_asked(
        routes=("10.9.0.0/16=none",), sysctls=("net.core.somaxconn=none",), env=("A=none", "Z=none"), labels=("x=none",)
    )
    told = ["route 10.9.0.0/16", "sysctl net.core.somaxconn", "variable Z", "label x"]
    assert list(change.around.not_there(MADE)) == told


def test_rules_that_were_made_inside_are_not_taken_away_by_none() -> None:
    change = parse_asked(firewall="none")
    assert list(change.around.not_there(replace(MADE, firewall=""))) == ["rules of --firewall"]
    assert list(change.around.not_there(replace(MADE, firewall="table inet a {}"))) == []


def test_an_address_of_another_card_and_a_port_without_its_family_are_refused() -> None:
    carded = replace(MADE, nics=(Nic("eth1", "br1", ("10.1.0.7/24",)),))
    with pytest.raises(BadInput, match=r"--ip 10.1.0.7: container web has it already, on eth1"):
        refuse_odd(carded, parse_asked(ips=("10.1.0.7",)).of(carded))
    at_six = replace(MADE, published=(Port(80, 80, host_ip="2001:db8::1"),))
    with pytest.raises(BadInput, match=r"^--ip: container web: .* no address of that family"):
        refuse_odd(at_six, parse_asked(ips=("10.0.0.8",)).of(at_six))
    with pytest.raises(BadInput, match=r"^--publish: container web: 80/tcp is there twice"):
        refuse_odd(MADE, parse_asked(published=("80:1", "80:2")).of(MADE))


def on(node: str, *cts: Descriptor) -> NodeFacts:
    held = (ContainerFacts(ct.name, "stopped", 1, 1, False, "-", Resources(), descriptor=ct) for ct in cts)
    return NodeFacts(name=node, containers=tuple(held))


def test_an_address_of_another_container_is_a_clash_and_ones_own_is_none() -> None:
    moved = parse_asked(ips=("10.0.0.9", "10.0.0.7")).of(MADE)
    assert new_ips(MADE, moved) == ("10.0.0.9",)
    other = replace(MADE, name="other", address="10.0.0.9/16", more_addresses=())
    said = "10.0.0.9: container other on n2 has this address"
    assert clash(Cluster("c", (on("n1", MADE), on("n2", other))), moved, ("10.0.0.9",)) == said
    assert clash(Cluster("c", (on("n1", moved), on("n2", MADE))), moved, ("10.0.0.9",)) == ""


def test_a_node_is_asked_for_ports_where_they_or_the_way_back_are_others() -> None:
    assert not asks_for_ports(MADE, parse_asked(ips=("10.0.0.8",)).of(MADE))
    assert asks_for_ports(MADE, parse_asked(gateways=("10.0.0.2",)).of(MADE))
    assert not asks_for_ports(MADE, parse_asked(gateways=("10.0.0.2",), published=("none",)).of(MADE))


def test_values_of_the_environment_are_not_told() -> None:
    assert around_of(MADE)["env"] == ["A", "B"]


def follow(tmp_path: Path, policy: str, record: str) -> list[str]:
    """What the kit does about restarters, for a policy that was just written down."""
    (tmp_path / "web").mkdir(exist_ok=True)
    (tmp_path / "web/restart").write_text(f"{policy}\n")
    script = f"""
        KIT={kit.SCRIPTS}; . "$KIT/lib.sh"; . "$KIT/keep.sh"; . "$KIT/around.sh"
        CONTAINERS={tmp_path} DISK={tmp_path} ct=web a_restart={policy} r_run=- {record}
        write_record_new() {{ echo "armed $r_armed"; }}
        keeper_start() {{ echo "keeper starts"; }}
        keeper_end() {{ echo "keeper ends"; }}
        sync() {{ :; }}
        follow_policy
    """
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_the_kit_arms_what_is_to_run_and_ends_the_keeper_of_what_is_not(tmp_path: Path) -> None:
    assert follow(tmp_path, "always", "r_state=serving r_armed=no") == ["armed yes", "keeper starts"]
    assert follow(tmp_path, "always", "r_state=serving r_armed=yes") == ["keeper starts"]  # where it was lost
    assert follow(tmp_path, "no", "r_state=serving r_armed=yes") == ["armed no", "keeper ends"]
    assert follow(tmp_path, "always", "r_state=stopped r_armed=no") == ["keeper ends"]  # its start will arm it


@pytest.mark.parametrize("word", ["often", "always;x"])
def test_the_kit_refuses_a_policy_that_nobody_knows(tmp_path: Path, word: str) -> None:
    script = (
        f'KIT={kit.SCRIPTS}; . "$KIT/lib.sh"; . "$KIT/io.sh"; . "$KIT/around.sh"; read_around 0,0,0,0 1 0 0 - - "$0"'
    )
    assert subprocess.run(["sh", "-c", script, word], capture_output=True, check=False).returncode == 10
