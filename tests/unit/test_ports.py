"""Published ports: what is asked for, what a node is told, and what is said of their connections."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from migrator.checker.check import check
from migrator.errors import BadInput
from migrator.inventory import snapshot
from migrator.model.compatibility import obstacles
from migrator.model.container import Descriptor, fault
from migrator.model.facts import Cluster, ContainerFacts, NodeFacts, Resources
from migrator.model.nics import Nic
from migrator.model.plan import Plan, Refusal
from migrator.model.plan_policy import PlanPolicy
from migrator.model.policy import Policy
from migrator.model.ports import Port, lost, parse, words
from migrator.model.ports import fault as fault_of
from migrator.model.rates import DEFAULT_RATES
from migrator.planner.drain import drain
from migrator.planner.moves import move as by_name
from migrator.protocol.checks import Answered, Neighbour, findings
from migrator.runtime import bundle
from tests.properties.fleets import cluster, ct, node
from tests.unit.test_bundle import WEB
from tests.unit.test_injection import wanted

KIT = Path(bundle.__file__).parent / "kit"
HTTP, DNS = Port(8080, 80), Port(53, 5353, "udp", "192.0.2.1")
SIX = Port(8443, 443, "tcp", "2001:db8::1")
OPEN = replace(WEB, more_addresses=("fd00::7/64",), published=(HTTP, DNS, SIX), gateway="10.0.0.1")


@pytest.mark.parametrize("port", OPEN.published)
def test_a_port_is_told_as_it_is_asked_for(port: Port) -> None:
    assert parse(str(port)) == port


def test_a_port_is_asked_for_by_the_nodes_and_the_containers_own() -> None:
    asked = wanted(published=("8080:80", "192.0.2.1:53:5353/udp"))
    assert asked.published == (HTTP, DNS)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("8080",), "write [HOSTIP:]PORT:CTPORT"),
        (("0:80",), "from 1 to 65535"),
        (("8080:65536",), "from 1 to 65535"),
        (("99999:80",), "from 1 to 65535"),
        (("8080:80/sctp",), "write [HOSTIP:]PORT:CTPORT"),
        (("1.2.3:8080:80",), "1.2.3"),
        (("[fd00::1]:8080:80",), "no address of that family"),
        (("8080:80", "192.0.2.1:8080:81"), "192.0.2.1:8080/tcp is there twice"),
        (("0.0.0.0:8080:80", "192.0.2.1:8080:81"), "192.0.2.1:8080/tcp is there twice"),
        (tuple(f"{number}:80" for number in range(1, 66)), "at most 64 ports"),
    ],
)
def test_what_is_no_port_is_refused_with_its_option(given: tuple[str, ...], said: str) -> None:
    with pytest.raises(BadInput, match="--publish") as refused:
        wanted(published=given)
    assert said in str(refused.value)


def test_a_description_from_elsewhere_with_one_that_cannot_be_is_not_believed() -> None:
    assert fault(OPEN) == ""
    for wrong in (Port(0, 80), Port(80, 70_000), Port(80, 80, "tcp", "x\nveth eth0"), Port(80, 80, "tcp", "fd00::1")):
        assert fault(replace(WEB, published=(wrong,))) == "published"


def lines(ct: Descriptor) -> list[str]:
    return [line for line in bundle.net_file(ct, "br0").decode().splitlines() if line.startswith("port ")]


def test_a_node_is_told_each_port_in_each_family_that_it_is_in() -> None:
    assert lines(WEB) == []
    assert lines(OPEN) == [
        "port tcp,-,8080,10.0.0.7,80,10.0.0.0/24",
        "port tcp,-,8080,fd00::7,80,fd00::/64",
        "port udp,192.0.2.1,53,10.0.0.7,5353,10.0.0.0/24",
        "port tcp,2001:db8::1,8443,fd00::7,443,fd00::/64",
    ]


def test_who_is_on_the_network_of_another_card_is_not_answered_past_the_node() -> None:
    cards = (Nic("eth1", "br1", ("10.1.0.7/24", "10.0.0.200/25", "fd01::7/64")),)
    assert lines(replace(OPEN, published=(HTTP,), nics=cards)) == [
        "port tcp,-,8080,10.0.0.7,80,10.0.0.0/24,10.1.0.0/24",
        "port tcp,-,8080,fd00::7,80,fd00::/64,fd01::/64",
    ]


def test_all_addresses_of_one_family_are_told_as_such() -> None:
    every = replace(OPEN, published=(Port(80, 80, "tcp", "0.0.0.0"), Port(80, 81, "tcp", "::")))
    assert lines(every) == ["port tcp,-,80,10.0.0.7,80,10.0.0.0/24", "port tcp,-,80,fd00::7,81,fd00::/64"]
    assert words(every.published) == ["tcp,-,80", "tcp,-,80"]


def test_the_kit_makes_rules_of_them(tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "net").write_bytes(bundle.net_file(OPEN, "br0"))
    script = f"CONTAINERS={tmp_path}; . {KIT}/ports.sh; . {KIT}/gate.sh; read_net web; nft() {{ cat; }}; publish web"
    rules = subprocess.run(["sh", "-euc", script], capture_output=True, text=True, check=True).stdout
    for rule in (
        "delete table inet migrator-ports-web",
        "meta nfproto ipv4 tcp dport 8080 dnat ip to 10.0.0.7:80",
        "meta nfproto ipv6 tcp dport 8080 dnat ip6 to [fd00::7]:80",
        "ip daddr 192.0.2.1 udp dport 53 dnat ip to 10.0.0.7:5353",
        "ip6 daddr 2001:db8::1 tcp dport 8443 dnat ip6 to [fd00::7]:443",
        "ct status dnat ip saddr { 10.0.0.0/24 } ip daddr 10.0.0.7 tcp dport 80 masquerade",
    ):
        assert rule in rules.splitlines()


def of(ct: Descriptor) -> ContainerFacts:
    return ContainerFacts(ct.name, "serving", 1, 1, True, "-", Resources(), descriptor=ct)


NODE = NodeFacts(name="n2", bridges=("br0",), memory_available_bytes=1 << 40, disk_available_bytes=1 << 40)


def test_a_port_that_another_container_of_the_target_has_published_is_in_the_way() -> None:
    other = replace(WEB, name="other", id_index=30, published=(replace(HTTP, host_ip="192.0.2.9", inside=81),))
    (why,) = obstacles(OPEN, replace(NODE, containers=(of(other),)))
    assert why == "container other has published port 192.0.2.9:8080/tcp; free it, or choose another node"
    assert list(obstacles(replace(OPEN, published=(DNS,)), replace(NODE, containers=(of(other),)))) == []


HOSTS = ("", "0.0.0.0", "::", "192.0.2.1", "192.0.2.2", "2001:db8::1")
TOGETHER = [  # all other pairs of these meet
    ("0.0.0.0", "::"),
    ("0.0.0.0", "2001:db8::1"),
    ("::", "192.0.2.1"),
    ("::", "192.0.2.2"),
    ("192.0.2.1", "192.0.2.2"),
    ("192.0.2.1", "2001:db8::1"),
    ("192.0.2.2", "2001:db8::1"),
]
POLICY = PlanPolicy(headroom_percent=0)


def publishing(container: ContainerFacts, *ports: Port) -> ContainerFacts:
    assert container.descriptor is not None
    return replace(container, descriptor=replace(container.descriptor, published=ports))


@pytest.mark.parametrize("one", HOSTS)
@pytest.mark.parametrize("two", HOSTS)
def test_one_port_may_be_published_twice_at_two_addresses_and_not_at_one_or_all(one: str, two: str) -> None:
    ports = Port(80, 80, "tcp", one), Port(80, 80, "tcp", two)
    meet = (one, two) not in TOGETHER and (two, one) not in TOGETHER
    assert ports[0].meets(ports[1]) == meet
    assert not ports[0].meets(replace(ports[1], protocol="udp"))
    assert not ports[0].meets(replace(ports[1], port=81))
    assert bool(fault_of(ports, ("10.0.0.7/24", "fd00::7/64"))) == meet
    a, b = ct("a"), ct("b")
    planned = [drain(each, ("n1",), "-", POLICY) for each in apart_or_not(a, b)]
    fleets = apart_or_not(publishing(a, ports[0]), publishing(b, ports[1]))
    for fleet, plan in zip(fleets, planned, strict=True):
        assert isinstance(plan, Plan)
        assert bool(check(fleet, plan, POLICY)) == meet
        assert isinstance(drain(fleet, ("n1",), "-", POLICY), Refusal if meet else Plan)


def apart_or_not(a: ContainerFacts, b: ContainerFacts) -> tuple[Cluster, Cluster]:
    """One is there when the other comes; or both come."""
    return cluster(node("n1", a), node("n2", b)), cluster(node("n1", a, b), node("n2"))


def test_who_comes_where_its_port_is_published_waits_until_the_other_has_left() -> None:
    fleet = cluster(node("n1", publishing(ct("a"), HTTP)), node("n2", publishing(ct("b"), HTTP)), node("n3"))
    plan = by_name(fleet, {"a": "n2", "b": "n3"}, "-", POLICY, "move a=n2 b=n3")
    assert isinstance(plan, Plan)
    assert plan.move("a").waits_for == ("b",)
    assert not check(fleet, plan, POLICY)
    assert isinstance(by_name(fleet, {"a": "n3", "b": "n3"}, "-", POLICY, "move a=n3 b=n3"), Refusal)


def test_only_a_container_with_published_ports_may_go_to_a_network_that_is_not_shared() -> None:
    source = replace(NODE, name="n1", containers=(of(OPEN),))
    for one, refused in ((replace(OPEN, published=()), True), (OPEN, False)):
        silent = Neighbour({ip: Answered((), at_source=True) for ip in one.ips}, True)
        found = findings(one, source, NODE, silent, Policy(), DEFAULT_RATES["stream"])
        assert any(why.startswith("address") for why in found) == refused
    taken = Neighbour({ip: Answered(("02:00:00:00:00:09",)) for ip in OPEN.ips}, True)
    found = findings(OPEN, source, NODE, taken, Policy(), DEFAULT_RATES["stream"])
    assert "address 10.0.0.7 is also used by 02:00:00:00:00:09; find that machine" in found


def test_what_does_not_move_with_them_is_said() -> None:
    assert lost((), "n2") == ""
    assert lost(OPEN.published, "n2") == (
        "connections through its published ports (8080, 53, 8443) end: address translation is its node's, and stays "
        "there; clients find it at n2"
    )


def test_a_snapshot_keeps_them(tmp_path: Path) -> None:
    cluster = Cluster("c", (replace(NODE, containers=(of(OPEN),)),))
    snapshot.save(cluster, tmp_path / "facts")
    assert snapshot.load(tmp_path / "facts") == cluster
