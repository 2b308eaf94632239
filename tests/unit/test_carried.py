"""What a source tells of a container's own network, and what no honest one tells."""

from __future__ import annotations

import base64
import struct

import pytest

from migrator.runtime.carried import checked

ADDRESS, ROUTE, LINK = 20, 24, 16
MAGIC = {"addresses": 0x47361222, "routes4": 0x45311224, "routes6": 0x45311224}
NFT = b"what the target looks at"


def message(kind: int, table: int = 254, protocol: int = 3) -> bytes:
    body = struct.pack("=8B", 2, 24, 0, 0, table, protocol, 0, 1) + b"more"
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


def saved(what: str, *kinds: int) -> bytes:
    return struct.pack("=I", MAGIC[what]) + b"".join(message(kind) for kind in kinds)


def line(what: str, data: bytes) -> str:
    return f"{what} {base64.b64encode(data).decode()}"


def test_what_an_honest_source_tells_goes_to_the_target_as_it_is() -> None:
    told = {
        "addresses": saved("addresses", ADDRESS, ADDRESS),
        "routes4": saved("routes4", ROUTE),
        "routes6": saved("routes6"),
        "rules4": b"rule add pref 100 from 10.0.0.7 lookup 100\n",
        "rules6": b"",
        "nft": NFT,
        "cards": b"eth0 2\neth1 17\n",
    }
    lines = checked(line(what, data) for what, data in told.items()).decode().splitlines()
    assert {what: base64.b64decode(text) for what, text in (each.split(" ", 1) for each in lines)} == told


def test_routes_that_the_kernel_makes_by_itself_are_left_to_it() -> None:
    own, kernels, local = message(ROUTE), message(ROUTE, protocol=2), message(ROUTE, table=255)
    told = checked([line("routes6", struct.pack("=I", MAGIC["routes6"]) + kernels + own + local)])
    (text,) = [each.split(" ")[1] for each in told.decode().splitlines() if each.startswith("routes6")]
    assert base64.b64decode(text) == struct.pack("=I", MAGIC["routes6"]) + own


@pytest.mark.parametrize(
    ("what", "data"),
    [
        ("addresses", saved("addresses", LINK)),
        ("addresses", saved("addresses", ADDRESS, ROUTE)),
        ("routes4", saved("routes4", ROUTE, LINK)),
        ("routes4", saved("routes4", ROUTE)[:-6]),
        ("routes4", saved("addresses", ROUTE)),
        ("routes6", struct.pack("=I", MAGIC["routes6"]) + struct.pack("=IHHII", 0, ROUTE, 0, 0, 0)),
        ("rules4", b"rule add pref 1 lookup 1\nlink add x type dummy\n"),
        ("rules4", b"rule add pref 1 `reboot`\n"),
        ("cards", b"eth0 2 type dummy\n"),
        ("cards", b"$(reboot) 2\n"),
        ("config.json", b"{}"),
        ("../../x", b""),
    ],
)
def test_what_would_reach_further_than_the_containers_own_network_is_refused(what: str, data: bytes) -> None:
    with pytest.raises(ValueError):
        checked([line(what, data)])


def test_nothing_is_told_twice_nor_without_end() -> None:
    with pytest.raises(ValueError, match="tells of"):
        checked([line("nft", NFT)] * 2)
    with pytest.raises(ValueError, match="bytes of addresses"):
        checked([line("routes4", saved("routes4", *[ROUTE] * 10_000))])
