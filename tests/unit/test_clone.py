"""What a clone is of its source, and what of a source no second container may have."""

from __future__ import annotations

import struct
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from migrator.model import clone
from migrator.model.container import Descriptor
from migrator.model.facts import ContainerFacts, NodeFacts, Resources
from migrator.model.nics import Nic
from migrator.model.nics import parse as parse_nic
from migrator.model.ports import parse
from migrator.model.volume import Volume
from migrator.runtime.kit import twin_images

MIB = 1 << 20
WEB = Descriptor(
    name="web",
    template="debian",
    template_digest="d",
    command=("run",),
    address="10.0.0.7/24",
    more_addresses=("fd00::7/64",),
    gateway="10.0.0.1",
    id_index=20,
    memory_bytes=256 * MIB,
    cpu_milli=1000,
    disk_bytes=MIB,
    hostname="web.example.org",
    labels={"tier": "front"},
    sysctls=("net.ipv4.ip_forward=1",),
)


def test_a_clone_is_its_source_but_for_what_makes_a_container_this_one() -> None:
    twin = clone.descriptor_of(WEB, "twin", ("10.0.0.8/24", "fd00::8/64"), 21, None)
    assert twin == replace(
        WEB, name="twin", address="10.0.0.8/24", more_addresses=("fd00::8/64",), id_index=21, hostname=None
    )
    assert (twin.mac != WEB.mac, twin.id_base != WEB.id_base, twin.veth != WEB.veth) == (True, True, True)


CARDS = (Nic("eth1", "br1", ("10.1.0.7/24",), "02:00:00:00:00:07"),)


def test_a_clone_has_other_macs_on_all_its_cards_and_publishes_nothing() -> None:
    source = replace(WEB, nics=CARDS, published=(parse("8080:80"),))
    moved = (Nic("eth1", "br1", ("10.1.0.8/24",)),)
    twin = clone.descriptor_of(source, "twin", ("10.0.0.8/24",), 21, None, moved)
    assert twin.published == ()
    assert not {card.mac for card in twin.cards} & {card.mac for card in source.cards}


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ("eth1=br1,10.1.0.8/24", ""),
        ("eth2=br1,10.1.0.8/24", "has no card eth2 beside its first; it has: eth1"),
        ("eth1=br2,10.1.0.8/24", "card eth1 of web is on bridge br1, and so is its clone's"),
    ],
)
def test_cards_of_a_clone_are_those_of_its_source(asked: str, why: str) -> None:
    told = clone.no_such_card(replace(WEB, nics=CARDS), (parse_nic(asked),))
    assert (why in told, bool(told)) == (True, bool(why))


def test_no_twin_is_made_of_what_does_not_run_or_where_no_images_can_be_made_its_own() -> None:
    node = NodeFacts("n1", memory_available_bytes=1 << 40)
    source = ContainerFacts("web", "serving", 1, 1, True, "-", Resources())
    assert clone.no_twin(source, node) == ""
    assert "does not run" in clone.no_twin(replace(source, alive=False), node)
    assert "Python is too old" in clone.no_twin(source, replace(node, stream_in="Python is too old"))


def test_a_volume_that_both_would_write_to_needs_a_word_and_one_that_is_read_does_not() -> None:
    source = replace(WEB, volumes=(Volume("data", "/srv/data"), Volume("docs", "/srv/docs", read_only=True)))
    twin = clone.descriptor_of(source, "twin", ("10.0.0.8/24",), 21, None)
    (why,) = clone.shared(source, twin, ())
    assert "volume data" in why and "--share-volume data" in why
    assert list(clone.shared(source, twin, ("data",))) == []
    assert clone.no_such_volumes(source, ("data", "logs")) == ["logs"]


def test_an_address_of_the_source_is_no_address_for_its_clone() -> None:
    twin = clone.descriptor_of(WEB, "twin", ("10.0.0.8/24", "fd00::7/64"), 21, None)
    (why,) = clone.shared(WEB, twin, ())
    assert "address fd00::7 is the source's" in why


def test_a_twin_needs_memory_for_itself_and_for_its_images() -> None:
    source = ContainerFacts("web", "serving", 1, 1, True, "-", Resources(), rss_bytes=300 * MIB)
    assert clone.beyond_memory(source, NodeFacts("n1", memory_available_bytes=856 * MIB)) == ""
    why = clone.beyond_memory(source, NodeFacts("n1", memory_available_bytes=855 * MIB))
    assert "needs 856.0 MiB of memory on n1; 855.0 MiB are free" in why


def test_free_addresses_are_looked_for_from_the_sources_on_and_then_from_the_beginning() -> None:
    assert list(islice(clone.next_free("10.0.0.253/24", {"10.0.0.254", "10.0.0.1"}), 3)) == [
        "10.0.0.2/24",
        "10.0.0.3/24",
        "10.0.0.4/24",
    ]
    assert next(clone.next_free("fd00::7/64", {"fd00::8"})) == "fd00::9/64"
    assert list(clone.next_free("10.0.0.1/30", {"10.0.0.2"})) == []
    assert list(clone.next_free("10.0.0.0/31", set())) == ["10.0.0.1/31"]


def test_a_socket_that_a_twin_could_not_have_is_named_with_its_process() -> None:
    (why,) = clone.bound(["tcp 10.0.0.7:80 12 nginx"])
    assert why.startswith("process 12 (nginx) has a tcp socket at 10.0.0.7:80")
    with pytest.raises(ValueError, match="where a socket should be"):
        clone.bound(["tcp 10.0.0.7:80 12 \x1b[2J"])


def test_what_its_root_made_in_its_network_is_refused_but_rules_which_go_along() -> None:
    (why,) = clone.made_inside(["nft table inet filter", "route 10.9.0.0/16 via 10.0.0.9"])
    assert "route 10.9.0.0/16" in why


def _image(*entries: bytes) -> bytes:
    return b"magicand" + b"".join(struct.pack("<I", len(entry)) + entry for entry in entries)


def _text(number: int, value: bytes) -> tuple[int, int, int | bytes]:
    return (number, twin_images.BYTES, value)


def _number(number: int, value: int) -> tuple[int, int, int | bytes]:
    return (number, twin_images.VARINT, value)


def test_images_of_one_container_become_those_of_another_and_nothing_else_in_them_changes(tmp_path: Path) -> None:
    message = twin_images.message

    def extent(lower: int) -> bytes:
        return message([_number(1, 0), _number(2, lower), _number(3, 65536)])

    def userns(lower: int) -> bytes:
        return message([_text(1, extent(lower)), _text(2, extent(lower))])

    def cgroup(lower: int, name: bytes) -> bytes:
        path = b"/ct/" + name
        member = message([_text(1, b"unified"), _text(2, path + b"/below"), _number(3, len(path))])
        other = message([_text(1, b"cpu"), _text(2, b"/ct/website"), _number(3, 0)])
        owner = message([_number(1, 0o644), _number(2, lower), _number(3, lower + 7)])
        file = message([_text(1, b"cgroup.freeze"), _text(2, b"0"), _text(3, owner)])
        below = message([_text(1, b"below"), _text(3, file), _text(4, owner)])
        directory = message([_text(1, path[1:]), _text(2, below)])
        sets = message([_number(1, 2), _text(2, member), _text(2, other)])
        return message([_text(1, sets), _text(2, message([_text(1, b"unified"), _text(2, directory)]))])

    def write(lower: int, host: bytes, name: bytes) -> dict[str, bytes]:
        return {
            "userns-9.img": _image(userns(lower)),
            "utsns-8.img": _image(message([_text(1, host), _text(2, b"(none)")])),
            "cgroup.img": _image(cgroup(lower, name)),
            "groups.img": b"%d %d a b/c\n0 0 d\n" % (lower, lower + 7),
            "core-1.img": b"anything",
        }

    for name, data in write(20 * 65536, b"web", b"web").items():
        (tmp_path / name).write_bytes(data)
    twin_images.main(str(tmp_path), "web", "a-longer-name", str(20 * 65536), str(21 * 65536), "other.example")
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert made == write(21 * 65536, b"other.example", b"a-longer-name")
