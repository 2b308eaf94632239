"""Rules that a container's root has made with iptables and nft: each kind of them goes along, and is the same again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from migrator.lab.walled import WALLED
from tests.lab.client import CountingClient
from tests.lab.stage import Stage
from tests.lab.test_network import dual, in_thread, inside

RULES = Path(__file__).parent / "rules"
LOOKS = "iptables-save; ip6tables-save; arptables-nft-save; nft list ruleset"


@pytest.fixture(scope="module")
def walled(stage: Stage) -> Iterator[None]:
    """The template with iptables, on the first node; a move brings it to others."""
    WALLED.build(print)
    WALLED.offer(stage.paths, "n1")
    yield
    for node in stage.spec.nodes:
        stage.on_node(node, "sh", "-c", "umount /var/lib/migrator/containers/*/* 2>/dev/null; true")
        WALLED.take_back(stage.paths, node)


def within(stage: Stage, script: str) -> str:
    """What its own root is told by a script inside."""
    return stage.ok("ct", "exec", "web", "--", "sh", "-c", f"export PATH=$PATH:/usr/sbin:/sbin; {script}").out


def looked(stage: Stage) -> str:
    """Its rules as both programs tell them, without what counts and runs on."""
    told = within(stage, LOOKS)
    for moving in (
        r"^#.*$",
        r"\[\d+:\d+\]",
        r"packets \d+ bytes \d+",
        r" expires \w+",
        r" used \d+ \w+",
        r"last used .*",
    ):
        told = re.sub(moving, "", told, flags=re.MULTILINE)
    return told


@pytest.mark.usefixtures("walled")
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize(("made_by", "command"), [("every.sh", "sh -s"), ("every.nft", "nft -f -")])
async def test_every_kind_of_rule_is_the_same_after_a_move_there_and_back(
    tidy: Stage, which: int, made_by: str, command: str
) -> None:
    """With a client whose connection only rules let go on that ask for its state; of IPv4 it is translated, too."""
    ips = dual(tidy, 20, WALLED.name)
    within(tidy, f"{command} <<'END'\n{(RULES / made_by).read_text()}\nEND")
    before = looked(tidy)
    assert before.count("\n") > 200
    async with CountingClient(ips[which], port=7000 if which else 7001) as client:
        for target in ("n2", "n1"):
            done = await in_thread(tidy, "migrate", "web", "--to", target)
            assert done.code == 0, done.err
            await client.more(20)
            assert looked(tidy) == before


@pytest.mark.usefixtures("walled")
@pytest.mark.parametrize(
    ("rule", "named"),
    [
        ("iptables -A INPUT -p tcp --dport 22 -m recent --set --name seen", "recent"),
        ("ip6tables -A INPUT -m quota --quota 500 -m comment --comment lost", "quota"),
        ("iptables -A INPUT -m cgroup --cgroup 5 -j IDLETIMER --timeout 5 --label x", "IDLETIMER cgroup"),
    ],
)
def test_a_rule_that_keeps_what_is_not_carried_is_refused_by_name(tidy: Stage, rule: str, named: str) -> None:
    dual(tidy, 21, WALLED.name)
    within(tidy, rule)
    refused = tidy.migrator("migrate", "web", "--to", "n2", "--dry-run")
    assert (refused.code, f"its network has rules that use {named}, which a live move does not" in refused.err) == (
        3,
        True,
    ), refused.err


@pytest.mark.usefixtures("walled")
def test_a_twin_and_a_rehearsed_copy_have_its_rules(tidy: Stage) -> None:
    dual(tidy, 22, WALLED.name)
    within(
        tidy, "iptables -A INPUT -p tcp --dport 9 -m conntrack --ctstate NEW -m owner --socket-exists -j REJECT || :"
    )
    within(tidy, "iptables -A OUTPUT -m owner --uid-owner 33 -j REJECT")
    before = looked(tidy)
    tidy.ok("rehearse", "web", "--to", "n2")
    tidy.ok("ct", "clone", "web", "twin", "--live", "--ip", tidy.ip(23))
    told = tidy.ok("ct", "exec", "twin", "--", "sh", "-c", "PATH=$PATH:/usr/sbin iptables-save").out
    assert "--uid-owner 33 -j REJECT" in told and "--uid-owner 33 -j REJECT" in before
    tidy.ok("ct", "destroy", "twin", "--force", "--yes")


# In place of the card that it was made with, one with another number, as a container has that was adopted.
RENUMBERED = """
read pid < /sys/fs/cgroup/ct/web/cgroup.procs
inside="nsenter --net=/proc/$pid/ns/net"
cd /var/lib/migrator/containers/web
cable=$(sed -n 's/^veth //p' net)
ip link del "$cable"
$inside ip link add eth0 index 77 address "$(sed -n 's/^mac //p' net)" type veth peer name "$cable" netns $$
ip link set "$cable" addrgenmode none
ip link set "$cable" arp off master br0 up
for address in $(sed -n 's/^address //p' net); do
    $inside ip address add "$address" dev eth0
done
$inside ip link set eth0 up
$inside nft -f - << END
table inet own {
    set cards { type iface_index; elements = { "lo", "eth0" }; }
    chain in { type filter hook input priority 0; iif "eth0" tcp dport 9 drop; iif @cards tcp dport 10 drop; }
}
END
"""


async def test_a_rule_that_names_a_card_by_its_number_names_the_same_one_after_a_move(tidy: Stage) -> None:
    ip, _ = dual(tidy, 24)
    made = tidy.on_node("n1", "sh", "-e", stdin=RENUMBERED)
    assert made.code == 0, made.err
    before = inside(tidy, "n1", "nft list ruleset").out
    assert 'iif "eth0"' in before
    async with CountingClient(ip) as client:
        for target in ("n2", "n1"):
            done = await in_thread(tidy, "migrate", "web", "--to", target)
            assert done.code == 0, done.err
            await client.more(20)
            assert inside(tidy, target, "ip -o link show eth0").out.startswith("77: ")
            assert inside(tidy, target, "nft list ruleset").out == before
