"""Devices, capabilities, filters of system calls on real nodes: as asked for, before and after each kind of move."""

from __future__ import annotations

import pytest

from tests.lab.stage import Stage

GIVEN = ["/dev/full", "/dev/null", "/dev/random", "/dev/tty", "/dev/urandom", "/dev/zero"]  # by the runtime
# What a directory tells of them is what they are bound over, so each is asked itself.
LIST_DEVICES = 'for at in /dev/* /dev/net/*; do [ ! -c "$at" ] || [ -h "$at" ] || echo "$at"; done'
# Keeps what it is asked to open, and sleeps.
OPENER = """
import fcntl, os, struct, sys, time
held = os.open(sys.argv[1], os.O_RDWR)
if sys.argv[1] == "/dev/net/tun":
    fcntl.ioctl(held, 0x400454ca, struct.pack("16sH22x", b"tun7", 0x1001))
time.sleep(100000)
"""
# Says of calls whether they are denied: the number of the error, or 0.
CALLS = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def call(*words):
    return ctypes.get_errno() if libc.syscall(*words) < 0 else 0
print(call(425, 8, ctypes.create_string_buffer(120)), call(323, 1), call(250, 0, -3, 0), call(272, 0x10000000))
"""
DENIED = "38 38 1 1\n"  # io_uring and userfaultfd are not there; keyctl and a user namespace are not permitted


def create(stage: Stage, *words: str, program: tuple[str, ...] = ("sleep", "100000")) -> None:
    given = ("--node", "n1", "--template", "debian", "--ip", stage.ip(1), "--cpus", "0.2", *words)
    stage.ok("ct", "create", "web", *given, "--", *program)


def inside(stage: Stage, *command: str) -> str:
    return stage.ok("ct", "exec", "web", "--", *command).out


def confinement(stage: Stage) -> tuple[list[str], str, str]:
    """Its devices, the state of its first process, and what is denied to a process of its own."""
    devices = inside(stage, "sh", "-c", LIST_DEVICES).split()
    status = inside(stage, "grep", "-E", "^(Cap(Eff|Bnd)|NoNewPrivs|Seccomp):", "/proc/1/status")
    return sorted(devices), status, inside(stage, "python3", "-c", CALLS)


def test_a_container_has_the_devices_of_the_list_and_is_confined_wherever_it_goes(tidy: Stage) -> None:
    create(tidy)
    devices, status, denied = confinement(tidy)
    assert devices == GIVEN
    assert status.split() == [
        *("CapEff:", "00000000a80435fb", "CapBnd:", "00000000a80435fb", "NoNewPrivs:", "1", "Seccomp:", "2")
    ]
    assert denied == DENIED
    tidy.ok("migrate", "web", "--to", "n2")
    assert confinement(tidy) == (devices, status, denied)
    tidy.ok("migrate", "web", "--to", "n1", "--mode", "restart")
    assert confinement(tidy) == (devices, status, denied)


def test_what_a_description_changes_is_changed_wherever_it_goes(tidy: Stage) -> None:
    words = ("--cap-add", "sys_admin", "--cap-drop", "CAP_NET_RAW", "--device", "fuse", "--device", "tun")
    create(tidy, *words, "--seccomp", "off", "--new-privileges")
    first = devices, status, denied = confinement(tidy)
    assert devices == sorted([*GIVEN, "/dev/fuse", "/dev/net/tun"])
    assert status.split()[1::2] == ["00000000a82415fb", "00000000a82415fb", "0", "0"]
    assert denied != DENIED
    assert tidy.ok("ct", "list", "--json").json()["containers"][0]["devices"] == ["fuse", "tun"]
    for mode in ("auto", "restart"):
        tidy.ok("migrate", "web", "--to", {"auto": "n2", "restart": "n1"}[mode], "--mode", mode)
        assert confinement(tidy) == first
        assert inside(tidy, "python3", "-c", "open('/dev/fuse', 'r+b', 0); open('/dev/net/tun', 'r+b', 0)") == ""


@pytest.mark.parametrize("device", ["fuse", "tun"])
def test_an_open_device_that_cannot_be_dumped_is_refused_with_the_reason(tidy: Stage, device: str) -> None:
    path = {"fuse": "/dev/fuse", "tun": "/dev/net/tun"}[device]
    create(tidy, "--device", device, program=("python3", "-c", OPENER, path))
    inside(tidy, "sh", "-c", f"until ls -l /proc/1/fd | grep -q {path}; do :; done")
    refused = tidy.migrator("migrate", "web", "--to", "n2")
    assert refused.code == 3
    assert f"process 1 (python3) has {path} open, which CRIU cannot dump" in refused.err
    tidy.ok("migrate", "web", "--to", "n2", "--mode", "restart")
    inside(tidy, "sh", "-c", f"until ls -l /proc/1/fd | grep -q {path}; do :; done")


def test_a_device_pins_a_container_to_the_nodes_that_have_it(tidy: Stage) -> None:
    for node in ("n2", "n3"):
        tidy.on_node(node, "mv", "/dev/fuse", "/dev/fuse.away")
    try:
        create(tidy, "--device", "fuse")
        told = tidy.migrator("migrate", "web", "--to", "n2", "--dry-run")
        assert "device fuse (/dev/fuse) is not there" in told.out + told.err
        refused = tidy.migrator("migrate", "web", "--to", "n2")
        assert (refused.code, "device fuse (/dev/fuse) is not there" in refused.err) == (3, True)
        drained = tidy.migrator("plan", "drain", "n1")
        assert (drained.code, "device fuse (/dev/fuse) is not there" in drained.out + drained.err) == (3, True)
        beside = tidy.ok("plan", "rebalance", "--json").out
        assert "container web is pinned to n1: no other node has device fuse" in beside
        words = ("--node", "n2", "--template", "debian", "--ip", tidy.ip(2), "--device", "fuse", "--", "true")
        elsewhere = tidy.migrator("ct", "create", "other", *words)
        assert (elsewhere.code, "--device: on node n2 device fuse" in elsewhere.err) == (3, True)
    finally:
        for node in ("n2", "n3"):
            tidy.on_node(node, "mv", "/dev/fuse.away", "/dev/fuse")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--device", "loop"), "--device 'loop': loop devices are the whole node's"),
        (("--device", "/dev/sda"), "--device '/dev/sda': not one that is given by request"),
        (("--cap-add", "SYS_MODULE"), "--cap-add 'SYS_MODULE': none that is given"),
        (("--cap-drop", "ALL", "--user", "redis"), "--cap-drop: nobody becomes user redis without SETGID and SETUID"),
    ],
)
def test_what_is_not_given_is_refused_in_one_line(tidy: Stage, words: tuple[str, ...], said: str) -> None:
    given = ("--node", "n1", "--template", "debian", "--ip", tidy.ip(3), *words)
    done = tidy.migrator("ct", "create", "web", *given, "--", "true")
    assert (done.code, said in done.err, len(done.err.strip().splitlines())) == (2, True, 1), done.err
    assert tidy.leftovers() == []
