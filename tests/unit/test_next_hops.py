"""Which gateways a container reaches, and what is said of one that it does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from migrator.errors import BadInput
from migrator.executor.many import numbered
from migrator.executor.readdress import refuse_odd
from migrator.executor.wanted import Wanted
from migrator.model import next_hops
from migrator.model.container import Descriptor
from migrator.model.nics import Nic

FIRST = ("10.0.0.7/24", "fd00::7/64")
MADE = Descriptor("web", "debian", "d", ("run",), "10.0.0.7/24", 256, 1, 1, 100, gateway="10.0.0.1")


def why(gateway: str, first: tuple[str, ...] = FIRST, others: tuple[str, ...] = ()) -> str:
    return next_hops.fault(first, others, (gateway,), ())[1]


@pytest.mark.parametrize(
    ("gateway", "first", "others"),
    [
        ("10.0.0.1", FIRST, ()),
        ("fd00::1", FIRST, ()),
        ("fe80::1", ("10.0.0.7/24",), ()),
        ("10.1.0.1", FIRST, ("10.1.0.7/24",)),
        ("169.254.1.1", ("10.0.0.7/32",), ()),
        ("192.0.2.1", ("10.0.0.7/32",), ("10.1.0.7/24",)),
        ("fd99::1", ("10.0.0.7/24", "fd00::7/128"), ()),
    ],
)
def test_a_neighbour_a_link_local_one_and_any_of_a_site_that_routes_are_reached(
    gateway: str, first: tuple[str, ...], others: tuple[str, ...]
) -> None:
    assert why(gateway, first, others) == ""


@pytest.mark.parametrize(
    ("gateway", "first", "said"),
    [
        ("10.9.0.1", FIRST, "in none of the container's networks (10.0.0.0/24); on a site that routes write --ip 10.0"),
        ("fd99::1", FIRST, "in none of the container's networks (fd00::/64)"),
        ("fd99::1", ("10.0.0.7/24", "fd00::7/64"), "write --ip fd00::7/128"),
        ("fd00::1", ("10.0.0.7/24",), "the container has no IPv6 address"),
        ("169.254.1.1", FIRST, "in none of"),
        ("10.0.0.7", FIRST, "is the container's own address"),
        ("0.0.0.0", FIRST, "no address of a gateway"),
        ("127.0.0.1", FIRST, "no address of a gateway"),
        ("10.0.0.255", FIRST, "no address of a gateway"),
    ],
)
def test_another_is_not_and_what_can_be_done_is_said(gateway: str, first: tuple[str, ...], said: str) -> None:
    assert said in why(gateway, first)


@pytest.mark.parametrize("more", [{"gateways": ("10.9.0.1",)}, {"routes": ("10.8.0.0/16=10.9.0.1",)}])
def test_what_is_asked_for_with_such_a_one_is_bad_input_that_names_its_option(more: dict[str, tuple[str, ...]]) -> None:
    given = {"gateways": (), "labels": (), "env": (), "memory": "1G", "cpus": 1.0, "disk": "1G", "user": None, **more}
    with pytest.raises(BadInput, match=r"--gateway 10.9.0.1: is in none|--route 10.8.0.0/16=10.9.0.1: is in none"):
        Wanted.parse(name="web", template="debian", ips=("10.0.0.7",), command=("run",), **given)  # type: ignore[arg-type]


def test_a_change_is_held_to_what_it_makes_so_and_not_to_what_was_so_before() -> None:
    odd = replace(MADE, gateway="10.9.0.1")
    refuse_odd(odd, replace(odd, hostname="other", routes=("10.8.0.0/16=10.0.0.9",)))
    refuse_odd(MADE, replace(MADE, address="10.1.0.7/24", gateway="10.1.0.1"))
    for after in (
        odd,
        replace(MADE, address="10.1.0.7/24"),
        replace(MADE, routes=("10.8.0.0/16=10.9.0.1",)),
        replace(MADE, gateway6="fd00::1"),
    ):
        with pytest.raises(BadInput, match=r"container web: --(gateway|route) "):
            refuse_odd(MADE, after)


def test_a_change_counts_all_cards() -> None:
    two = replace(MADE, nics=(Nic("eth1", "br1", ("10.1.0.7/24",)),))
    refuse_odd(two, replace(two, routes=("10.8.0.0/16=10.1.0.1",)))


def test_many_with_an_address_that_is_a_hosts_alone_are_counted_up() -> None:
    given = {
        "gateways": ("169.254.1.1",),
        "labels": (),
        "env": (),
        "memory": "1G",
        "cpus": 1.0,
        "disk": "1G",
        "user": None,
    }
    many = numbered("web", ("10.0.0.254/32",), 3, template="debian", command=("run",), **given)
    assert [each.address for each in many] == ["10.0.0.254/32", "10.0.0.255/32", "10.0.1.0/32"]


def test_a_route_to_a_network_of_one_of_its_cards_is_refused_where_a_change_makes_it_so() -> None:
    for route in ("10.1.0.0/24=10.0.0.1", "10.0.0.0/24=10.0.0.1", "fd00::/64=fd00::1"):
        option, said = next_hops.fault(FIRST, ("10.1.0.7/24",), (), (route,))
        assert option == f"--route {route}"
        assert "is the network of its own address" in said
    narrower = ("10.1.0.0/25=10.0.0.1", "10.0.0.0/8=10.0.0.1", "10.0.0.7/32=10.0.0.1")
    assert next_hops.fault(FIRST, ("10.1.0.7/24", "10.0.0.8/32"), (), narrower) == ("", "")
    two = replace(MADE, nics=(Nic("eth1", "br1", ("10.1.0.7/24",)),))
    routed = replace(two, routes=("10.1.0.0/24=10.0.0.1",))
    assert next_hops.changed_fault(two, routed)[0] == "--route 10.1.0.0/24=10.0.0.1"
    assert next_hops.changed_fault(routed, replace(routed, memory_bytes=1)) == ("", "")
