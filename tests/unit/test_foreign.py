"""What of a container that was begun without us can be moved, and who would start it again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from migrator.model.container import fault
from migrator.model.facts import Resources
from migrator.model.foreign import Foreign, descriptor_of, findings, room_for

OWN = dict.fromkeys(("pid", "net", "ipc", "uts", "mnt", "user"), True)
GOOD = Foreign(
    runtime="runc",
    status="running",
    pid=4321,
    started="99",
    rootfs="/srv/plain/rootfs",
    root_type="ext4",
    same_disk=True,
    namespaces=OWN,
    uid_map=((0, 50 * 65536, 65536),),
    gid_map=((0, 50 * 65536, 65536),),
    mounts=(("proc", "/proc"), ("tmpfs", "/dev"), ("devtmpfs", "/dev/null"), ("tmpfs", "/proc/kcore")),
    outside=(("/dev/null", "null"), ("/dev/tty", "tty"), ("/proc/kcore", "null")),
    group="/user/plain",
    args=("/bin/server",),
    env=("A=b",),
    capabilities=("CHOWN", "KILL", "SYS_PTRACE"),
    no_new_privileges=True,
    files_kib=2048,
    links=(("eth0", "aa:bb:cc:dd:ee:ff", "veth7", "br0"),),
    addresses=("10.0.0.7/24",),
    gateways=("10.0.0.1",),
)
NONE = dict.fromkeys(("pid", "net", "ipc", "uts", "mnt", "user", "cgroup"), False)


def against(seen: Foreign, addresses: tuple[str, ...] = ()) -> list[str]:
    return [f"{f.what}: {f.text}" for f in findings(seen, "plain", "br0", {20}, addresses) if not f.fit]


def test_one_that_is_as_ours_are_is_fit_in_all_and_becomes_one_of_ours() -> None:
    assert against(GOOD) == []
    ct = descriptor_of(GOOD, "plain", "d", (), 1 << 28, 1000)
    assert fault(ct) == ""
    assert (ct.id_index, ct.address, ct.gateway, ct.command) == (50, "10.0.0.7/24", "10.0.0.1", ("/bin/server",))
    assert (ct.cap_add, "CHOWN" in ct.cap_drop, "NET_RAW" in ct.cap_drop) == (("SYS_PTRACE",), False, True)
    assert (ct.memory_bytes, ct.disk_bytes, ct.new_privileges) == (1 << 28, 2 << 20, False)


def test_what_its_node_has_no_room_for_is_told_when_it_is_looked_at() -> None:
    ct = descriptor_of(GOOD, "plain", "d", (), 1 << 28, 1500)
    assert room_for(ct, Resources(1500, 1 << 28, 2 << 20)).fit
    none = room_for(ct, Resources(1000, 1 << 27, -5))
    assert not none.fit
    assert none.text == (
        "memory (--memory): it would hold 256.0 MiB, and 128.0 MiB are free; "
        "CPUs (--cpus): it would hold 1.5, and 1 are free; "
        "disk: it would hold 2.0 MiB, and 0 B are free; say less, or move something away"
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"status": "stopped"}, "it is stopped, not running"),
        ({"runtime": "crun"}, "crun made it, and is not there any more, or not built with CRIU"),
        ({"runtime": "crun", "status": "unknown"}, "crun made it, and is not there any more"),
        ({"handler": "krun"}, "runc runs it by krun"),
        ({"rootfs": ""}, "not the directory that its bundle names"),
        ({"root_type": "overlay"}, "an overlay over layers of somebody else's"),
        ({"same_disk": False}, "on another filesystem"),
        ({"namespaces": NONE}, "no user namespace: its root is the node's"),
        ({"namespaces": {**NONE, "user": True}}, "no net namespace of its own"),
        ({"namespaces": {**OWN, "cgroup": True}}, "cannot leave group /user/plain (CRIU); begin it in /ct/p"),
        ({"uid_map": ((0, 100000, 65536),)}, "not one range of 65536"),
        ({"uid_map": ((0, 20 * 65536, 65536),), "gid_map": ((0, 20 * 65536, 65536),)}, "another container"),
        ({"binds": ("/data",)}, "/data is bound in from the node"),
        ({"mounts": (("nfs4", "/srv"),)}, "/srv is a mount of nfs4"),
        ({"mounts": (("cgroup2", "/sys/fs/cgroup"),)}, "/sys/fs/cgroup shows the node's control groups"),
        ({"outside": (("/dev/null", "/srv/x"),)}, "/dev/null is the node's /srv/x"),
        ({"outside": (("/dev/zero", "null"),)}, "/dev/zero is the node's null"),
        ({"outside": (("/proc/cpuinfo", "/run/cpuinfo"),)}, "/proc/cpuinfo is the node's /run/cpuinfo"),
        ({"outside": (("/sys/firmware", "/run/crun/.empty-directory"),)}, "/sys/firmware is the node's /run/crun/.em"),
        ({"untold": 3}, "mounts: it has 3 mounts more than are looked at"),
        ({"devices": ("/dev/fuse",)}, "device /dev/fuse"),
        ({"links": ()}, "give it an address with --ip"),
        ({"links": (*GOOD.links, ("eth1", "m", "veth8", "br0"))}, "its cards are eth0, eth1"),
        ({"links": (("eth0", "m", "veth7", "docker0"),)}, "not at bridge br0"),
        ({"addresses": ()}, "eth0 has no address"),
        ({"terminal": True}, "a terminal that a program of the node holds"),
        ({"descriptors": (("7", "1", "/var/log/x"),)}, "process 7 has /var/log/x open as 1"),
        ({"hooks": ("poststop",)}, "hooks that nobody would run again: poststop"),
        ({"uid": 5}, "begins as user 5"),
        ({"capabilities": ("SYS_MODULE",)}, "capabilities that none of ours has: SYS_MODULE"),
        ({"parents": (("9", "containerd-shim"), ("1", "init"))}, "containerd-shim (9) watches it for containerd"),
        ({"parents": (("9", "conmon"),)}, "conmon (9) watches it for podman or CRI-O"),
        ({"parents": (("9", "runsv"),)}, "runsv (9) watches it for runit"),
        ({"group": ""}, "group: its group is none; begin it in one of its own"),
        ({"group": "/"}, "group: its group is /; begin it in one of its own"),
        ({"group": "/../plain"}, "group: its group is /../plain; begin it in one"),
        ({"group": "/ct"}, "group: its group is /ct, which is for another container"),
        ({"group": "/ct/web"}, "group: its group is /ct/web, which is for another container"),
        ({"group": "/ct/plainer/x"}, "group: its group is /ct/plainer/x, which is for another container"),
        (
            {"strangers": (("9", "sshd"), ("10", "sh"))},
            "its group /user/plain has others' processes: sshd (9), sh (10);",
        ),
        ({"group": "/system.slice/web.service"}, "systemd runs it as web.service"),
        ({"group": "/system.slice/docker-0123.scope"}, "its group is one of docker's"),
    ],
)
def test_whatever_is_otherwise_is_named(change: dict[str, object], said: str) -> None:
    assert any(said in text for text in against(replace(GOOD, **change))), against(replace(GOOD, **change))  # type: ignore[arg-type]


def test_one_with_a_cgroup_namespace_is_fit_where_its_group_is_ours_already() -> None:
    assert against(replace(GOOD, namespaces={**OWN, "cgroup": True}, group="/ct/plain")) == []


def test_one_of_cruns_is_fit_where_its_node_has_a_crun_that_dumps_and_stays_cruns() -> None:
    seen = replace(GOOD, runtime="crun")
    assert [f for f in findings(seen, "plain", "br0", {20}, (), ("crun", "tun")) if not f.fit] == []
    assert descriptor_of(seen, "plain", "d", (), 1 << 28, 1000).runtime == "crun"
    assert descriptor_of(GOOD, "plain", "d", (), 1 << 28, 1000).runtime == "runc"


def test_its_control_groups_may_be_mounted_where_they_are_its_own() -> None:
    mounts = (*GOOD.mounts, ("cgroup2", "/sys/fs/cgroup"))
    assert against(replace(GOOD, mounts=mounts, namespaces={**OWN, "cgroup": True}, group="/ct/plain")) == []


def test_what_is_bound_in_by_request_is_told_once() -> None:
    seen = replace(GOOD, binds=("/data",), outside=(("/data", "/srv/data"),), mounts=(("ext4", "/data"),))
    assert against(seen) == ["mounts: /data is bound in from the node"]


def test_one_without_network_is_given_an_address_and_one_with_a_card_is_not() -> None:
    assert against(replace(GOOD, links=(), addresses=()), ("10.0.0.8/24",)) == []
    assert "leave out --ip" in against(GOOD, ("10.0.0.8/24",))[0]
