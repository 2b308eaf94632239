"""A container's addresses: as they are asked for, written down for its nodes, read again, and found in a check."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
from pydantic import TypeAdapter

from migrator.errors import BadInput
from migrator.model.container import Descriptor, fault
from migrator.model.facts import ContainerFacts, NodeFacts, Resources
from migrator.model.policy import Policy
from migrator.model.rates import DEFAULT_RATES
from migrator.protocol.checks import Answered, Neighbour, findings
from migrator.runtime import bundle
from tests.unit.test_bundle import WEB
from tests.unit.test_injection import wanted

BOTH = replace(WEB, more_addresses=("fd00::7/64", "10.0.0.8/24"), gateway="10.0.0.1", gateway6="fe80::1")


def test_a_descriptor_written_before_there_were_several_addresses_is_read() -> None:
    old = {key: value for key, value in asdict(WEB).items() if key not in ("more_addresses", "gateway6")}
    assert TypeAdapter(Descriptor).validate_json(json.dumps(old)) == WEB


def test_the_mac_does_not_change_with_further_addresses() -> None:
    assert BOTH.mac == WEB.mac


def test_a_node_is_told_every_address_and_both_gateways() -> None:
    lines = bundle.net_file(BOTH, "br0").decode().splitlines()
    assert [line.partition(" ")[2] for line in lines if line.startswith("address ")] == list(BOTH.addresses)
    assert lines[-2:] == ["gateway 10.0.0.1", "gateway fe80::1"]


def test_addresses_are_written_in_one_way_and_get_the_usual_prefix() -> None:
    asked = wanted(ips=("10.0.0.7", "FD00:0::7", "fd00::0:8/112"), gateways=("fe80::1", "10.0.0.1"))
    assert asked.addresses == ("10.0.0.7/24", "fd00::7/64", "fd00::8/112")
    assert (asked.gateway, asked.gateway6) == ("10.0.0.1", "fe80::1")


@pytest.mark.parametrize(
    "ips",
    [
        (),
        ("::1",),
        ("ff02::1",),
        ("fe80::1",),  # every network has its own
        ("fe80::1%eth0",),
        ("fd00::/64",),  # all routers'
        ("::ffff:10.0.0.7",),
        ("fd00::7/129",),
        ("10.0.0.255",),
        ("fd00::7", "fd00:0::7/48"),
        tuple(f"fd00::{number}" for number in range(1, 18)),
    ],
)
def test_what_is_no_address_of_one_container_is_refused(ips: tuple[str, ...]) -> None:
    with pytest.raises(BadInput, match="--ip"):
        wanted(ips=ips)


def test_two_gateways_of_one_family_are_refused() -> None:
    with pytest.raises(BadInput, match="--gateway"):
        wanted(gateways=("10.0.0.1", "10.0.0.2"))


@pytest.mark.parametrize(
    "lie",
    [
        {"more_addresses": ("fd00::7/64\nveth eth0",)},
        {"more_addresses": ("FD00::7/64",)},
        {"more_addresses": ("fd00::7",)},
        {"more_addresses": ("10.0.0.7/16",)},  # which it has already
        {"gateway": "fe80::1"},
        {"gateway6": "10.0.0.1"},
        {"gateway6": "fe80::1%eth0"},
    ],
)
def test_a_description_that_is_not_possible_is_known_by_its_field(lie: dict[str, object]) -> None:
    assert fault(replace(WEB, **lie)) == next(iter(lie))  # type: ignore[arg-type]
    assert fault(BOTH) == ""


def against(answered: dict[str, Answered], routed: bool = False) -> list[str]:
    """The findings about the network of a move that nothing else is against."""
    container = ContainerFacts("web", "serving", 1, 1, True, "-", Resources(), descriptor=BOTH)
    common = {"bridges": ("br0",), "criu": "4.2", "runc": "1.3", "rsync": "3.4", "inodes_available": 10**9}
    room = {"memory_available_bytes": 1 << 40, "disk_available_bytes": 1 << 40, "memory_bytes": 1 << 40}
    source, target = (NodeFacts(name, **common, **room) for name in ("n1", "n2"))  # type: ignore[arg-type]
    seen = Neighbour({ip: Answered((WEB.mac,)) for ip in BOTH.ips} | answered, criu_works=True)
    return findings(
        BOTH, replace(source, containers=(container,)), target, seen, Policy(), DEFAULT_RATES["stream"], routed
    )


def test_a_container_that_answers_for_all_its_addresses_may_move() -> None:
    assert against({}) == []


def test_one_address_that_another_machine_has_too_is_enough_to_stay() -> None:
    found = against({"fd00::7": Answered((WEB.mac, "02:00:00:00:00:09"))})
    assert found == ["address fd00::7 is also used by 02:00:00:00:00:09; find that machine"]


def test_an_address_that_answers_at_home_alone_shows_that_the_network_is_not_shared() -> None:
    (found,) = against({"fd00::7": Answered((), at_source=True)})
    assert "address fd00::7 answers on n1's bridge br0 and not on n2's bridge br0" in found
    assert "network: routed" in found


def test_an_address_that_answers_nowhere_is_not_taken_for_a_parted_network() -> None:
    (found,) = against({"10.0.0.8": Answered(())})
    assert "10.0.0.8 does not answer on n2's bridge br0, nor on n1's own" in found
    assert "ct exec web -- ip address" in found


def test_a_node_that_cannot_ask_says_why() -> None:
    (found,) = against({"fd00::7": Answered((), at_source=True, blind="IPv6 is off on bridge br0")})
    assert "nobody can be asked who has address fd00::7: IPv6 is off on bridge br0 of n2" in found


def test_a_routed_site_needs_no_answer_and_still_finds_another_machine() -> None:
    silent = {ip: Answered(()) for ip in BOTH.ips}
    assert against(silent, routed=True) == []
    assert len(against(silent | {"10.0.0.8": Answered(("02:00:00:00:00:09",))}, routed=True)) == 1
