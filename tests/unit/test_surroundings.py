"""What confines a container and what its network is: words that are refused, and the files that a node is given."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from migrator.errors import BadInput
from migrator.executor.surroundings import Surroundings, parse_around
from migrator.executor.wanted import Wanted
from migrator.inventory.snapshot import to_document
from migrator.model.compatibility import obstacles
from migrator.model.confinement import capabilities
from migrator.model.container import Descriptor, fault
from migrator.model.facts import Cluster, ContainerFacts, NodeFacts, Resources
from migrator.planner.device_notes import device_notes
from migrator.runtime import bundle
from tests.unit.test_bundle import WEB, config

HOSTILE: list[dict[str, Any]] = [
    {"cap_add": ("SYS_MODULE",)},
    {"cap_add": ("sys_admin",)},
    {"cap_drop": ("NO_SUCH",)},
    {"cap_drop": ("ALL",), "user": "www-data"},
    {"devices": ("loop",)},
    {"devices": ("/dev/sda",)},
    {"devices": ("fuse", "fuse")},
    {"hostname": "a\nb"},
    {"hostname": "-a"},
    {"hostname": "x" * 65},
    {"nameservers": ("10.0.0.1\nsearch evil",)},
    {"nameservers": ("10.0.0.1",) * 4},
    {"search": ("a b",)},
    {"routes": ("10.0.0.1/8=10.0.0.1",)},
    {"routes": ("10.0.0.0/8=fd00::1",)},
    {"routes": ("10.0.0.0/8=10.0.0.1 table 7",)},
    {"routes": ("default=10.0.0.1",)},
    {"sysctls": ("kernel.core_pattern=1",)},
    {"sysctls": ("net.ipv4/../../kernel/panic=1",)},
    {"sysctls": ("net.ipv4.ip_forward=1;reboot",)},
    {"sysctls": ("net.ipv4.ip_forward=1", "net.ipv4.ip_forward=0")},
    {"firewall": 'include "/etc/shadow"'},
    {"firewall": "x" * 40_000},
    {"firewall": "\x1b[2J"},
]
GOOD = replace(
    WEB,
    cap_add=("SYS_ADMIN",),
    cap_drop=("NET_RAW",),
    devices=("tun",),
    hostname="web.example.org",
    nameservers=("10.0.0.53", "fd00::53"),
    search=("example.org",),
    routes=("10.8.0.0/16=10.0.0.254", "fd77::/64=fd00::1"),
    sysctls=("net.ipv4.ip_forward=1", "net.ipv4.ip_local_port_range=20000 30000"),
    firewall="table inet filter {\n}\n",
)


@pytest.mark.parametrize("fields", HOSTILE, ids=str)
def test_a_description_that_would_be_more_than_it_says_is_refused(fields: dict[str, Any]) -> None:
    assert fault(replace(WEB, **fields)) in fields


def test_a_description_may_have_all_of_it() -> None:
    assert fault(GOOD) == fault(WEB) == ""


def test_a_container_has_the_list_of_capabilities_and_what_changes_it() -> None:
    assert "NET_RAW" in capabilities(WEB)
    assert "SYS_ADMIN" not in capabilities(WEB)
    assert capabilities(replace(WEB, cap_drop=("ALL",), cap_add=("KILL",))) == ("KILL",)
    bounding = config(GOOD)["process"]["capabilities"]["bounding"]
    assert "CAP_SYS_ADMIN" in bounding
    assert "CAP_NET_RAW" not in bounding


def test_confinement_is_on_unless_a_description_says_otherwise() -> None:
    assert config()["linux"]["seccomp"]["defaultAction"] == "SCMP_ACT_ALLOW"
    assert config()["process"]["noNewPrivileges"] is True
    laxer = config(replace(WEB, seccomp="off", new_privileges=True))
    assert "seccomp" not in laxer["linux"]
    assert laxer["process"]["noNewPrivileges"] is False


def test_a_device_by_request_is_made_and_allowed_and_no_other_is() -> None:
    linux = config(GOOD)["linux"]
    assert [device["path"] for device in linux["devices"]] == ["/dev/net/tun"]
    assert [(rule["allow"], rule.get("minor")) for rule in linux["resources"]["devices"]] == [
        (False, None),
        (True, 200),
    ]
    assert config()["linux"]["devices"] == []


def test_a_node_is_given_what_the_network_is() -> None:
    files = bundle.files(GOOD, "/kit", "br0", ())
    assert files["resolv.conf"] == b"search example.org\nnameserver 10.0.0.53\nnameserver fd00::53\n"
    assert files["firewall"] == GOOD.firewall.encode()
    assert files["net"].decode().splitlines()[-4:] == [
        "route 10.8.0.0/16=10.0.0.254",
        "route fd77::/64=fd00::1",
        "sysctl net/ipv4/ip_forward=1",
        "sysctl net/ipv4/ip_local_port_range=20000,30000",
    ]
    loaded = json.loads(files["config.json"])
    assert loaded["hostname"] == "web.example.org"
    assert [mount["source"] for mount in loaded["mounts"] if mount["destination"] == "/etc/resolv.conf"] == [
        "/var/lib/migrator/containers/web/resolv.conf"
    ]
    assert {"resolv.conf", "firewall"}.isdisjoint(bundle.files(WEB, "/kit", "br0", ()))


def test_words_of_a_person_are_written_canonically() -> None:
    parsed = Surroundings.parse(
        cap_add=("cap_sys_admin",),
        nameservers=("fd00:0::53",),
        routes=("10.8.0.1=10.0.0.254",),
        sysctls=("net.ipv4.conf.eth0.rp_filter=2", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.ip_forward=1"),
    )
    assert (parsed.cap_add, parsed.nameservers) == (("SYS_ADMIN",), ("fd00::53",))
    assert parsed.routes == ("10.8.0.1/32=10.0.0.254",)
    assert [pair.split("=")[0].split(".")[-1] for pair in parsed.sysctls] == ["ip_forward", "rp_filter", "rp_filter"]
    assert ".all." in parsed.sysctls[1]
    with pytest.raises(BadInput, match="--firewall"):
        Surroundings.parse(firewall="/no/such")
    with pytest.raises(BadInput, match="--firewall '': "):
        Surroundings.parse(firewall="")


def test_a_device_is_refused_with_the_runtime_that_could_not_move_it() -> None:
    words: dict[str, Any] = {"name": "web", "template": "debian", "ips": ("10.0.0.7",), "gateways": (), "memory": "64M"}
    words |= {"cpus": 1.0, "disk": "1G", "user": None, "labels": (), "env": (), "command": ("true",)}
    assert Wanted.parse(**words, devices=("fuse",)).devices == ("fuse",)
    with pytest.raises(BadInput, match=r"--device fuse: .* leave out --runtime crun"):
        Wanted.parse(**words, devices=("fuse",), runtime="crun")


def node(name: str, *devices: str, ct: Descriptor | None = None) -> NodeFacts:
    held = (ContainerFacts("web", "serving", 1, 1, True, "-", Resources(), descriptor=ct),) if ct else ()
    return NodeFacts(name=name, devices=devices, containers=held)


def test_a_node_without_the_device_cannot_take_it_and_a_plan_says_where_it_is_pinned() -> None:
    home = node("n1", "tun", ct=GOOD)
    assert any("device tun" in why for why in obstacles(GOOD, node("n2", "fuse")))
    assert not any("device tun" in why for why in obstacles(GOOD, node("n2", "tun")))
    assert list(device_notes([home, node("n2")])) == [
        "devices: container web is pinned to n1: no other node has device tun"
    ]
    assert list(device_notes([home, node("n2", "tun")])) == []


def test_what_an_older_description_lacks_is_not_in_a_snapshot() -> None:
    said = json.dumps(to_document(Cluster("c", (node("n1", ct=WEB),))))
    for field in ("cap_add", "devices", "seccomp", "firewall", "nameservers", "routes"):
        assert field not in said
    assert "tun" in json.dumps(to_document(Cluster("c", (node("n1", "tun", ct=GOOD),))))


def test_rules_that_would_end_with_who_loads_them_are_not_taken_and_may_be_there(tmp_path: Path) -> None:
    text = "table inet site {\n flags dormant, owner;\n}\n"
    (tmp_path / "owned.nft").write_text(text)
    with pytest.raises(BadInput, match="with the flag owner"):
        parse_around(firewall=str(tmp_path / "owned.nft"))
    assert fault(replace(WEB, firewall=text)) == ""
    (tmp_path / "free.nft").write_text("table inet owner {\n flags dormant;\n comment owner\n}\n")
    assert parse_around(firewall=str(tmp_path / "free.nft")).firewall
