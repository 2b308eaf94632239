"""Several network cards on real nodes: each is reached, kept over a move with its connections, and checked."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import pytest

from tests.lab.client import CountingClient
from tests.lab.second_network import back_ip, back_ip6, second_network
from tests.lab.stage import COUNTER, Stage

# Counts for each connection by itself.
EACH = (
    COUNTER.replace("count = 0\n", "")
    .replace("        global count\n", "        count = 0\n")
    .replace("int(sys.argv[1])", "1")
)
LOOK = "ip -br address show; ip route; ip -6 route show default; cat /proc/sys/net/ipv4/conf/eth1/rp_filter"


@pytest.fixture
def two(tidy: Stage) -> Iterator[Stage]:
    """n1 and n2 have a second network, n3 has not; the container `web` on n1 is in both."""
    with second_network(tidy, "n1", "n2"):
        route = ("--route", f"10.99.0.0/16={back_ip(tidy, 1)}", "--gateway", back_ip6(tidy, 1))
        more = ("--nic", nic(tidy, 7), *route, "--sysctl", "net.ipv4.conf.eth1.rp_filter=0")
        given = ("--node", "n1", "--template", "debian", "--ip", tidy.ip(1), *more)
        tidy.ok("ct", "create", "web", *given, "--", "python3", "-c", EACH)
        yield tidy
        tidy.remove_all()


def nic(stage: Stage, number: int) -> str:
    return f"eth1=br1,{back_ip(stage, number)}/24,{back_ip6(stage, number)}/64"


def seen(stage: Stage) -> list[str]:
    """Without the host ends' numbers and the link-local addresses' state, which are the nodes' own."""
    shown = stage.ok("ct", "exec", "web", "--", "sh", "-c", LOOK).out
    return [" ".join(word.partition("@")[0] for word in line.split()) for line in shown.splitlines()]


def cables(stage: Stage, node: str) -> str:
    """The host ends of containers' cables that are in a bridge."""
    return stage.on_node(node, "sh", "-c", "ls -d /sys/class/net/ct*/brport").out


async def test_connections_by_every_card_and_family_outlast_a_move(two: Stage) -> None:
    before = seen(two)
    assert f"default via {back_ip6(two, 1)} dev eth1 metric 1024 onlink pref medium" in before
    assert f"10.99.0.0/16 via {back_ip(two, 1)} dev eth1 onlink" in before
    async with CountingClient(two.ip(1)) as front, CountingClient(back_ip(two, 7)) as back:
        for target in ("n2", "n1"):
            two.ok("migrate", "web", "--to", target)
            await front.more(50)
            await back.more(50)
            assert seen(two) == before
            assert len(cables(two, target).split()) == 2
        two.ok("rehearse", "web", "--to", "n2")  # frozen, and taken back: both cards again
        await front.more(50)
        await back.more(50)


def test_a_route_that_is_set_while_it_runs_takes_the_card_of_its_gateway(two: Stage) -> None:
    via = back_ip(two, 1)
    two.ok("ct", "set", "web", "--route", f"10.98.0.0/16={via}", "--route", f"10.97.0.0/16={two.ip(9)}")
    for route, card in ((f"10.98.0.0/16 via {via}", "eth1"), (f"10.97.0.0/16 via {two.ip(9)}", "eth0")):
        assert f"{route} dev {card} onlink" in seen(two)
    two.ok("ct", "set", "web", "--route", f"10.98.0.0/16={two.ip(9)}", "--route", "10.99.0.0/16=none")
    assert f"10.98.0.0/16 via {two.ip(9)} dev eth0 onlink" in seen(two)
    assert not any(line.startswith("10.99.0.0/16") for line in seen(two))
    own = two.migrator("ct", "set", "web", "--route", f"{via.rpartition('.')[0]}.0/24={two.ip(9)}")
    assert (own.code, "is the network of its own address" in own.err) == (2, True), own


async def test_a_card_that_was_given_more_inside_keeps_it(two: Stage) -> None:
    more = f"{back_ip(two, 8)}/24"
    ask = "read pid < /sys/fs/cgroup/ct/web/cgroup.procs; nsenter --net=/proc/$pid/ns/net "
    assert two.on_node("n1", "sh", "-c", f"{ask} ip address add {more} dev eth1").code == 0
    async with CountingClient(back_ip(two, 8)) as client:
        two.ok("migrate", "web", "--to", "n2")
        await client.more(50)


def test_what_a_card_needs_is_asked_before_anything_is_touched(two: Stage) -> None:
    before = two.ok("ct", "list", "--json").json()["containers"]
    refused = two.migrator("migrate", "web", "--to", "n3")
    assert (refused.code, "bridge br1, which its card eth1 is on, is not there" in refused.err) == (3, True), refused
    (move,) = two.ok("plan", "drain", "n1", "--json").json()["moves"]
    assert (move["container"], move["target"]) == ("web", "n2")
    for words, said in (
        (("--node", "n3", "--nic", nic(two, 9)), "--nic: on node n3 bridge br1"),
        (("--node", "n2", "--nic", nic(two, 7)), "container web on n1 has this address"),
        (("--node", "n2", "--nic", f"eth1=br1,{back_ip(two, 1)}"), "answers for this address already"),
        (("--node", "n2", "--nic", f"eth1=br1,{back_ip6(two, 1)}"), "answers for this address already"),
    ):
        given = ("ct", "create", "other", "--template", "debian", "--ip", two.ip(2), *words)
        done = two.migrator(*given, "--", "sleep", "1")
        assert (done.code, said in done.err) == (3, True), (words, done)
    after = two.ok("ct", "list", "--json").json()["containers"]
    keys = ("name", "node", "state", "generation", "nics")
    assert [[row[key] for key in keys] for row in after] == [[row[key] for key in keys] for row in before]
    assert two.on_node("n3", "ls", "/var/lib/migrator/containers").out == ""


BOUND = "import socket, time; s = socket.create_server(('{ip}', 8080)); time.sleep(600)"
CLOSED = "ss -Htn state established | wc -l"


async def test_a_twin_has_all_cards_with_addresses_and_macs_of_its_own(two: Stage) -> None:
    async with CountingClient(two.ip(1)) as front, CountingClient(back_ip(two, 7)) as back:
        await front.more(5)
        await back.more(5)
        made = two.ok("ct", "clone", "web", "twin", "--live", "--nic", nic(two, 8), "--json").json()
        assert made["addresses"] == [f"{two.ip(2)}/24", f"{back_ip(two, 8)}/24", f"{back_ip6(two, 8)}/64"]
        assert two.ok("ct", "exec", "twin", "--", "sh", "-c", CLOSED).out.strip() == "0"
        for address in (two.ip(2), back_ip(two, 8)):
            async with CountingClient(address) as other:
                await other.more(5)
        await front.more(5)
        await back.more(5)
    look = f"cat /sys/class/net/eth*/address; {LOOK.partition('; ')[2]}"
    told = [two.ok("ct", "exec", name, "--", "sh", "-c", look).out.splitlines() for name in ("web", "twin")]
    assert len({*told[0][:2], *told[1][:2]}) == 4
    assert [line.partition(" src ")[0] for line in told[1][2:]] == [line.partition(" src ")[0] for line in told[0][2:]]
    for words, code, said in (
        (("--nic", f"eth2=br1,{back_ip(two, 9)}/24"), 2, "has no card eth2"),
        (("--nic", nic(two, 7)), 3, f"--nic {back_ip(two, 7)}: container web on n1 has this address"),
        (("--nic", f"eth1=br1,{back_ip(two, 1)}"), 3, f"--nic {back_ip(two, 1)}: something on the network answers"),
    ):
        done = two.migrator("ct", "clone", "web", "third", "--live", *words)
        assert (done.code, said in done.err, len(done.err.strip().splitlines())) == (code, True, 1), done
    bind = shlex.quote(BOUND.format(ip=back_ip(two, 8)))
    waits = "for i in 1 2 3 4 5 6 7 8 9 10; do ss -Htln | grep -q :8080 && exit; sleep 0.1; done; exit 1"
    begin = f"python3 -c {bind} > /dev/null 2>&1 < /dev/null & {waits}"
    two.ok("ct", "exec", "twin", "--", "sh", "-c", begin)
    done = two.migrator("ct", "clone", "twin", "third", "--live")
    assert (done.code, f"has a tcp socket at {back_ip(two, 8)}:8080" in done.err) == (3, True), done
