"""Connections that a container's own rules track, on real nodes: they go along, and what was translated stays so."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from migrator.transport import kit
from tests.lab.client import CountingClient
from tests.lab.stage import Stage
from tests.lab.test_network import dual, in_thread, inside

# What is not part of a connection that began with a SYN passes neither way, so nothing is picked up in the middle.
STRICT = """
table inet fw {
    chain in {
        type filter hook input priority 0; policy drop;
        meta l4proto ipv6-icmp accept
        ct state established accept
        tcp flags & (fin|syn|rst|ack) == syn ct state new accept
    }
    chain out {
        type filter hook output priority 0; policy drop;
        meta l4proto ipv6-icmp accept
        ct state established accept
    }
}
"""
REDIRECT = """
table inet nat {
    chain pre { type nat hook prerouting priority -100; tcp dport 7001 redirect to :7000; }
}
"""
STATELESS = """
table inet fw {
    chain in { type filter hook input priority 0; tcp dport 9 drop; }
}
"""

# One of each kind that is carried, made in a network of its own, told, and made of that in another.
KINDS = """
import socket, sys
sys.path.insert(0, sys.argv[1])
from connections import CT_NEW, Entry, Flow, Tcp, connections, creation
from conntrack import NLM_F_DUMP, Kernel
def flow(source, target, protocol, port, other):
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    packed = (socket.inet_pton(family, source), socket.inet_pton(family, target))
    return Flow(*packed, protocol, port.to_bytes(2, "big"), other.to_bytes(2, "big"), b"")
def entry(original, reply, **more):
    family = socket.AF_INET if len(original.source) == 4 else socket.AF_INET6
    tcp = Tcp(3, (7, 9), (3, 7)) if original.protocol == 6 else None
    return Entry(family, original, reply, 6, 4000, bytes(4), b"", b"", tcp, (), b"")._replace(**more)
def plain(port, zone=b"", **more):
    one = flow("192.0.2.1", "192.0.2.9", 6, port, 80)
    return entry(one._replace(zone=zone), one.turned(b""), **more)
a, b, c, d = "192.0.2.1", "192.0.2.9", "2001:db8::1", "2001:db8::9"
made = [
    plain(1),
    entry(flow(a, b, 6, 2, 80), flow(b, a, 6, 8080, 2)),
    entry(flow(a, b, 6, 3, 80), flow("192.0.2.77", a, 6, 8081, 3)),
    entry(flow(a, b, 6, 4, 80), flow(b, "192.0.2.50", 6, 80, 6000)),
    entry(flow(a, b, 6, 5, 80), flow("192.0.2.78", "192.0.2.51", 6, 81, 6001)),
    entry(flow(c, d, 6, 6, 80), flow(d, c, 6, 8080, 6)),
    entry(flow(c, d, 17, 7, 53), flow(d, "2001:db8::5", 17, 53, 999)),
    entry(flow(a, b, 17, 8, 53), flow(b, a, 17, 53, 8), status=0),
    plain(9, mark=bytes([0, 0, 0, 7])),
    plain(10, zone=bytes([0, 4])),
    plain(11)._replace(zone=bytes([0, 3])),
    plain(12, labels=bytes([1]) + bytes(15)),
    plain(13, shifts=(tuple(bytes([0, 0, 1, n]) for n in (1, 2, 3)), tuple(bytes([0, 0, 2, n]) for n in (1, 2, 3)))),
    plain(14, tcp=Tcp(5, (0, 0), (0, 0))),
]
def told():
    dump = Kernel().ask(0x101, NLM_F_DUMP)  # IPCTNL_MSG_CT_GET
    return connections(b"".join(said.whole for said in dump if said.kind == CT_NEW))
Kernel().make([creation(one) for one in made])
back = told()
assert all(3900 < one.timeout_s <= 4000 for one in back)
assert {one._replace(timeout_s=4000) for one in back} == set(made), (back, made)
Kernel().make([creation(one) for one in back])  # they are there, and stay
assert len(told()) == len(made)
"""
# A kernel keeps labels where a rule asks for them.
LABELLED = "table inet t { chain c { type filter hook input priority 0; ct label 1 accept; }\n}\n"


def ruled(stage: Stage, number: int, rules: str) -> tuple[str, str]:
    """A container that counts, and whose root has made these rules; returns its addresses."""
    ips = dual(stage, number)
    made = inside(stage, "n1", "nft -f -", rules)
    assert made.code == 0, made.err
    return ips


async def moved(stage: Stage, target: str, *more: str) -> None:
    done = await in_thread(stage, "migrate", "web", "--to", target, *more)
    assert done.code == 0, done.err


@pytest.fixture
def by_images(tidy: Stage) -> Iterator[Stage]:
    """Nodes that say their kernels cannot stream, where containers would go to them."""
    tidy.ok("nodes")
    for node in tidy.spec.nodes:
        tidy.on_node(node, "sed", "-i", "/uffd-noncoop/d", "/run/migrator/features")
    yield tidy
    for node in tidy.spec.nodes:
        tidy.on_node(node, "rm", "/run/migrator/features")


def test_a_kernel_makes_what_another_has_told_as_it_was(tidy: Stage) -> None:
    tidy.ok("nodes")
    words = ("unshare", "-n", "sh", "-c", 'nft -f - && python3 -ESsB -c "$0" "$1"', KINDS, kit.directory())
    done = tidy.on_node("n1", *words, stdin=LABELLED)
    assert done.code == 0, done.err


@pytest.mark.parametrize("which", [0, 1])
async def test_a_connection_through_rules_that_pick_up_nothing_survives_a_move_there_and_back(
    tidy: Stage, which: int
) -> None:
    ips = ruled(tidy, 1, STRICT)
    async with CountingClient(ips[which]) as client:
        for target in ("n2", "n1"):
            await moved(tidy, target)
            await client.more(20)


@pytest.mark.parametrize("which", [0, 1])
async def test_a_connection_to_a_port_that_the_container_redirects_survives_there_and_back(
    tidy: Stage, which: int
) -> None:
    ips = ruled(tidy, 5, REDIRECT)
    async with CountingClient(ips[which], port=7001) as client:
        for target in ("n2", "n1"):
            await moved(tidy, target)
            await client.more(20)


async def test_a_translated_connection_survives_where_memory_follows(tidy: Stage) -> None:
    ip, _ = ruled(tidy, 2, REDIRECT)
    async with CountingClient(ip, port=7001) as client:
        await moved(tidy, "n2", "--mode", "post-copy")
        await client.more(20)


async def test_a_translated_connection_survives_where_memory_goes_by_images(by_images: Stage) -> None:
    ip, _ = ruled(by_images, 3, REDIRECT)
    async with CountingClient(ip, port=7001) as client:
        await moved(by_images, "n2")
        await client.more(20)


async def test_a_rehearsal_leaves_a_translated_connection_as_it_is(tidy: Stage) -> None:
    ip, _ = ruled(tidy, 4, REDIRECT)
    async with CountingClient(ip, port=7001) as client:
        done = await in_thread(tidy, "rehearse", "web", "--to", "n2")
        assert done.code == 0, done.err
        await client.more(20)
        await moved(tidy, "n2")
        await client.more(20)


async def test_of_a_container_whose_rules_track_nothing_nothing_is_tracked_at_its_target(tidy: Stage) -> None:
    ip, _ = ruled(tidy, 6, STATELESS)
    async with CountingClient(ip) as client:
        assert await asyncio.to_thread(tidy.kill_at, "web", "n2", "restored:end") == -9
        assert tidy.on_node("n2", "sh", "-c", "ls -d /run/migrator/move/web.*").code == 0
        assert tidy.on_node("n2", "sh", "-c", "ls /run/migrator/move/web.*/connections").code != 0
        await in_thread(tidy, "resume", tidy.ok("runs", "--json").json()["runs"][0]["run"])
        await client.more(20)
    counted = inside(tidy, "n2", "cat /proc/sys/net/netfilter/nf_conntrack_count")
    assert counted.out.strip() == "0"


async def test_a_copy_that_does_not_get_its_connections_is_given_up_before_the_seal(tidy: Stage) -> None:
    ip, _ = ruled(tidy, 7, STRICT)
    tidy.ok("nodes")
    program = f"{kit.directory()}/conntrack.py"
    broken = f"cp {program} /run/kept && sed -i 's/^def load.*/&\\n    raise OSError(\"no room\")/' {program}"
    assert tidy.on_node("n2", "sh", "-c", broken).code == 0
    try:
        async with CountingClient(ip) as client:
            refused = await in_thread(tidy, "migrate", "web", "--to", "n2")
            await client.more(20)
    finally:
        tidy.on_node("n2", "mv", "/run/kept", program)
    assert refused.code == 4
    assert "conntrack" in refused.err
    assert "no room" in refused.err
    assert tidy.places("web") == [("n1", "running")]
