"""A container that a runtime began without us: told what it is, made ours while it runs, and moved with its clients."""

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
pid=$($2 state plain | sed -n 's/.*"pid": \\([0-9]*\\).*/\\1/p')
ip link add vplain type veth peer name eth0 netns "$pid"
ip link set vplain master br0 up
nsenter --net="/proc/$pid/ns/net" sh -c "ip address add $1/24 dev eth0; ip link set eth0 up"
"""

# In the place of the program that takes its cable: kills who calls it, once.
KILLS = """
cat > /usr/local/sbin/ip << 'END'
#!/bin/sh
case $* in "link set dev vplain down") rm -f "$0"; kill -9 "$PPID" ;; esac
PATH=/usr/sbin:/sbin:/usr/bin:/bin
exec ip "$@"
END
chmod 755 /usr/local/sbin/ip
"""

# In the place of the first program after its files were moved: ends the container, once.
ENDS = """
cat > /usr/local/sbin/rm << 'END'
#!/bin/sh
case $* in *ours/fresh)
    /bin/rm -f "$0"
    runc kill plain KILL
    while grep -q 'populated 1' /sys/fs/cgroup/ct/ours/cgroup.events; do :; done ;;
esac
exec /bin/rm "$@"
END
chmod 755 /usr/local/sbin/rm
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
        clean = "runc delete -f plain; crun delete -f plain; rm -f /usr/local/sbin/ip /usr/local/sbin/rm; rm -rf"
        tidy.on_node(node, "sh", "-c", f"{clean} {PLACE} /var/lib/migrator/templates/adopted")


def begin(stage: Stage, place: Path, user_namespace: bool = True, runtime: str = "runc") -> None:
    (place / "config.json").write_text(json.dumps(spec(user_namespace)))
    words = (
        f"chown -hR {BASE if user_namespace else 0}:{BASE if user_namespace else 0} {PLACE}/rootfs; {runtime} run -d"
    )
    run = stage.on_node("n1", "sh", "-c", f"{words} --bundle {PLACE} plain < /dev/null > /dev/null 2>&1")
    assert run.code == 0, run


def pid_of(stage: Stage, runtime: str = "runc") -> str:
    return str(json.loads(stage.on_node("n1", runtime, "state", "plain").out)["pid"])


async def test_a_plain_container_of_runcs_is_told_then_taken_then_moved_while_a_client_goes_on(
    tidy: Stage, bundle: Path
) -> None:
    begin(tidy, bundle)
    ip = tidy.ip(1)
    assert tidy.on_node("n1", "sh", "-c", CABLE, "sh", ip, "runc").code == 0
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


async def test_one_of_cruns_is_taken_though_the_first_try_was_killed_and_lives_as_any_of_ours(
    tidy: Stage, bundle: Path
) -> None:
    begin(tidy, bundle, runtime="crun")
    ip = tidy.ip(3)  # one by hand announces nothing: who has been asked for another's MAC would go on to use that
    assert tidy.on_node("n1", "sh", "-c", CABLE, "sh", ip, "crun").code == 0
    pid = pid_of(tidy, "crun")
    async with CountingClient(ip) as client:
        tidy.on_node("n1", "sh", "-c", KILLS)
        cut = await asyncio.to_thread(tidy.migrator, "ct", "adopt", "n1", "plain", "--yes")
        assert (cut.code, "give the command again" in cut.err) == (4, True), cut
        assert pid_of(tidy, "crun") == pid  # its own runtime knows it until it is whole
        await asyncio.to_thread(tidy.ok, "ct", "adopt", "n1", "plain", "--yes")
        again = await asyncio.to_thread(tidy.migrator, "ct", "adopt", "n1", "plain", "--yes")
        assert (again.code, "plain is Migrator's already" in again.err) == (2, True), again
        await client.more(5)
        told = tidy.on_node("n1", "sh", "-c", "crun --root /run/migrator/runc state plain; ls /run/crun").out
        assert (f'"pid": {pid}' in told, told.rpartition("}")[2].split()) == (True, [])
        await asyncio.to_thread(tidy.ok, "migrate", "plain", "--to", "n2")
        await client.more(5)
        await asyncio.to_thread(tidy.ok, "migrate", "plain", "--to", "n1")  # dumped by what the restore has noted
        await client.more(5)
    assert tidy.places("plain") == [("n1", "running")]
    assert tidy.ok("ct", "exec", "plain", "--", "cat", "/proc/timer_list").out == ""  # hidden as before
    tidy.ok("ct", "set", "plain", "--memory", "128M")
    tidy.ok("ct", "stop", "plain", "--grace", "0")
    tidy.ok("ct", "start", "plain")
    async with CountingClient(ip) as client:
        await client.more(2)
    tidy.ok("ct", "destroy", "plain", "--force", "--yes")
    assert tidy.places("plain") == []


def test_one_that_ends_meanwhile_has_its_files_back_and_one_without_network_is_given_a_cable(
    tidy: Stage, bundle: Path
) -> None:
    begin(tidy, bundle)
    tidy.on_node("n1", "sh", "-c", ENDS)
    ended = tidy.migrator("ct", "adopt", "n1", "plain", "--ip", tidy.ip(2), "--name", "ours", "--yes")
    assert (ended.code, "has ended meanwhile" in ended.err, tidy.places("ours")) == (4, True, []), ended
    assert (bundle / "rootfs/bin/sh").exists()
    tidy.on_node("n1", "runc", "delete", "-f", "plain")
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
