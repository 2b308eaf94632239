"""A suite as a source: what is said of a debootstrap that failed, and that one which is stopped leaves nothing."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from migrator.errors import Refused
from migrator.templates.build import Source, build
from migrator.templates.store import Store
from migrator.templates.suite import why_failed
from migrator.templates.tree import Rules

SAID = """I: Unpacking the base system...
W: Failure trying to run: chroot "/root" dpkg --install /var/cache/apt/archives/systemd_257_amd64.deb
W: See /root/debootstrap/debootstrap.log for details
"""
ORDER = """dpkg: regarding .../systemd_257_amd64.deb containing systemd, pre-dependency problem:
 systemd pre-depends on libsystemd-shared (= 257)
  libsystemd-shared:amd64 is unpacked, but has never been configured.

dpkg: error processing archive /var/cache/apt/archives/systemd_257_amd64.deb (--install):
 pre-dependency problem - not installing systemd
"""
SCRIPT = """Setting up cron (3.0) ...
dpkg: error processing package cron (--configure):
 installed cron package post-installation script subprocess returned error exit status 1
"""


def test_packages_in_the_wrong_order_are_told_with_what_to_do() -> None:
    assert why_failed(SAID, ORDER) == (
        "package systemd needs libsystemd-shared to be there before it, and this debootstrap does not put them in that "
        "order; change --include, or build from a tar that mmdebstrap has made"
    )


def test_what_dpkg_says_of_a_package_is_told() -> None:
    told = "cron: installed cron package post-installation script subprocess returned error exit status 1"
    assert why_failed(SAID, SCRIPT) == told


def test_else_its_own_last_error_is_told() -> None:
    assert why_failed("I: x\nE: Couldn't find these debs: nosuch\nW: y\n", "") == "E: Couldn't find these debs: nosuch"
    assert why_failed("W: nothing more\n", "") == "W: nothing more"
    assert why_failed("", "") == "no word"


# As debootstrap it has several processes, mounts in what it makes, and is in the middle of its work.
FAKE = """#!/bin/sh
for root; do case $root in */root) break ;; esac; done
mkdir -p "$root/proc"
mount -t tmpfs none "$root/proc" && touch "$root/proc/inside"
exec 9> "$STARTED"
(while :; do sleep 1000; done) &
echo begun >&9
wait
"""


def read_soon(pipe: int) -> bytes | None:
    """What is written next, nothing at the end of the last writer, None where neither comes."""
    return os.read(pipe, 100) if select.select([pipe], [], [], 10)[0] else None


BUILD = ("build", "x", "--suite", "trixie", "--mirror", "file:///none")


@pytest.mark.skipif(os.geteuid() != 0, reason="debootstrap needs root")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_build_that_is_stopped_leaves_no_process_and_no_mount(tmp_path: Path, how: signal.Signals) -> None:
    (tmp_path / "debootstrap").write_text(FAKE)
    (tmp_path / "debootstrap").chmod(0o755)
    os.mkfifo(tmp_path / "started")
    words = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "STARTED": str(tmp_path / "started")}
    argv = [
        sys.executable,
        "-c",
        "from migrator.cli.main import main; main()",
        "template",
        "--store",
        str(tmp_path / "store"),
        *BUILD,
    ]
    started = os.open(tmp_path / "started", os.O_RDONLY | os.O_NONBLOCK)
    with subprocess.Popen(argv, env=words) as building:
        assert read_soon(started) == b"begun\n"
        building.send_signal(how)
    assert read_soon(started) == b"", "every process of it holds this open"
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()
    if how != signal.SIGKILL:
        assert not list((tmp_path / "store" / "building").iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_what_is_mounted_in_a_build_that_was_killed_is_not_taken_for_the_stores_own(tmp_path: Path) -> None:
    place = tmp_path / "building" / "b1" / "root" / "proc"
    place.mkdir(parents=True)
    (place.parent / "left").write_text("four")
    subprocess.run(["mount", "-t", "tmpfs", "none", str(place)], check=True)
    try:
        (place / "inside").write_text("of somebody else")
        with pytest.raises(Refused, match=f"umount {place}"):
            Store(tmp_path).collect(really=True)
        assert (place / "inside").exists()
    finally:
        subprocess.run(["umount", str(place)], check=True)
    assert Store(tmp_path).collect(really=True) == (1, 4)
    assert not list((tmp_path / "building").iterdir())


# Twice the same, but for what says when, and on what, it was made.
MADE = """#!/bin/sh
for root; do case $root in */root) break ;; esac; done
for name in var/log/bootstrap.log var/log/dpkg.log var/log/alternatives.log var/cache/ldconfig/aux-cache \\
    var/lib/dbus/machine-id etc/machine-id; do
    mkdir -p "$root/${name%/*}" && cat /proc/sys/kernel/random/uuid > "$root/$name"
done
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="debootstrap needs root")
def test_one_suite_built_twice_is_one_template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "debootstrap").write_text(MADE)
    (tmp_path / "debootstrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    store, source = Store(tmp_path / "store"), Source("suite", suite="trixie", mirror="file:///none")
    assert build(store, "x", source, Rules()).new
    assert not build(store, "x", source, Rules()).new
