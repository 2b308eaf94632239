"""Files of other systems become snapshots, or one line that says what is wrong with them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from migrator.demo.fleets import fleet_text
from migrator.errors import BadInput, Refused
from migrator.inventory import ganeti, proxmox
from migrator.inventory.ganeti_export import after_plan
from migrator.model.facts import Cluster, Link, Resources
from migrator.model.plan import Plan
from migrator.model.plan_policy import PlanPolicy
from migrator.model.what_if import after
from migrator.planner.balance import Terms
from migrator.planner.drain import drain
from migrator.planner.moves import move
from migrator.planner.rebalance import rebalance

GIB = 1 << 30
LONG = PlanPolicy(blackout_s_max=86_400)
GANETI = """g1|u1|preferred||

n1|8192|1024|3072|102400|81920|16|Y|u1|1
n2|8192|1024|7168|102400|102400|16|N|u1|1
n3|8192|1024|6144|102400|102400|16|M|u1|1

web.example|2048|10240|2|running|Y|n1||plain|svc:0|1
db|2048|10240|2|running|Y|n1||rbd|svc:1,other|1
db2|1024|10240|2|running|Y|n3||rbd|svc:1|1
idle|1024|10240|2|ADMIN_down|Y|n3||plain||1

htools:iextags:svc

g1|128,1,1024,1,1,1|128,1,1024,1,1,1;65536,16,1048576,16,8,12|plain|4.0|32.0
"""
PROXMOX = [
    {
        "type": "node",
        "node": "pve1",
        "status": "online",
        "maxcpu": 8,
        "maxmem": 8 * GIB,
        "mem": 4 * GIB,
        "maxdisk": GIB,
    },
    {"type": "node", "node": "pve2", "status": "online", "maxcpu": 8, "maxmem": 8 * GIB, "mem": GIB, "maxdisk": GIB},
    {"type": "node", "node": "pve3", "status": "offline"},
    {"type": "storage", "node": "pve1", "storage": "local", "id": "storage/pve1/local"},
    {"type": "lxc", "node": "pve1", "vmid": 101, "name": "Web", "status": "running", "maxcpu": 2, "maxmem": GIB}
    | {"mem": GIB // 2, "tags": "plb_anti_affinity_web;prod"},
    {"type": "qemu", "node": "pve1", "vmid": 9000, "name": "tmpl", "template": 1, "status": "stopped"},
    {"type": "lxc", "node": "pve1", "vmid": 102, "status": "stopped", "maxmem": GIB},
]


def test_ganetis_nodes_have_what_is_not_their_own_and_cpus_by_the_policys_ratio():
    cluster = ganeti.parse(GANETI, "f", Link(125, 125))
    assert cluster.node("n1").capacity == Resources(64_000, 7 * GIB, 100 * GIB)
    assert cluster.node("n1").memory_available_bytes == 3 * GIB
    assert cluster.node("n1").link == Link(125, 125)
    assert [n.cordon for n in cluster.nodes] == ["Ganeti", None, None]


def test_ganetis_instances_keep_sizes_states_and_exclusion_tags():
    cluster = ganeti.parse(GANETI, "f", Link())
    web = cluster.node("n1").container("web-example")
    assert web is not None and web.descriptor is not None
    assert (web.reserved, web.anon_bytes, web.files_bytes) == (Resources(2000, 2 * GIB, 10 * GIB), 2 * GIB, 10 * GIB)
    assert web.descriptor.labels == {"svc": "0", "anti-affinity": "svc:0"}
    idle = cluster.node("n3").container("idle")
    assert idle is not None
    assert (idle.state, idle.alive, idle.anon_bytes) == ("stopped", False, 0)


def test_disks_on_shared_storage_are_neither_copied_nor_counted():
    db = ganeti.parse(GANETI, "f", Link()).node("n1").container("db")
    assert db is not None
    assert (db.files_bytes, db.reserved.disk_bytes) == (0, 0)


def test_a_plan_of_a_ganeti_file_keeps_its_exclusion_tags_apart():
    made = drain(ganeti.parse(GANETI, "f", Link()), ["n1"], "x", PlanPolicy(blackout_s_max=600))
    assert isinstance(made, Plan), made
    assert made.move("db").target == "n2"  # db2 of the same group is on n3


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("n2|8192", "n2|many", "f:4: 'many' is no number"),
        ("n2|8192", "n1|8192", "f:4: there are two nodes 'n1'"),
        ("|Y|n1||plain", "|Y|n9||plain", "no node 'n9' is there, and web-example is on it"),
        ("db2|", "db|", "there are two instances 'db'"),
        ("|plain|svc:0|1", "", "f:7: 8 fields, 10 are wanted"),
        ("|4.0|32.0", "|none|32.0", "f:14: the CPU ratio is 'none'"),
        ("web.example", "$(reboot)", "cannot be made the name of a container"),
        ("n3|8192", "-oProxyCommand|8192", "cannot be the name of a node"),
    ],
)
def test_what_is_wrong_in_a_ganeti_file_is_said_with_its_line(old: str, new: str, said: str):
    with pytest.raises(BadInput) as caught:
        ganeti.parse(GANETI.replace(old, new), "f", Link())
    assert said in str(caught.value)


def moved(cluster: Cluster, **goals: str) -> Plan:
    made = move(cluster, {name.replace("_", "-"): goal for name, goal in goals.items()}, "-", LONG, "move")
    assert isinstance(made, Plan), made
    return made


def test_an_export_is_the_file_again_with_what_the_plan_moves_on_its_new_node():
    plan = moved(ganeti.parse(GANETI, "f", Link()), web_example="n2", db="n3", db2="n2")
    out = after_plan(GANETI, "f", plan).splitlines()
    changed = [(old, new) for old, new in zip(GANETI.splitlines(), out, strict=True) if old != new]
    assert [new for _, new in changed] == [
        "n1|8192|1024|7168|102400|92160|16|Y|u1|1",
        "n2|8192|1024|4096|102400|92160|16|N|u1|1",
        "n3|8192|1024|5120|102400|102400|16|M|u1|1",
        "web.example|2048|10240|2|running|Y|n2||plain|svc:0|1",
        "db|2048|10240|2|running|Y|n3||rbd|svc:1,other|1",
        "db2|1024|10240|2|running|Y|n2||rbd|svc:1|1",
    ]


def test_an_export_imported_again_is_the_fleet_after_the_plan():
    text = fleet_text(6, 40, 1)
    before = ganeti.parse(text, "f", Link())
    made = rebalance(before, "-", LONG, Terms(1000, 0.05))
    again, end = ganeti.parse(after_plan(text, "f", made), "f", Link()), after(before, made)
    assert made.moves
    for got, wanted in zip(again.nodes, end.nodes, strict=True):
        assert [c.name for c in got.containers] == sorted(c.name for c in wanted.containers)
        assert got.reserved == wanted.reserved
        assert got.memory_available_bytes == wanted.memory_available_bytes
        assert got.disk_available_bytes == wanted.disk_available_bytes
    assert after_plan(text, "f", replace(made, moves=())) == text


def test_an_export_of_another_file_than_the_plans_is_refused():
    plan = moved(ganeti.parse(GANETI, "f", Link()), db="n3", db2="n2")
    elsewhere = GANETI.replace("running|Y|n1||rbd", "running|Y|n2||rbd")
    for text, said in [
        (elsewhere, "f:8: container db is on node n2, and the plan moves it from n1"),
        (GANETI.replace("db2|1024", "db3|1024"), "container db2, which the plan moves, is not in this file"),
        (GANETI.replace("n2|8192", "n4|8192"), "node n2, to which the plan moves db2, is not in this file"),
    ]:
        with pytest.raises(Refused, match=said):
            after_plan(text, "f", plan)


def imported(items: object) -> Cluster:
    return proxmox.parse(json.dumps(items), "f", Link(), 4.0)[0]


@pytest.mark.parametrize("wrapped", [False, True])
def test_proxmoxs_guests_become_containers_and_templates_and_storage_do_not(wrapped: bool):
    cluster = imported({"data": PROXMOX} if wrapped else PROXMOX)
    assert [c.name for c in cluster.node("pve1").containers] == ["lxc-102", "web-101"]
    web = cluster.node("pve1").container("web-101")
    assert web is not None and web.descriptor is not None
    assert (web.reserved.cpu_milli, web.reserved.memory_bytes, web.anon_bytes) == (2000, GIB, GIB // 2)
    assert web.descriptor.labels["anti-affinity"] == "web"
    assert cluster.node("pve1").capacity.cpu_milli == 32_000


def test_what_of_a_proxmox_file_is_left_out_or_taken_for_something_else_is_said_with_numbers():
    more = [
        {"type": "lxc", "node": "pve3", "vmid": 301, "status": "running"},
        {"type": "qemu", "node": "pve2", "vmid": 201, "status": "running", "maxmem": GIB},
        {"type": "qemu", "node": "pve2", "vmid": 202, "status": "paused", "maxmem": GIB},
        {"type": "pool"},
        "nothing",
    ]
    cluster, told = proxmox.parse(json.dumps([*PROXMOX, *more]), "f", Link(), 4.0)
    assert len(cluster.node("pve2").containers) == 2
    assert told == (
        "1 node not online, so nothing is placed there or moved from there: pve3 (offline)",
        "1 guest left out, on nodes that are not online",
        "1 template left out: a template never runs",
        "2 QEMU guests taken as containers for their room, with the label type=qemu; only OS containers "
        "can be moved, so pin them: {rule: pin, containers: type=qemu} in a policy file",
        "2 guests not running: plans leave them where they are with --leave-stopped",
        "left out, being neither nodes nor guests: 1 pool, 1 storage, 1 unknown",
    )
    assert proxmox.parse(json.dumps(PROXMOX[:2]), "f", Link(), 4.0)[1] == ()


def test_a_proxmox_node_that_is_not_online_is_left_out_and_says_why():
    assert imported(PROXMOX).node("pve3").error == "node pve3: its status is offline"


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([], "no node is in it"),
        (7, "not a list of cluster resources"),
        ([{"type": "lxc", "node": "pve1"}], "item 1: vmid: is missing"),
        ([{"type": "node", "node": "pve1", "maxmem": -1}], "item 1: maxmem"),
        ([{"type": "node", "node": "pve1", "maxcpu": "x"}], "item 1: maxcpu: is to be a number, not 'x'"),
        ([{"type": "node", "node": "pve1"}] * 2, "item 2: there are two nodes 'pve1'"),
        ([*PROXMOX, {"type": "lxc", "vmid": 7, "node": "pve9"}], "no node 'pve9' is there, and lxc-7 is on it"),
    ],
)
def test_what_is_wrong_in_a_proxmox_file_is_said(items: object, said: str):
    with pytest.raises(BadInput) as caught:
        imported(items)
    assert said in str(caught.value)
