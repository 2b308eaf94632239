"""A container that runc began without us: told what it is, made ours while it runs, and moved with its clients."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from migrator.lab import busybox
from tests.lab.client import CountingClient
from tests.lab.stage import Stage

BASE = 900 * 65536
COUNT = "n=0; while read line; do n=$((n+1)); echo $n; done"
SERVE = 'exec < /dev/null > /root/log 2>&1; exec nc -ll -p 7000 -e /bin/sh -c "$0"'
PLACE = "/var/lib/migrator/foreign"
CABLE = """
pid=$(runc state plain | sed -n 's/.*"pid": \\([0-9]*\\).*/\\1/p')
ip link add vplain type veth peer name eth0 netns "$pid"
ip link set vplain master br0 up
nsenter --net="/proc/$pid/ns/net" sh -c "ip address add $1/24 dev eth0; ip link set eth0 up"
"""


def spec(user_namespace: bool) -> dict[str, Any]:
    """What `runc spec` writes, in few words, but for the cgroup namespace."""
    namespaces = ["pid", "network", "ipc", "uts", "mount", *(["user"] if user_namespace else [])]
    mapping = [{"containerID": 0, "hostID": BASE, "size": 65536}]
    return {
        "ociVersion": "1.0.2",
        "hostname": "plain",
        "root": {"path": "rootfs"},
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "args": ["/bin/sh", "-c", SERVE, COUNT],
            "env": ["PATH=/bin"],
            "cwd": "/",
            "capabilities": {kind: ["CAP_KILL", "CAP_NET_RAW"] for kind in ("bounding", "effective", "permitted")},
            "noNewPrivileges": True,
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
        ],
        "linux": {
            "namespaces": [{"type": kind} for kind in namespaces],
            **({"uidMappings": mapping, "gidMappings": mapping} if user_namespace else {}),
            "maskedPaths": ["/proc/kcore", "/proc/timer_list"],
            "readonlyPaths": ["/proc/sys"],
        },
    }


@pytest.fixture
def bundle(tidy: Stage) -> Iterator[Path]:
    """A bundle of the node n1's, of which nothing is left at the end."""
    place = tidy.paths.node("n1").disk / "foreign"
    shutil.copytree(busybox.build(lambda _: None), place / "rootfs", symlinks=True)
    yield place
    for row in tidy.ok("ct", "list", "--json").json()["containers"]:
        tidy.migrator("ct", "destroy", row["name"], "--force", "--yes")
    for node in tidy.spec.nodes:
        clean = f"runc delete -f plain; rm -rf {PLACE} /var/lib/migrator/templates/adopted"
        tidy.on_node(node, "sh", "-c", clean)


def begin(stage: Stage, place: Path, user_namespace: bool = True) -> None:
    (place / "config.json").write_text(json.dumps(spec(user_namespace)))
    words = f"chown -hR {BASE if user_namespace else 0}:{BASE if user_namespace else 0} {PLACE}/rootfs; "
    run = stage.on_node("n1", "sh", "-c", words + f"runc run -d --bundle {PLACE} plain < /dev/null > /dev/null 2>&1")
    assert run.code == 0, run


def pid_of(stage: Stage) -> str:
    return str(json.loads(stage.on_node("n1", "runc", "state", "plain").out)["pid"])


async def test_a_plain_container_of_runcs_is_told_then_taken_then_moved_while_a_client_goes_on(
    tidy: Stage, bundle: Path
) -> None:
    begin(tidy, bundle)
    ip = tidy.ip(1)
    assert tidy.on_node("n1", "sh", "-c", CABLE, "sh", ip).code == 0
    pid = pid_of(tidy)
    async with CountingClient(ip) as client:
        told = (await asyncio.to_thread(tidy.ok, "ct", "adopt", "n1", "plain", "--json")).json()
        assert (told["fit"], told["adopted"], tidy.places("plain")) == (True, False, [])
        assert pid_of(tidy) == pid  # only looked at
        await asyncio.to_thread(tidy.ok, "ct", "adopt", "n1", "plain", "--yes")
        await client.more(5)
        assert tidy.places("plain") == [("n1", "running")]
        await asyncio.to_thread(tidy.ok, "migrate", "plain", "--to", "n2")
        await client.more(5)
    assert tidy.places("plain") == [("n2", "running")]
    tidy.ok("ct", "stop", "plain", "--grace", "0")
    tidy.ok("ct", "start", "plain")
    async with CountingClient(ip) as client:
        await client.more(2)


def test_one_without_network_is_given_a_cable(tidy: Stage, bundle: Path) -> None:
    begin(tidy, bundle)
    refused = tidy.migrator("ct", "adopt", "n1", "plain", "--yes")
    assert (refused.code, "give it an address with --ip" in refused.err, tidy.places("plain")) == (3, True, [])
    tidy.ok("ct", "adopt", "n1", "plain", "--ip", tidy.ip(2), "--name", "ours", "--yes")

    async def counts() -> None:
        async with CountingClient(tidy.ip(2)) as client:
            await client.more(2)

    asyncio.run(counts())
    assert tidy.places("ours") == [("n1", "running")]


def test_what_is_not_as_ours_is_refused_and_left_as_it_was(tidy: Stage, bundle: Path) -> None:
    begin(tidy, bundle, user_namespace=False)
    pid = pid_of(tidy)
    refused = tidy.migrator("ct", "adopt", "n1", "plain", "--yes", "--json")
    assert refused.code == 3
    assert "its root is the node's" in refused.err
    assert (pid_of(tidy), tidy.places("plain")) == (pid, [])
    unknown = tidy.migrator("ct", "adopt", "n1", "nobody")
    assert (unknown.code, "no runtime has a container nobody" in unknown.err) == (2, True)
