"""Connections that rules track: what is taken of what a kernel tells, what makes them anew, hostile images."""

from __future__ import annotations

import importlib.util
import random
import socket
import struct
from types import ModuleType
from typing import Any

import pytest

from migrator.protocol.tracking import CONNECTIONS_MAX, untracked
from migrator.transport.kit import SCRIPTS
from tests.properties.fleets import node

# As Linux 6.18 tells it: 192.0.2.1 has connected from port 1 to port 80 of 192.0.2.9, which its rules redirect to 8080.
TOLD = bytes.fromhex(
    "f000000000010200010000003600000002000000340001801400018008000100c000020108000200c00002091c000280050001000600"
    "000006000200000100000600030000500000340002801400018008000100c000020908000200c00002011c0002800500010006000000"
    "060002001f900000060003000001000008000300000001ae080008000000000008000c007a2aec3008000b0000000001080007000000"
    "0fa0300004802c000180050001000300000005000200070000000500030009000000060004000b000000060005000f0000001c001880"
    "080001000000000008000200000000000800030000000000"
)
TCP, UDP, ICMP = 6, 17, 1


@pytest.fixture(scope="module")
def kit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("connections", SCRIPTS / "connections.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def flow(kit: Any, source: str, target: str, protocol: int = TCP) -> Any:
    """A flow from "ADDRESS PORT" to "ADDRESS PORT"."""
    (one, port), (other, other_port) = source.split(), target.split()
    family = socket.AF_INET6 if ":" in one else socket.AF_INET
    ports = (int(port).to_bytes(2, "big"), int(other_port).to_bytes(2, "big"))
    return kit.Flow(socket.inet_pton(family, one), socket.inet_pton(family, other), protocol, *ports, b"")


def entry(kit: Any, original: Any, reply: Any = None, **more: Any) -> Any:
    words: dict[str, Any] = {
        "family": socket.AF_INET if len(original.source) == 4 else socket.AF_INET6,
        "original": original,
        "reply": reply or original.turned(b""),
        "status": kit.SEEN_REPLY | kit.ASSURED,
        "timeout_s": 4000,
        "mark": bytes(4),
        "zone": b"",
        "labels": b"",
        "tcp": kit.Tcp(3, (7, 9), (3, 7)) if original.protocol == TCP else None,
        "shifts": (),
        "helper": b"",
    }
    return kit.Entry(**{**words, **more})


def message(body: bytes, kind: int = 0x100) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 2, 1, 0) + body


def told(kit: Any, one: Any, *more: bytes, without: tuple[int, ...] = ()) -> bytes:
    """A message as a kernel tells it of a connection: its reply as it is, and no translation."""
    made = kit.creation(one)
    found = kit.attributes(made[4:])
    reply = kit.flow_attribute(kit.REPLY, one.family, one.reply)
    kept = [
        reply if kind == kit.REPLY else kit.attribute(kind, data)
        for kind, data in found.items()
        if kind not in (kit.NAT_SRC, kit.NAT_DST, *without)
    ]
    return message(b"".join([made[:4], *kept, *more]))


def translated(kit: Any, body: bytes, kind: int, least: int, most: int) -> Any:
    """The address and port that a message translates to; None where it does not."""
    if (data := kit.attributes(body[4:]).get(kind)) is None:
        return None
    found = kit.attributes(data)
    ports = kit.attributes(found[3])
    assert found[least] == found[most] and ports[1] == ports[2]
    return found[least], int.from_bytes(ports[1], "big")


def test_what_a_kernel_has_told_is_taken_as_it_is(kit: ModuleType) -> None:
    (one,) = kit.connections(TOLD)
    assert one == entry(kit, flow(kit, "192.0.2.1 1", "192.0.2.9 80"), flow(kit, "192.0.2.9 8080", "192.0.2.1 1"))


def test_a_connection_is_made_as_confirmed_and_its_reply_not_translated_yet(kit: ModuleType) -> None:
    original = flow(kit, "192.0.2.1 40000", "192.0.2.9 80")
    made = kit.attributes(kit.creation(entry(kit, original, flow(kit, "192.0.2.9 8080", "192.0.2.1 40000")))[4:])
    assert kit.flow_of(socket.AF_INET, made[kit.REPLY]) == original.turned(b"")
    assert int.from_bytes(made[kit.STATUS], "big") == kit.CONFIRMED | kit.SEEN_REPLY | kit.ASSURED


@pytest.mark.parametrize(
    ("reply", "target", "source"),
    [
        ("192.0.2.9 80 192.0.2.1 40000", None, None),
        ("192.0.2.9 8080 192.0.2.1 40000", ("192.0.2.9", 8080), None),
        ("192.0.2.77 80 192.0.2.1 40000", ("192.0.2.77", 80), None),
        ("192.0.2.9 80 192.0.2.50 40000", None, ("192.0.2.50", 40000)),
        ("192.0.2.77 81 192.0.2.50 6000", ("192.0.2.77", 81), ("192.0.2.50", 6000)),
        ("2001:db8::9 8080 2001:db8::1 40000", ("2001:db8::9", 8080), None),
        ("2001:db8::9 80 2001:db8::7 6000", None, ("2001:db8::7", 6000)),
    ],
)
def test_a_translation_is_what_the_reply_has_in_place_of_the_original(
    kit: ModuleType, reply: str, target: Any, source: Any
) -> None:
    ip, port, other, other_port = reply.split()
    is_v6 = ":" in ip
    ends = ("2001:db8::1 40000", "2001:db8::9 80") if is_v6 else ("192.0.2.1 40000", "192.0.2.9 80")
    one = entry(kit, flow(kit, *ends), flow(kit, f"{ip} {port}", f"{other} {other_port}"))
    range_of = (4, 5) if is_v6 else (1, 2)
    for kind, wanted in ((kit.NAT_DST, target), (kit.NAT_SRC, source)):
        packed = wanted and (socket.inet_pton(one.family, wanted[0]), wanted[1])
        assert translated(kit, kit.creation(one), kind, *range_of) == packed


def test_windows_that_nobody_knows_are_not_judged_and_nothing_else_is_said_of_flags(kit: ModuleType) -> None:
    one = entry(kit, flow(kit, "192.0.2.1 1", "192.0.2.9 2"), tcp=kit.Tcp(4, (7, 0), (kit.WINDOW_SCALE, kit.SACK)))
    info = kit.attributes(kit.attributes(kit.attributes(kit.creation(one)[4:])[kit.PROTOINFO])[kit.TCP_INFO])
    mask = kit.WINDOW_SCALE | kit.SACK | kit.CLOSE_INIT | kit.LIBERAL
    assert [info[n] for n in (1, 2, 3)] == [b"\4", b"\7", b"\0"]
    assert [info[n] for n in (4, 5)] == [bytes([f | kit.LIBERAL, mask]) for f in (kit.WINDOW_SCALE, kit.SACK)]


def test_marks_zones_labels_helpers_and_shifted_numbers_go_along(kit: ModuleType) -> None:
    ends = flow(kit, "192.0.2.1 1", "192.0.2.9 2", UDP)
    shifts = tuple(tuple(bytes([0, 0, part, n]) for n in (1, 2, 3)) for part in (1, 2))
    more = {"mark": b"\0\0\0\7", "zone": b"\0\3", "labels": b"\1" + bytes(15), "shifts": shifts, "helper": b"ftp\0"}
    one = entry(kit, ends._replace(zone=b"\0\4"), ends.turned(b""), status=0, **more)
    assert kit.connections(told(kit, one)) == [one]


def test_what_is_over_or_of_no_restored_socket_is_left_out(kit: ModuleType) -> None:
    ends = flow(kit, "192.0.2.1 1", "192.0.2.9 2")
    over = [told(kit, entry(kit, ends, tcp=kit.Tcp(state, (0, 0), (0, 0)))) for state in (0, 7, 8)]
    asked = told(kit, entry(kit, ends._replace(protocol=ICMP), tcp=None))
    bridged = message(struct.pack("=BBH", 7, 0, 0))
    assert kit.connections(b"".join([*over, asked, bridged])) == []


def test_what_is_not_known_here_goes_to_no_kernel(kit: ModuleType) -> None:
    one = entry(kit, flow(kit, "192.0.2.1 1", "192.0.2.9 2"))
    master, unknown = (kit.attribute(kind, b"\1\2\3\4") for kind in (14, 99))
    (back,) = kit.connections(told(kit, one, master, unknown))
    assert kit.creation(back) == kit.creation(one)
    odd = told(kit, one, kit.attribute(kit.STATUS, struct.pack(">I", 0xFFFFFFFF)), without=(kit.STATUS,))
    assert kit.creation(kit.connections(odd)[0]) == kit.creation(one)


@pytest.mark.parametrize(
    ("what", "size"),
    [("STATUS", 3), ("STATUS", 8), ("TIMEOUT", 0), ("MARK", 5), ("ZONE", 1), ("LABELS", 20), ("LABELS", 3)],
)
def test_an_attribute_of_another_size_is_no_kernels(kit: ModuleType, what: str, size: int) -> None:
    one = entry(kit, flow(kit, "192.0.2.1 1", "192.0.2.9 2"))
    kind = getattr(kit, what)
    with pytest.raises(ValueError):
        kit.connections(told(kit, one, kit.attribute(kind, bytes(size)), without=(kind,)))


@pytest.mark.parametrize("name", [b"", b"\0", b"ftp", b"../x\0", b"a b\0", b"ftp\0\0", b"x" * 16 + b"\0"])
def test_a_helper_of_no_name_is_no_kernels(kit: ModuleType, name: bytes) -> None:
    one = entry(kit, flow(kit, "192.0.2.1 1", "192.0.2.9 2"))
    helper = kit.nested(kit.HELPER, kit.attribute(kit.HELPER_NAME, name))
    with pytest.raises(ValueError, match="helper"):
        kit.connections(told(kit, one, helper))


@pytest.mark.parametrize("what", ["REPLY", "STATUS", "TIMEOUT", "PROTOINFO"])
def test_a_connection_without_what_each_has_is_no_kernels(kit: ModuleType, what: str) -> None:
    one = entry(kit, flow(kit, "192.0.2.1 1", "192.0.2.9 2"))
    with pytest.raises(ValueError):
        kit.connections(told(kit, one, without=(getattr(kit, what),)))


def test_two_directions_are_of_one_protocol_and_one_family(kit: ModuleType) -> None:
    ends = flow(kit, "192.0.2.1 1", "192.0.2.9 2")
    six = flow(kit, "2001:db8::1 1", "2001:db8::9 2")
    with pytest.raises(ValueError):
        kit.connections(told(kit, entry(kit, ends, ends.turned(b"")._replace(protocol=UDP))))
    cross = kit.attributes(kit.creation(entry(kit, six))[4:])[kit.REPLY]
    with pytest.raises(ValueError):
        kit.connections(told(kit, entry(kit, ends), kit.attribute(kit.REPLY, cross), without=(kit.REPLY,)))


@pytest.mark.parametrize(
    "image",
    [
        b"\0",
        b"\0" * 16,
        message(b"\2\0"),
        message(b"\2\0\0\0" + b"\xff\xff\1\0"),
        message(b"\2\0\0\0" + b"\0\0\1\0"),
        message(b"\2\0\0\0", kind=0x102),  # a deletion
        message(b"\2\0\0\0", kind=0xA00),  # one of nft's
        struct.pack("=IHHII", 4000, 0x100, 0, 0, 0),
    ],
)
def test_what_is_no_image_is_refused(kit: ModuleType, image: bytes) -> None:
    with pytest.raises(ValueError):
        kit.connections(image)


def test_an_image_without_end_is_refused(kit: ModuleType) -> None:
    with pytest.raises(ValueError, match="over"):
        kit.connections(bytes(kit.IMAGE_BYTES_MAX + 1))


def test_an_image_damaged_anywhere_is_an_error_or_another_connection_and_nothing_else(kit: ModuleType) -> None:
    whole = told(kit, entry(kit, flow(kit, "192.0.2.1 40000", "192.0.2.9 80"), flow(kit, "192.0.2.9 8", "192.0.2.1 4")))
    chance = random.Random(7)
    refused = 0
    for _ in range(3000):
        damaged = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        try:
            for one in kit.connections(bytes(damaged[: chance.choice((len(whole), chance.randrange(len(whole))))])):
                assert kit.attributes(kit.creation(one)[4:]).keys() <= set(range(23))
        except ValueError:
            refused += 1
    assert 1000 < refused < 3000


def test_the_check_and_the_kit_have_one_bound(kit: ModuleType) -> None:
    assert kit.CONNECTIONS_MAX == CONNECTIONS_MAX


ABLE, UNABLE = node("n2", features=("conntrack",)), node("n2", features=())


def test_translations_that_the_target_cannot_make_are_found_before_the_move() -> None:
    assert list(untracked(["12"], True, ABLE)) == []
    assert list(untracked(["12"], False, UNABLE)) == []  # CRIU can
    (found,) = untracked([], True, UNABLE)
    assert "n2 cannot make them" in found


def test_more_connections_than_go_along_are_found_before_the_move() -> None:
    assert list(untracked([str(CONNECTIONS_MAX)], False, ABLE)) == []
    (found,) = untracked([str(CONNECTIONS_MAX + 1)], False, ABLE)
    assert f"track {CONNECTIONS_MAX + 1} connections, and at most {CONNECTIONS_MAX}" in found


@pytest.mark.parametrize("text", ["", "-1", "x", "1 2", "9" * 10, "\u0663"])
def test_what_no_honest_node_counts_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="tracked connections"):
        list(untracked([text], False, ABLE))
