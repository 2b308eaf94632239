"""The network of a container on real nodes: several addresses, IPv6, and who hears that it has moved."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from migrator.lab.network import Subnet
from tests.lab.client import CountingClient
from tests.lab.stage import COUNTER, Outcome, Stage

DUAL = COUNTER.replace("import os, ", "import os, socket, ").replace(
    "allow_reuse_address = True", "allow_reuse_address = True\n    address_family = socket.AF_INET6"
)
ETH_ARP, ETH_IPV6 = b"\x08\x06", b"\x86\xdd"
ICMPV6, NEIGHBOUR_ADVERTISEMENT = 58, 136
OVERRIDE, SOLICITED = 0x20, 0x40
SO_RCVBUFFORCE = 33  # of Linux; Python has no name for it
SPOKEN_IN_TWO_SECONDS = 6  # at the release, and five times more


async def in_thread(stage: Stage, *words: str) -> Outcome:
    return await asyncio.to_thread(stage.migrator, *words)


def subnet(stage: Stage) -> Subnet:
    return stage.spec.subnet


def dual(stage: Stage, number: int, template: str = "debian") -> tuple[str, str]:
    """A container that counts on IPv4 and IPv6; returns both addresses."""
    ips = (stage.ip(number), subnet(stage).container_ip6(100 + number))
    words = ("ct", "create", "web", "--node", "n1", "--template", template, "--ip", ips[0], "--ip", ips[1])
    stage.ok(*words, "--", "python3", "-c", DUAL, "8")
    return ips


def spoken(frame: bytes) -> str:
    """The address for which a frame says, unasked, that its sender has it; empty for any other frame."""
    if frame[12:14] == ETH_ARP and frame[28:32] == frame[38:42]:
        return socket.inet_ntop(socket.AF_INET, frame[28:32])
    if frame[12:14] == ETH_IPV6 and frame[20] == ICMPV6 and frame[54] == NEIGHBOUR_ADVERTISEMENT:
        unasked = frame[58] & OVERRIDE and not frame[58] & SOLICITED
        return socket.inet_ntop(socket.AF_INET6, frame[62:78]) if unasked else ""
    return ""


@contextmanager
def listening(stage: Stage) -> Iterator[socket.socket]:
    """A raw socket on this machine's cable to the lab's switch."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(3)) as wire:
        wire.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 26)  # nobody reads it while a container moves
        wire.bind((subnet(stage).host_link, 0))
        wire.setblocking(False)
        yield wire


def heard(wire: socket.socket) -> set[str]:
    """Every address that was spoken for since the socket was last emptied."""
    found = set()
    while True:
        try:
            found.add(spoken(wire.recv(2048)))
        except BlockingIOError:
            return found - {""}


def port_of(stage: Stage, mac: str) -> str:
    """The port of the lab's switch behind which it believes a MAC address to be."""
    argv = ["bridge", "-n", stage.paths.switch_netns, "fdb", "show", "br", "br0"]
    for line in subprocess.run(argv, capture_output=True, text=True, check=True, timeout=10).stdout.splitlines():
        words = line.split()
        if words[0] == mac:
            return words[2]
    return ""


async def test_an_ipv6_connection_survives_a_migration_there_and_back(tidy: Stage) -> None:
    _, ip6 = dual(tidy, 1)
    async with CountingClient(ip6) as client:
        for target in ("n2", "n1"):
            done = await in_thread(tidy, "migrate", "web", "--to", target)
            assert done.code == 0, done.err
            await client.more(20)
    assert tidy.places("web") == [("n1", "running")]


async def test_an_ipv4_connection_of_a_container_with_both_survives_too(tidy: Stage) -> None:
    ip, _ = dual(tidy, 2)
    async with CountingClient(ip) as client:
        done = await in_thread(tidy, "migrate", "web", "--to", "n2")
        assert done.code == 0, done.err
        await client.more(20)


def test_no_address_waits_to_be_used(tidy: Stage) -> None:
    dual(tidy, 3)
    tidy.ok("migrate", "web", "--to", "n2")
    shown = tidy.ok("ct", "exec", "web", "--", "ip", "-6", "address", "show", "dev", "eth0").out
    assert shown.count("inet6 ") == 2
    assert "tentative" not in shown


def test_every_address_is_spoken_for_from_its_new_place(tidy: Stage) -> None:
    ips = set(dual(tidy, 4))
    mac = tidy.on_node("n1", "sed", "-n", "s/^mac //p", "/var/lib/migrator/containers/web/net").out.strip()
    assert port_of(tidy, mac) == "n1"
    with listening(tidy) as wire:
        heard(wire)
        tidy.ok("migrate", "web", "--to", "n2")
        assert heard(wire) >= ips
    assert port_of(tidy, mac) == "n2"


# Asks for somebody who is not there.
LONELY = """
import socket, sys, time
asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
while True: time.sleep(0.1); asking.sendto(b"?", (sys.argv[1], 9))
"""


def test_one_whose_peer_does_not_answer_through_its_new_place_goes_on_to_speak(tidy: Stage) -> None:
    ip, nobody = tidy.ip(4), tidy.ip(99)
    place = ("--node", "n1", "--template", "debian", "--ip", ip)
    tidy.ok("ct", "create", "web", *place, "--", "python3", "-c", LONELY, nobody)
    with listening(tidy) as wire:
        heard(wire)
        tidy.ok("migrate", "web", "--to", "n2")
        wire.settimeout(30)
        times, patience = 0, time.monotonic() + 60
        while times < SPOKEN_IN_TWO_SECONDS + 2:
            assert time.monotonic() < patience, f"spoken for {times} times"
            times += spoken(wire.recv(2048)) == ip


def test_a_container_given_back_speaks_for_its_addresses_again(tidy: Stage) -> None:
    ips = set(dual(tidy, 5))
    with listening(tidy) as wire:
        assert tidy.kill_at("web", "n2", "fenced:end", blackout_s=30) != 0
        heard(wire)
        run = tidy.ok("runs", "--json").json()["runs"][0]["run"]
        tidy.migrator("rollback", run)
        assert heard(wire) >= ips
    assert tidy.places("web") == [("n1", "running")]


@pytest.mark.parametrize("which", [0, 1])
def test_an_address_that_somebody_else_has_too_is_found_before_anything_is_touched(tidy: Stage, which: int) -> None:
    ips = dual(tidy, 6)
    taken = f"{ips[which]}/{(24, 64)[which]}"
    nodad = ("nodad",) if which else ()  # else it would see that the container has it, and not use it
    assert tidy.on_node("n3", "ip", "address", "add", taken, "dev", "br0", *nodad).code == 0
    try:
        other = tidy.migrator("migrate", "web", "--to", "n3", "--dry-run")
        assert other.code == 3
        assert f"address {ips[which]} is also used by" in other.out + other.err
        tidy.ok("ct", "destroy", "web", "--force", "--yes")
        words = ("ct", "create", "new", "--node", "n1", "--template", "debian", "--ip", ips[which])
        made = tidy.migrator(*words, "--", "sleep", "1000")
        assert (made.code, "answers for this address" in made.err) == (3, True)
    finally:
        tidy.on_node("n3", "ip", "address", "del", taken, "dev", "br0")


def test_an_address_is_refused_where_ipv6_is_off(tidy: Stage) -> None:
    dual(tidy, 7)
    off = "/proc/sys/net/ipv6/conf/br0/disable_ipv6"
    tidy.on_node("n3", "sh", "-c", f"echo 1 > {off}")
    try:
        refused = tidy.migrator("migrate", "web", "--to", "n3")
        words = ("ct", "create", "new", "--node", "n3", "--template", "debian", "--ip", subnet(tidy).container_ip6(111))
        made = tidy.migrator(*words, "--", "sleep", "1000")
    finally:
        tidy.on_node("n3", "sh", "-c", f"echo 0 > {off}")
    assert refused.code == 3
    assert "IPv6 is off on bridge br0 of n3" in refused.err
    assert (made.code, "IPv6 is off on bridge br0 of n3" in made.err) == (3, True)
    assert tidy.places("web") == [("n1", "running")]


def test_nodes_without_a_common_network_are_known_before_anything_is_touched(tidy: Stage) -> None:
    dual(tidy, 8)
    tidy.on_node("n3", "ip", "link", "add", "br9", "type", "bridge")
    tidy.on_node("n3", "ip", "link", "set", "br9", "up")
    apart = tidy.journal.with_name("apart.yaml")
    apart.write_text(tidy.paths.cluster_file.read_text().replace("- name: n3\n", "- name: n3\n  bridge: br9\n"))
    try:
        refused = tidy.migrator("migrate", "web", "--to", "n3", cluster=str(apart))
    finally:
        tidy.on_node("n3", "ip", "link", "del", "br9")
    assert refused.code == 3
    assert f"address {tidy.ip(8)} answers on n1's bridge br0 and not on n3's bridge br9" in refused.err
    assert "run=-" in tidy.on_node("n1", "cat", "/var/lib/migrator/records/web").out.split()
    assert tidy.places("web") == [("n1", "running")]


def inside(stage: Stage, node: str, command: str, stdin: str = "") -> Outcome:
    """A command of the node's in the container's network, as the container's root could have run one of its own."""
    enter = "nsenter --net=/proc/$(head -n 1 /sys/fs/cgroup/ct/web/cgroup.procs)/ns/net"
    return stage.on_node(node, "sh", "-c", f"{enter} {command}", stdin=stdin)


async def test_what_a_container_has_made_in_its_network_goes_with_it(tidy: Stage) -> None:
    dual(tidy, 9)
    more, more6 = tidy.ip(90), subnet(tidy).container_ip6(190)
    made = (
        f"ip address add {more}/24 dev eth0",
        f"ip address add {more6}/64 dev eth0 nodad",
        f"ip route add 192.0.2.0/24 via {subnet(tidy).host_ip}",
        f"ip route add 2001:db8::/64 via {subnet(tidy).host_ip6}",
        f"ip rule add from {more} lookup 100",
        f"ip route add default via {subnet(tidy).host_ip} table 100",
    )
    for command in made:
        assert inside(tidy, "n1", command).code == 0, command
    rules = "ct state established accept\n tcp dport 9 drop\n"
    fw = f"table inet fw {{\n chain in {{ type filter hook input priority 0;\n {rules}}}\n}}\n"
    assert inside(tidy, "n1", "nft -f -", fw).code == 0
    looks = ("ip -4 route show table all", "ip -6 route show table all", "ip rule", "ip -6 rule", "nft -s list ruleset")
    before = [sorted(inside(tidy, "n1", look).out.splitlines()) for look in looks]
    async with CountingClient(more6) as client:
        done = await in_thread(tidy, "migrate", "web", "--to", "n2")
        assert done.code == 0, done.err
        await client.more(20)
    assert [sorted(inside(tidy, "n2", look).out.splitlines()) for look in looks] == before
    assert "dport 9 drop" in str(before)


def test_a_link_of_its_own_keeps_a_container_where_it_is(tidy: Stage) -> None:
    dual(tidy, 10)
    assert inside(tidy, "n1", "ip link add own0 up type veth peer name own1").code == 0
    refused = tidy.migrator("migrate", "web", "--to", "n2")
    assert refused.code == 3
    assert "a link of its own, own0" in refused.err
    assert tidy.places("web") == [("n1", "running")]


# As iptables-legacy says it: the policy of FORWARD is DROP (IPT_SO_SET_REPLACE of linux/netfilter_ipv4/ip_tables.h).
LEGACY = """
import ctypes, socket, struct
libc, s = ctypes.CDLL(None), socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
def ask(option, request):
    told = ctypes.create_string_buffer(request, len(request))
    assert libc.getsockopt(s.fileno(), 0, option, told, ctypes.byref(ctypes.c_uint32(len(request)))) == 0
    return told.raw
info = ask(64, b"filter" + bytes(78))
hooks, *places, entries, size = struct.unpack("=I5I5III", info[32:])
if POLICY:
    blob = bytearray(ask(65, struct.pack("=32sI4x", b"filter", size) + bytes(size))[40:])
    struct.pack_into("=i", blob, places[5 + 2] + 112 + 32, POLICY)
    old = ctypes.create_string_buffer(16 * entries)
    head = struct.pack("=32sIII5I5IIQ", b"filter", hooks, entries, size, *places, entries, ctypes.addressof(old))
    assert libc.setsockopt(s.fileno(), 0, 64, head + bytes(blob), len(head) + size) == 0
"""


def test_what_decides_what_passes_and_is_not_carried_keeps_a_container_where_it_is(tidy: Stage) -> None:
    dual(tidy, 11)
    policy = "ip xfrm policy {} dst 10.77.0.0/24 dir out"
    ways = (
        (
            "python3 -",
            LEGACY.replace("POLICY", "-1"),
            "rules of iptables-legacy (filter)",
            LEGACY.replace("POLICY", "-2"),
        ),
        (policy.format("add"), "", "policies or keys of IPsec", ""),
        ("ip nexthop add id 7 blackhole", "", "next hops with a number", ""),
    )
    assert inside(tidy, "n1", "python3 -", LEGACY.replace("POLICY", "0")).code == 0  # a table without rules is nothing
    tidy.ok("migrate", "web", "--to", "n2", "--dry-run")
    for command, stdin, said, undone in ways:
        done = inside(tidy, "n1", command, stdin)
        assert done.code == 0, done
        refused = tidy.migrator("migrate", "web", "--to", "n2", "--dry-run")
        assert (refused.code, f"its network has {said}" in refused.err, "--mode restart" in refused.err) == (
            3,
            True,
            True,
        )
        undo = {"python3 -": "python3 -", policy.format("add"): policy.format("del")}.get(command, "ip nexthop flush")
        assert inside(tidy, "n1", undo, undone).code == 0
    tidy.ok("migrate", "web", "--to", "n2")


def test_a_table_that_a_program_inside_owns_is_there_after_a_move(tidy: Stage) -> None:
    """As firewalld has it. Who makes such a table anew on the target does not stay, and the table would go, too."""
    dual(tidy, 12)
    words = "add table inet own { flags owner; }\nadd chain inet own in { type filter hook input priority 0; }\n"
    enter = "nsenter --net=/proc/$(head -n 1 /sys/fs/cgroup/ct/web/cgroup.procs)/ns/net"
    hold = f"{{ cat; sleep 60; }} | {enter} nft -i"
    held = f"sh -c '{hold}' & until {enter} nft list chain inet own in; do :; done"
    tidy.on_node(
        "n1", "sh", "-c", f"words=$(cat); {{ printf '%s\\n' \"$words\" | {held}; }} > /dev/null 2>&1", stdin=words
    )
    assert "flags owner" in inside(tidy, "n1", "nft list ruleset").out
    tidy.ok("migrate", "web", "--to", "n2")
    assert "chain in {" in inside(tidy, "n2", "nft list table inet own").out


# A kernel that takes no rules for a container, and one that takes none for a try either.
LACKS = """#!/bin/sh
for last; do :; done
case $* in
    *rules_in.py*)
        [ WHERE = restore ] && [ "$(readlink "$last")" = "$(readlink /proc/self/ns/user)" ] || {
            echo "its rules: rule of chain in in table inet own, ct: No such file or directory" >&2
            exit 1
        } ;;
esac
exec /usr/bin/python3 "$@"
"""


@contextmanager
def lacking(stage: Stage, node: str, where: str) -> Iterator[None]:
    place = "/usr/local/sbin/python3"
    stage.on_node(node, "sh", "-c", f"cat > {place}; chmod 755 {place}", stdin=LACKS.replace("WHERE", where))
    try:
        yield
    finally:
        stage.on_node(node, "rm", place)


def test_what_a_target_cannot_make_in_its_network_is_found_in_the_check(tidy: Stage) -> None:
    dual(tidy, 13)
    assert inside(tidy, "n1", "nft add table inet own").code == 0
    with lacking(tidy, "n2", "try"):
        looked = tidy.migrator("migrate", "web", "--to", "n2", "--dry-run")
        done = tidy.migrator("migrate", "web", "--to", "n2")
    for refused in (looked, done):
        assert refused.code == 3
        assert "node n2 cannot make what its root has made in its network: its rules: rule of chain in" in refused.err
        assert "--mode restart" in refused.err
    assert tidy.on_node("n2", "sh", "-c", "ls -d /run/migrator/.try.* /var/lib/migrator/containers/web").code != 0
    assert tidy.places("web") == [("n1", "running")]
    tidy.ok("migrate", "web", "--to", "n2")


def test_what_cannot_be_made_anew_in_its_network_is_told_by_its_cause(tidy: Stage) -> None:
    dual(tidy, 13)
    assert inside(tidy, "n1", "nft add table inet own").code == 0
    with lacking(tidy, "n2", "restore"):
        done = tidy.migrator("migrate", "web", "--to", "n2")
    assert (done.code, "its network: its rules: rule of chain in in table inet own, ct" in done.err) == (4, True), done
    assert tidy.places("web") == [("n1", "running")]


def test_a_value_that_a_kernel_does_not_take_is_told_in_one_line_and_nothing_is_kept(tidy: Stage) -> None:
    wrong = ("--sysctl", "net.ipv4.tcp_congestion_control=nosuch")
    given = ("ct", "create", "web", "--node", "n1", "--template", "debian", "--ip", tidy.ip(14))
    done = tidy.migrator(*given, *wrong, "--", "sleep", "1000")
    said = "sysctl net/ipv4/tcp_congestion_control: this kernel takes no nosuch"
    assert done.err.strip().endswith(f"container web did not start: {said}"), done
    assert tidy.places("web") == []
    tidy.ok(*given, "--", "sleep", "1000")
    refused = tidy.migrator("ct", "set", "web", *wrong)
    assert (refused.code, refused.err.count("\n"), said in refused.err) == (3, 1, True), refused
    card = tidy.migrator("ct", "set", "web", "--sysctl", "net.ipv6.conf.eth5.hop_limit=3")
    assert (card.code, "eth5.hop_limit=3: the container has no such card" in card.err) == (2, True), card
