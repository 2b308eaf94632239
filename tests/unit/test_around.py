"""What surrounds a container, changed: its words, what a running one cannot take, a disk's limits in the kernel."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from migrator.errors import BadInput, Refused
from migrator.executor.limit_words import parse_change
from migrator.executor.limits import Seen, refuse_impossible
from migrator.inventory.snapshot import digest
from migrator.model.around import only_stopped
from migrator.model.compatibility import lacks
from migrator.model.container import fault
from migrator.model.facts import NodeFacts
from migrator.model.io_limits import IO_FEATURE, NO_IO, IoLimits
from migrator.model.limits import limits_of, not_enforced
from migrator.runtime import bundle
from migrator.transport import kit
from tests.properties.fleets import cluster, ct, node
from tests.unit.test_bundle import WEB

MIB = 1 << 20
FULL = replace(
    WEB,
    hostname="web.example.org",
    nameservers=("10.0.0.1",),
    routes=("10.8.0.0/16=10.0.0.254", "10.9.0.0/16=10.0.0.254"),
    sysctls=("net.ipv4.ip_forward=1", "net.core.somaxconn=100"),
    firewall="table inet a {}\n",
    io=IoLimits(MIB, 2 * MIB, 10, 20),
)


def test_what_is_not_named_stays_and_of_routes_and_sysctls_each_by_its_key() -> None:
    assert parse_change().of(FULL) == FULL
    change = parse_change(
        routes=("10.9.0.0/16=10.0.0.253", "10.7.0.0/16=10.0.0.1"), sysctls=("net.core.somaxconn=200",)
    )
    found = change.of(FULL)
    assert found.routes == ("10.8.0.0/16=10.0.0.254", "10.9.0.0/16=10.0.0.253", "10.7.0.0/16=10.0.0.1")
    assert found.sysctls == ("net.ipv4.ip_forward=1", "net.core.somaxconn=200")
    assert parse_change(io=("read=none,write-iops=5",)).of(FULL).io == IoLimits(0, 2 * MIB, 10, 5)


def test_none_takes_away_what_there_was() -> None:
    words = {"nameservers": ("none",), "routes": ("10.8.0.0/16=none", "10.9.0.0/16=none"), "firewall": "none"}
    words |= {"hostname": "none", "io": ("none",), "sysctls": ("net.ipv4.ip_forward=none", "net.core.somaxconn=none")}
    assert parse_change(**words).of(FULL) == WEB  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"io": ("20M",)}, "--io '20M': write KEY=VALUE"),
        ({"io": ("read=",)}, "--io read: not a size"),
        ({"io": ("read=1",)}, "--io read '1': at least 4.0 KiB"),
        ({"io": ("read=9000P",)}, "--io read"),
        ({"io": ("read-iops=0",)}, "--io read-iops '0': a number from 1"),
        ({"io": ("read=1M", "read=2M")}, "--io read: is there twice"),
        ({"io": ("none,read=1M",)}, "--io 'none'"),
        ({"hostname": "-"}, "--hostname"),
        ({"nameservers": ("none", "10.0.0.1")}, "--nameserver"),
        ({"routes": ("10.0.0.0/8",)}, "--route"),
        ({"sysctls": ("kernel.panic=1",)}, "--sysctl"),
        ({"devices": ("loop",)}, "--device"),
        ({"firewall": "/nothing/there"}, "--firewall"),
    ],
)
def test_what_none_can_have_is_refused_by_the_name_of_its_option(words: dict[str, object], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        parse_change(**words)  # type: ignore[arg-type]


def test_a_running_container_takes_all_but_devices_a_resolver_and_a_sysctl_less() -> None:
    assert only_stopped(FULL, replace(FULL, hostname="x", nameservers=("10.0.0.2",), firewall="", routes=())) == ()
    assert only_stopped(FULL, replace(FULL, sysctls=(*FULL.sysctls, "net.ipv4.tcp_ecn=1"))) == ()
    assert only_stopped(FULL, replace(FULL, sysctls=FULL.sysctls[:1])) == ("sysctls",)
    assert only_stopped(FULL, replace(FULL, nameservers=())) == ("resolver",)
    assert only_stopped(WEB, replace(WEB, devices=("tun",))) == ("devices",)


def test_a_disk_is_limited_where_the_node_can_and_a_target_that_cannot_is_none() -> None:
    seen = Seen("n1", "serving", 1, "-", NodeFacts("n1", devices=()))
    with pytest.raises(Refused, match=r"^--io: node n1 cannot limit it"):
        refuse_impossible(seen, WEB, FULL)
    refuse_impossible(seen, FULL, replace(FULL, memory_bytes=5))  # it has them already: another limit may be changed
    able = replace(seen, facts=NodeFacts("n1", controllers=(IO_FEATURE,)))
    refuse_impossible(able, WEB, FULL)
    with pytest.raises(Refused, match=r"^--device: on node n1 device tun"):
        refuse_impossible(able, WEB, replace(WEB, devices=("tun",)))
    held = replace(ct("web"), needs=(IO_FEATURE,))
    (why,) = lacks(held, node("n2"))
    assert why == f"--io: it {NO_IO}; choose another node, or --waive kernel-features"
    assert list(lacks(held, replace(node("n2"), features=(IO_FEATURE,)))) == []
    assert "io" in not_enforced(limits_of(FULL), ("memory", "cpu"))


def test_limits_of_a_disk_are_a_file_of_the_bundle_and_none_is_as_before() -> None:
    assert bundle.files(FULL, "/kit", "br0", ())["io"] == b"1048576,2097152,10,20\n"
    assert "io" not in bundle.files(WEB, "/kit", "br0", ())
    assert (fault(FULL), fault(replace(WEB, io=IoLimits(1)))) == ("", "io")
    held = ct("web")
    assert held.descriptor is not None
    limited = replace(held, descriptor=replace(held.descriptor, io=IoLimits(MIB)))
    assert digest(cluster(node("n1", held))) != digest(cluster(node("n1", limited)))


def script(tmp_path: Path, words: str) -> subprocess.CompletedProcess[str]:
    text = f"""
        KIT={kit.SCRIPTS}; . "$KIT/lib.sh"; . "$KIT/limits.sh"; . "$KIT/io.sh"; . "$KIT/around.sh"
        CONTAINERS={tmp_path}
        {words}
    """
    return subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("word", ["1,2,3", "1,2,3,4,5", "1,2,,4", "a,1,1,1", "1,2,3,4;x", ""])
def test_the_kit_refuses_what_are_no_four_numbers(tmp_path: Path, word: str) -> None:
    assert script(tmp_path, f"check_io '{word}'").returncode == 10


def test_a_second_version_group_is_told_of_the_disk_in_one_line(tmp_path: Path) -> None:
    group = tmp_path / "cgroup/ct/web"
    group.mkdir(parents=True)
    (group / "io.max").write_text("")
    (tmp_path / "web").mkdir()
    words = f"CGROUP={tmp_path}/cgroup TREE={tmp_path}/cgroup; disk_under() {{ echo 8:16; }}"
    assert script(tmp_path, f"{words}; hold_io web 1048576,0,10,0").returncode == 0
    assert (group / "io.max").read_text() == "8:16 rbps=1048576 wbps=max riops=10 wiops=max"
    refused = script(tmp_path, f"{words}; disk_under() {{ return 1; }}; hold_io web 1048576,0,10,0")
    assert (refused.returncode, "on no block device" in refused.stdout) == (1, True)


def test_which_routes_and_sysctls_are_new_is_told_by_whole_words(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("route 10.8.0.0/16=10.0.0.1\nsysctl net/a=1\n")
    (tmp_path / "new").write_text("route 10.8.0.0/16=10.0.0.1\nroute 10.8.0.0/16=10.0.0.12\nsysctl net/a=11\n")
    assert script(tmp_path, "cd $CONTAINERS; news route new old").stdout == "10.8.0.0/16=10.0.0.12\n"
    assert script(tmp_path, "cd $CONTAINERS; news sysctl new old").stdout == "net/a=11\n"
    assert script(tmp_path, "cd $CONTAINERS; news route old new").stdout == ""


@pytest.fixture
def group() -> Iterator[Path]:
    """A group of this machine's own blkio controller, and files on a disk that it can limit."""
    blkio = Path("/sys/fs/cgroup/blkio")
    if not os.access(blkio / "blkio.throttle.write_bps_device", os.W_OK):
        pytest.skip("this machine has no blkio controller of version 1 to try")
    (made := blkio / f"guard-{os.getpid()}/ct/web").mkdir(parents=True)
    yield made
    for directory in (made, made.parent, made.parent.parent):
        directory.rmdir()


def test_a_kernel_holds_back_what_is_written_past_the_limit(group: Path, tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    root = tmp_path / "cgroup/blkio"
    root.parent.mkdir()
    root.symlink_to(group.parent.parent)
    at = f"CGROUP={tmp_path}/cgroup TREE={tmp_path}/cgroup/unified"
    words = f"{at}; disk_under {tmp_path} > /dev/null || exit 99; hold_io web 0,4194304,0,0"
    done = script(tmp_path, words)
    if done.returncode == 99:
        pytest.skip("this machine's temporary files are on no block device")
    assert done.returncode == 0, done.stdout + done.stderr
    enter = 'echo $$ > "$0/cgroup.procs"; exec dd if=/dev/zero of="$1" bs=1M count=8 oflag=direct status=none'
    began_s = time.monotonic()
    subprocess.run(["sh", "-c", enter, group, tmp_path / "big"], check=True)
    assert time.monotonic() - began_s > 1  # 8 MiB at 4 MiB a second: never sooner, however busy this machine is
