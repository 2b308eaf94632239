"""Limits on kernels that enforce them all: changed under a running container, in force at once, and after a move."""

from __future__ import annotations

from tests.lab.stage import Outcome, Stage

MIB = 1 << 20
BLACKOUT = ("--max-blackout", "300")
# Holds 40 MiB: the kernel looks for the largest when memory ends, and that is to be another.
HOLDER = """
import time
held = bytearray(40 << 20)
print("holds", flush=True)
time.sleep(100000)
"""
TAKES = ("python3", "-c", "x = bytearray(150 << 20); print('taken')")
FILES = ("memory.max", "memory.swap.max", "cpu.max", "pids.max")


def kernel(vms: Stage, node: str) -> list[str]:
    paths = [f"/sys/fs/cgroup/ct/web/{name}" for name in FILES]
    return vms.on_node(node, "cat", *paths).out.split("\n")[: len(FILES)]


def migrator(vms: Stage, *words: str) -> Outcome:
    done = vms.migrator(*words)
    assert done.code == 0, (words, done.out, done.err)
    return done


def test_what_is_set_is_in_force_while_it_runs_and_where_it_moves(vms: Stage) -> None:
    options = ("--node", "n1", "--template", "debian", "--ip", vms.ip(5), "--memory", "128M", "--swap", "0")
    migrator(vms, "ct", "create", "web", *options, "--", "python3", "-c", HOLDER)
    assert kernel(vms, "n1") == [str(128 * MIB), "0", "100000 100000", "max"]
    assert vms.says("web", "holds\n")
    assert vms.migrator("ct", "exec", "web", "--", *TAKES).out == ""  # the kernel ends it

    low = vms.migrator("ct", "set", "web", "--memory", "40M")
    assert (low.code, "of memory now, and was to have 40 MiB" in low.err) == (3, True), low.err
    assert kernel(vms, "n1")[0] == str(128 * MIB)

    done = migrator(vms, "ct", "set", "web", "--memory", "300M", "--swap", "16M", "--cpus", "0.5", "--pids", "100")
    assert "in force at once" in done.out
    wanted = [str(300 * MIB), str(16 * MIB), "50000 100000", "100"]
    assert kernel(vms, "n1") == wanted
    assert migrator(vms, "ct", "exec", "web", "--", *TAKES).out == "taken\n"
    (row,) = migrator(vms, "ct", "list", "--json").json()["containers"]
    assert row["not_enforced"] == []

    migrator(vms, "migrate", "web", "--to", "n2", *BLACKOUT)
    assert kernel(vms, "n2") == wanted
    migrator(vms, "ct", "set", "web", "--memory", "200M", "--swap", "none", "--pids", "none")
    assert kernel(vms, "n2") == [str(200 * MIB), "max", "50000 100000", "max"]
    migrator(vms, "ct", "stop", "web", "--grace", "0")
    migrator(vms, "ct", "start", "web")
    assert kernel(vms, "n2") == [str(200 * MIB), "max", "50000 100000", "max"]


def test_one_that_its_own_limit_kills_is_told_by_the_guard_and_what_it_writes_is_held_back(vms: Stage) -> None:
    options = ("--node", "n1", "--template", "debian", "--ip", vms.ip(5), "--memory", "128M", "--swap", "0")
    migrator(vms, "ct", "create", "web", *options, "--", "python3", "-c", HOLDER)
    assert vms.says("web", "holds\n")
    before, after = (str(vms.journal.with_name(name)) for name in ("before.json", "after.json"))
    migrator(vms, "probe", "-o", before)
    assert vms.migrator("ct", "exec", "web", "--", *TAKES).out == ""  # the kernel ends it
    migrator(vms, "probe", "-o", after)
    found = vms.migrator("guard", "--snapshot", before, "--snapshot", after)
    assert (found.code, "too little memory: web" in found.err) == (3, True), found.err
    assert "container web on n1: 1 OOM kill by its own limit (128.0 MiB)" in found.out
    assert "migrator ct set web --memory 160M --move" in found.out

    limited = vms.migrator("ct", "set", "web", "--io", "write=4M,read-iops=500")
    if limited.code == 3:
        assert "--io: node n1 cannot limit it" in limited.err  # its containers are on no disk that the kernel can limit
        return
    assert limited.code == 0, limited.err
    held = vms.on_node("n1", "cat", "/sys/fs/cgroup/ct/web/io.max").out
    assert ("wbps=4194304" in held, "riops=500" in held) == (True, True), held
    migrator(vms, "migrate", "web", "--to", "n2", *BLACKOUT)
    moved = vms.on_node("n2", "cat", "/sys/fs/cgroup/ct/web/io.max").out
    assert ("wbps=4194304" in moved, "riops=500" in moved) == (True, True), moved
