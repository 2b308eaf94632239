"""A host whose controllers are of cgroup version 1 is left, alive, for one of version 2, and gone back to: two kernels
that enforce limits, each by its own version.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from migrator.lab import lab as labs
from tests.lab.client import CountingClient
from tests.lab.stage import Stage

MIB = 1 << 20
BLACKOUT = ("--max-blackout", "300")
LIMITS = ("--memory", "96M", "--swap", "0", "--pids", "64", "--cpus", "0.5")
TAKES = ("python3", "-c", "import os; print(len(os.urandom(150 << 20)))")
FIRST = {
    "memory/ct/web/memory.limit_in_bytes": str(96 * MIB),
    "memory/ct/web/memory.memsw.limit_in_bytes": str(96 * MIB),
    "pids/ct/web/pids.max": "64",
    "cpu/ct/web/cpu.cfs_quota_us": "50000",
}
SECOND = {"memory.max": str(96 * MIB), "memory.swap.max": "0", "pids.max": "64", "cpu.max": "50000 100000"}

# In this host's own init, on its own disk: hierarchies as systemd mounts them, in place of the one tree. Mounted at the
# boot, for the kernel gives a controller that was used in the tree to no hierarchy.
BOOT_VM = "/usr/local/sbin/boot-vm"
EDIT = r"""
from pathlib import Path
boot = Path("BOOT_VM")
text = boot.read_text()
before, rest = text.split("mount -t cgroup2 cgroup2 /sys/fs/cgroup\n")
between, rest = rest.split("# On a cgroup v2 tree with controllers")
after = rest[rest.index("mkdir -p /run/sshd"):]
mounts = '''mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
for hierarchy in none,name=systemd cpu,cpuacct cpuset memory devices freezer blkio pids net_cls,net_prio \
    hugetlb rdma misc; do
    at=/sys/fs/cgroup/${hierarchy#none,name=}
    mkdir "$at"
    mount -t cgroup -o "$hierarchy" cgroup "$at" || rmdir "$at"
done
ln -s cpu,cpuacct /sys/fs/cgroup/cpu
ln -s cpu,cpuacct /sys/fs/cgroup/cpuacct
mkdir /sys/fs/cgroup/unified
mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified
mount -o remount,ro /sys/fs/cgroup
'''
boot.with_suffix(".second").write_text(text)
boot.write_text(before + mounts + between + after)
""".replace("BOOT_VM", BOOT_VM)


@pytest.fixture
def old(up: Stage) -> Iterator[Stage]:
    """n1 with version 1, for one test."""
    edited = up.on_node("n1", "python3", "-c", EDIT)
    assert edited.code == 0, edited.err
    try:
        labs.reboot(up.paths, "n1")
        yield up
        up.remove_all()
        assert up.leftovers() == []
    finally:
        up.on_node("n1", "sh", "-c", f"cat {BOOT_VM}.second > {BOOT_VM} && rm {BOOT_VM}.second && sync")
        labs.reboot(up.paths, "n1")


def in_force(stage: Stage, node: str) -> dict[str, str]:
    wanted, top = (FIRST, "/sys/fs/cgroup") if node == "n1" else (SECOND, "/sys/fs/cgroup/ct/web")
    return {name: stage.on_node(node, "cat", f"{top}/{name}").out.strip() for name in wanted}


@pytest.mark.parametrize("runtime", ["runc", "crun"])
async def test_it_goes_from_version_1_to_version_2_and_back_within_its_limits(old: Stage, runtime: str) -> None:
    ip = old.counter("web", "n1", 5, more=(*LIMITS, "--runtime", runtime))
    assert in_force(old, "n1") == FIRST
    async with CountingClient(ip, connect_tries=600) as client:
        for target, wanted in (("n2", SECOND), ("n1", FIRST)):
            await asyncio.to_thread(old.ok, "migrate", "web", "--to", target, *BLACKOUT)
            await client.more(10, timeout_s=300)
            assert in_force(old, target) == wanted
            assert old.migrator("ct", "exec", "web", "--", *TAKES).code == 137  # the kernel ends it
