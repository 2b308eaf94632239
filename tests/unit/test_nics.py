"""Network cards beside the first: what is asked for, what nodes are told, and where such a container may be."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from migrator.errors import BadInput
from migrator.executor.wanted import Wanted
from migrator.inventory import snapshot
from migrator.model import nics
from migrator.model.compatibility import obstacles
from migrator.model.container import Descriptor, fault
from migrator.model.facts import Cluster, ContainerFacts, NodeFacts, Resources
from migrator.model.policy import Policy
from migrator.model.rates import DEFAULT_RATES
from migrator.planner.device_notes import device_notes
from migrator.protocol.checks import Answered, Neighbour, findings
from migrator.runtime import bundle
from tests.unit.test_bundle import WEB
from tests.unit.test_injection import wanted

BACK = nics.Nic("eth1", "br1", ("10.1.0.7/24", "fd01::7/64"))
TWO = replace(WEB, nics=(BACK, nics.Nic("eth2", "br2", ("10.2.0.7/24",), "02:00:00:00:00:22")))
KIT = Path(bundle.__file__).parent / "kit"


def asked(*given: str, **more: Any) -> Wanted:
    return wanted(nics=given, **more)


def net(ct: Descriptor) -> list[str]:
    return bundle.net_file(ct, "br0").decode().splitlines()


def test_a_card_is_asked_for_by_name_bridge_addresses_and_mac() -> None:
    found = asked("eth2=br2,10.2.0.7,mac=02:00:00:00:00:22", "eth1=br1,10.1.0.7/24,fd01::7")
    assert found.nics == TWO.nics
    assert nics.parse(str(TWO.nics[1])) == TWO.nics[1]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("eth0=br0,10.1.0.7",), "eth0 is made by --ip"),
        (("lan=br1,10.1.0.7",), "are called eth1 to eth7"),
        (("eth1=br1",), "write NAME=BRIDGE"),
        (("eth1",), "write NAME=BRIDGE"),
        (("eth1=br 1,10.1.0.7",), "no name of a bridge"),
        (("eth1=br1,10.1.0.0/24",), "not an address for one container"),
        (("eth1=br1,10.1.0.x",), "eth1=br1"),
        (("eth1=br1,10.1.0.7,mac=01:00:00:00:00:01",), "no MAC address of one card"),
        (("eth1=br1,10.1.0.7,mac=",), "mac="),
        (("eth1=br1,10.1.0.7,mac=2",), "is no MAC address"),
        (("eth1=br1,10.0.0.7",), "10.0.0.7 is there twice"),  # it is eth0's
        (("eth1=br1,10.1.0.7", "eth1=br2,10.2.0.7"), "eth1 is there twice"),
        (("eth1=br1," + ",".join(f"10.1.0.{n}" for n in range(1, 17)),), "at most 16 addresses"),
    ],
)
def test_what_is_no_card_is_refused_with_its_option(given: tuple[str, ...], said: str) -> None:
    with pytest.raises(BadInput, match="--nic") as refused:
        asked(*given)
    assert said in str(refused.value)


def test_a_sysctl_of_a_card_needs_the_card() -> None:
    assert asked("eth1=br1,10.1.0.7", sysctls=("net.ipv4.conf.eth1.rp_filter=0",))
    with pytest.raises(BadInput, match="no such card"):
        asked("eth1=br1,10.1.0.7", sysctls=("net.ipv4.conf.eth2.rp_filter=0",))
    assert fault(replace(TWO, sysctls=("net.ipv4.conf.eth3.rp_filter=0",))) == "nics"


def test_each_card_has_a_mac_of_its_own_that_is_the_same_on_every_node() -> None:
    macs = [card.mac for card in TWO.cards]
    assert len(set(macs)) == 3
    assert macs[0] == WEB.mac
    assert macs[2] == "02:00:00:00:00:22"
    assert all(int(mac[:2], 16) & 3 == 2 for mac in macs)
    assert all(len(card.cable) <= 15 for card in replace(TWO, id_index=64_999).cards)


def test_a_node_is_told_of_one_card_what_it_always_was() -> None:
    assert net(TWO)[: len(net(WEB))] == net(WEB)
    assert net(TWO)[len(net(WEB)) :] == [
        f"nic eth1,ct20-1,br1,{TWO.cards[1].mac}",
        "at eth1,10.1.0.7/24",
        "at eth1,fd01::7/64",
        "nic eth2,ct20-2,br2,02:00:00:00:00:22",
        "at eth2,10.2.0.7/24",
    ]


def test_a_gateway_is_reached_by_the_card_that_is_in_its_network() -> None:
    routed = replace(
        TWO, gateway="10.0.0.1", gateway6="fd01::1", routes=("10.9.0.0/16=10.2.0.1", "10.8.0.0/16=1.2.3.4")
    )
    assert [line for line in net(routed) if line.startswith("by ")] == ["by 10.2.0.1=eth2", "by fd01::1=eth1"]


def read_net(ct: Descriptor, tmp_path: Path, script: str) -> str:
    """What the kit makes of a container's network file."""
    (tmp_path / ct.name).mkdir()
    (tmp_path / ct.name / "net").write_bytes(bundle.net_file(ct, "br0"))
    text = f"set -eu; CONTAINERS={tmp_path}; . {KIT}/gate.sh; read_net {ct.name}; {script}"
    return subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=True).stdout


def test_the_kit_reads_what_it_was_told(tmp_path: Path) -> None:
    told = read_net(TWO, tmp_path, 'echo "$n_cables|$n_ends|$n_names|$n_links"')
    macs = [card.mac for card in TWO.cards]
    assert told.strip().split("|") == [
        "ct20,br0 ct20-1,br1 ct20-2,br2",
        " ct20 ct20-1 ct20-2",
        " eth0 eth1 eth2",
        f" eth0={macs[0]} eth1={macs[1]} eth2={macs[2]}",
    ]


def test_a_gate_with_one_missing_bridge_says_which(tmp_path: Path) -> None:
    assert "is not there" in read_net(TWO, tmp_path, "gate_error")
    assert "bridge br0" in read_net(replace(TWO, name="other"), tmp_path, "gate_error")


NODE = NodeFacts(name="n2", bridges=("br0", "br1", "br2"), templates={"debian": "d"})


def test_a_target_without_its_bridge_is_refused_and_a_plan_says_who_is_pinned_so() -> None:
    assert list(obstacles(TWO, NODE)) == []
    lacking = replace(NODE, bridges=("br0", "br1"))
    (why,) = obstacles(TWO, lacking)
    assert why.startswith("bridge br2, which its card eth2 is on, is not there")
    home = replace(NODE, name="n1", containers=(of(TWO),))
    assert list(device_notes([home, NODE])) == []
    assert list(device_notes([home, lacking])) == [
        "bridges: container web is pinned to n1: no other node has bridge br1 and br2"
    ]


def of(ct: Descriptor) -> ContainerFacts:
    return ContainerFacts(ct.name, "serving", 1, 1, True, "-", Resources(), descriptor=ct)


def test_each_address_is_asked_for_on_its_own_cards_bridge_and_answered_by_no_other_machine() -> None:
    source = replace(NODE, name="n1", containers=(of(TWO),), memory_available_bytes=1 << 40)
    target = replace(NODE, memory_available_bytes=1 << 40, disk_available_bytes=1 << 40)

    def against(**answered: Answered) -> list[str]:
        seen = {ip: Answered((card.mac,)) for card in TWO.cards for ip in TWO.ips if TWO.card_of(ip) == card}
        seen |= {ip.replace("_", "."): answer for ip, answer in answered.items()}
        found = findings(TWO, source, target, Neighbour(seen, True), Policy(), DEFAULT_RATES["stream"])
        return [why for why in found if why.startswith("address")]

    assert against() == []
    assert against(**{"10_1_0_7": Answered(tuple(card.mac for card in TWO.cards))}) == []  # all in one network
    assert against(**{"10_1_0_7": Answered(("02:00:00:00:00:09",))}) == [
        "address 10.1.0.7 is also used by 02:00:00:00:00:09; find that machine"
    ]
    (apart,) = against(**{"10_2_0_7": Answered((), at_source=True)})
    assert "on n1's bridge br2 and not on n2's bridge br2" in apart


def test_a_snapshot_of_before_is_read_and_one_card_more_is_kept(tmp_path: Path) -> None:
    for ct, there in ((WEB, False), (TWO, True)):
        cluster = Cluster("c", (replace(NODE, containers=(of(ct),)),))
        snapshot.save(cluster, tmp_path / "facts")
        assert ("nics" in json.dumps(snapshot.to_document(cluster))) == there
        assert snapshot.load(tmp_path / "facts") == cluster


@pytest.mark.parametrize(
    "wrong",
    [
        (replace(BACK, name="eth0"),),
        (replace(BACK, bridge="br1\nveth eth0"),),
        (replace(BACK, addresses=()),),
        (replace(BACK, addresses=("10.0.0.7/24",)),),
        (replace(BACK, mac="02:00:00:00:00:2"),),
        (BACK, BACK),
    ],
)
def test_a_description_from_elsewhere_with_a_card_that_cannot_be_is_not_believed(wrong: tuple[nics.Nic, ...]) -> None:
    assert fault(TWO) == ""
    assert fault(replace(WEB, nics=wrong)) in ("nics", "more_addresses")
