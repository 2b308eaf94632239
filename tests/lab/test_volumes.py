"""Volumes on real nodes: storage that both mount is not copied, and is proven to be one before anything is touched.

A directory of this machine stands for the file server's export: every node has it mounted (lab.py).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from migrator.lab import lab as labs
from tests.lab.stage import Outcome, Stage

AT = "/srv/shared/data"  # on nodes
NO_PYTHON = "mv /usr/bin/python3 /usr/bin/python3.away"
PYTHON_AGAIN = "mv /usr/bin/python3.away /usr/bin/python3"

# Writes numbers without a gap into a log that stays open, and each into a shared mapping; goes on where the log ends.
LOGGER = """
import mmap, os, time
log = open("/srv/data/log", "a+")
log.seek(0)
n = sum(1 for _ in log)
f = open("/srv/data/map", "r+b" if os.path.exists("/srv/data/map") else "w+b")
f.truncate(4096)
m = mmap.mmap(f.fileno(), 4096)
while True:
    n += 1
    log.write("%d\\n" % n)
    log.flush()
    m[0:8] = n.to_bytes(8, "big")
    time.sleep(0.005)
"""


@dataclass
class Shared:
    """The lab with a volume `data`, declared in a cluster file of its own, and a container `web` that may have it."""

    stage: Stage
    home: Path
    cluster: str

    def migrator(self, *words: str) -> Outcome:
        return self.stage.migrator(*words, cluster=self.cluster)

    def ok(self, *words: str) -> Outcome:
        done = self.migrator(*words)
        assert done.code == 0, (words, done)
        return done

    def create(self, *words: str, volume: str = "data:/srv/data", program: str = LOGGER) -> Outcome:
        given = ("--node", "n1", "--template", "debian", "--ip", self.stage.ip(1), "--volume", volume, *words)
        return self.migrator("ct", "create", "web", *given, "--", "python3", "-c", program)

    def runs(self) -> None:
        assert self.create().code == 0
        self.more(20)

    @property
    def numbers(self) -> list[int]:
        log = self.home / "log"
        return [int(line) for line in log.read_text().split("\n")[:-1]] if log.exists() else []

    def more(self, count: int) -> int:
        """Waits for so many more numbers in the log, from the one that is running; returns the last one."""
        wanted = len(self.numbers) + count
        self.until(lambda: len(self.numbers) >= wanted)
        return self.numbers[-1]

    def until(self, holds: Callable[[], bool]) -> None:
        for _ in range(1000):
            if holds():
                return
            time.sleep(0.02)
        raise AssertionError(f"not within 20 s; {self.stage.ok('ct', 'logs', 'web').out[-500:]}")

    def mapped(self) -> int:
        with (self.home / "map").open("rb") as file:
            return int.from_bytes(file.read(8), "big")

    def marks(self) -> list[str]:
        return [path.name for path in self.home.iterdir() if path.name.startswith(".migrator")]

    def shell(self, node: str, script: str) -> None:
        done = self.stage.on_node(node, "sh", "-c", script)
        assert done.code == 0, (script, done)

    @contextlib.contextmanager
    def unmounted(self, node: str, *, bare: bool = False) -> Iterator[None]:
        """A node whose storage is not mounted; `bare`: and the path is there, on its own root."""
        self.shell(node, f"umount /srv/shared{f' && mkdir -p {AT}' if bare else ''}")
        try:
            yield
        finally:
            self.shell(node, f"rm -rf {AT}")
            labs.crash(self.stage.paths, node)
            labs.boot(self.stage.paths, node)


@pytest.fixture
def shared(tidy: Stage) -> Iterator[Shared]:
    home = tidy.paths.shared / "data"
    home.mkdir()
    home.chmod(0o1777)
    strict = tidy.paths.cluster_file.read_text()
    cluster = tidy.paths.cluster_file.with_name("volumes.yaml")
    cluster.write_text(strict.replace("shared: /srv/shared", f"data: {AT}"))
    assert cluster.read_text() != strict
    yield Shared(tidy, home, str(cluster))
    tidy.remove_all()
    shutil.rmtree(home)
    cluster.unlink()


@pytest.mark.parametrize("mode", ["stop-and-copy", "post-copy", "restart"])
def test_a_log_on_a_volume_has_no_gap_over_a_move_there_and_back(shared: Shared, mode: str) -> None:
    shared.runs()
    moves_and_writes_on(shared, mode)


def test_nor_where_memory_goes_by_images(shared: Shared) -> None:
    shared.shell("n2", NO_PYTHON)
    try:
        shared.runs()
        moves_and_writes_on(shared, "stop-and-copy")
    finally:
        shared.shell("n2", PYTHON_AGAIN)


def moves_and_writes_on(shared: Shared, mode: str) -> None:
    inode = (shared.home / "log").stat().st_ino
    for target in ("n2", "n1"):
        moved = shared.migrator("migrate", "web", "--to", target, "--mode", mode)
        assert moved.code == 0, moved.err
        last = shared.more(20)
        shared.until(lambda last=last: shared.mapped() >= last)  # type: ignore[misc]
        assert shared.stage.places("web") == [(target, "running")]
    numbers = shared.numbers
    assert numbers == list(range(1, len(numbers) + 1))
    assert (shared.home / "log").stat().st_ino == inode
    assert shared.marks() == []


def test_what_is_on_a_volume_is_not_copied_nor_compared_nor_ever_removed(shared: Shared) -> None:
    shared.runs()
    with (shared.home / "large").open("wb") as file:
        file.truncate(50 << 20)
    told = shared.ok("migrate", "web", "--to", "n2", "--dry-run", "--json").json()
    assert told["files_bytes"] < 10 << 20
    shared.ok("migrate", "web", "--to", "n2", "--verify-files")
    for node in ("n1", "n2"):
        looked = shared.stage.on_node(node, "sh", "-c", "find /var/lib/migrator/containers -size +40M")
        assert looked.out == ""
    assert (shared.home / "large").stat().st_size == 50 << 20
    shared.ok("rehearse", "web", "--to", "n1")
    before = shared.more(5)
    shared.ok("ct", "destroy", "web", "--force", "--yes")
    assert (shared.home / "large").stat().st_size == 50 << 20
    assert len(shared.numbers) >= before


@pytest.mark.parametrize("how", [("--dry-run",), ()])
def test_another_directory_under_the_same_name_is_refused_with_nothing_touched(
    shared: Shared, how: tuple[str, ...]
) -> None:
    shared.runs()
    shared.shell("n2", f"mkdir -p /tmp/other && mount --bind /tmp/other {AT}")
    try:
        refused = shared.migrator("migrate", "web", "--to", "n2", *how)
    finally:
        shared.shell("n2", f"umount {AT} && rmdir /tmp/other")  # empty, so nothing was left there
    said = refused.out if how else refused.err
    assert refused.code == 3, refused
    assert f"volume data is not the same storage on n1 ({AT}) and on n2 ({AT})" in said
    assert shared.marks() == []
    assert shared.stage.places("web") == [("n1", "running")]
    shared.more(5)
    shared.ok("migrate", "web", "--to", "n2")


def test_a_volume_that_is_not_mounted_keeps_containers_away_and_says_so_in_the_plan(shared: Shared) -> None:
    shared.runs()
    with shared.unmounted("n2"), shared.unmounted("n3", bare=True):
        refused = shared.migrator("plan", "drain", "n1")
        dry = shared.migrator("migrate", "web", "--to", "n3", "--dry-run")
    assert refused.code == 3
    assert f"volume data: {AT} is not there" in refused.out + refused.err
    assert f"volume data: nothing is mounted at {AT}, or above it" in refused.out + refused.err
    assert dry.code == 3


@pytest.mark.parametrize(
    ("volume", "code", "says"),
    [
        ("logs:/srv/data", 2, "names no volume logs; it names: data"),
        ("data:/srv/data:1G", 2, "data is a volume of the cluster file, which nodes share"),
        ("/srv/shared/data:/srv/data", 2, "a directory of one node is none"),
        ("data:srv", 2, "begin with /"),
        ("data:/srv/../etc", 2, "without . and .. as names"),
        ("data:/proc/x", 2, "the runtime mounts"),
        ("data:/lib/x", 3, "/lib is a link in the template"),
        ("data:/usr/bin/python3", 3, "is a link in the template"),
        ("data:/etc/passwd", 3, "/etc/passwd is a file in the template"),
    ],
)
def test_a_volume_that_cannot_be_is_refused_before_anything_is_made(
    shared: Shared, volume: str, code: int, says: str
) -> None:
    refused = shared.create(volume=volume)
    assert (refused.code, refused.err.count("\n")) == (code, 1), refused
    assert says in refused.err
    assert shared.stage.leftovers() == []


def test_a_path_that_leads_over_a_link_is_no_volume(shared: Shared) -> None:
    shared.shell("n1", "mkdir /tmp/away && mount -t tmpfs tmpfs /tmp/away && ln -s /var/lib/migrator /tmp/away/data")
    cluster = Path(shared.cluster)
    whole = cluster.read_text()
    cluster.write_text(whole.replace(AT, "/tmp/away/data/records"))
    try:
        refused = shared.create()
    finally:
        shared.shell("n1", "umount /tmp/away && rmdir /tmp/away")
        cluster.write_text(whole)
    assert refused.code == 3
    assert "leads over a link to /var/lib/migrator/records" in refused.err


def test_a_lock_on_a_volume_is_refused_in_the_check_and_goes_by_restart(shared: Shared) -> None:
    assert shared.create(program=f"import fcntl\nl = open('/srv/data/l', 'w'); fcntl.flock(l, 2)\n{LOGGER}").code == 0
    shared.more(5)
    refused = shared.migrator("migrate", "web", "--to", "n2")
    assert refused.code == 3, refused
    assert "locks a file on the volume at /srv/data" in refused.err
    shared.ok("migrate", "web", "--to", "n2", "--mode", "restart")
    shared.more(5)


def test_a_volume_may_be_read_only_and_holds_no_setuid_programs(shared: Shared) -> None:
    (shared.home / "text").write_text("from outside\n")
    assert shared.create(volume="data:/srv/data:ro", program="import time\ntime.sleep(100000)").code == 0
    shared.ok("migrate", "web", "--to", "n2")
    assert shared.ok("ct", "exec", "web", "--", "cat", "/srv/data/text").out == "from outside\n"
    assert "Read-only" in shared.migrator("ct", "exec", "web", "--", "touch", "/srv/data/x").err
    options = shared.ok("ct", "exec", "web", "--", "sh", "-c", "grep ' /srv/data ' /proc/self/mountinfo").out
    assert {"ro", "nosuid", "nodev"} <= set(options.split()[5].split(","))


def test_a_container_whose_storage_was_exchanged_under_it_is_not_moved(shared: Shared) -> None:
    shared.runs()
    for node in ("n1", "n2"):
        shared.shell(node, f"mkdir -p /srv/shared/new && mount --bind /srv/shared/new {AT}")
    try:
        refused = shared.migrator("migrate", "web", "--to", "n2")
    finally:
        for node in ("n1", "n2"):
            shared.shell(node, f"umount {AT}; rmdir /srv/shared/new 2> /dev/null; :")
    assert refused.code == 3, refused
    assert f"what container web has at /srv/data is not what is at {AT} now" in refused.err
    shared.more(5)


def test_a_container_does_not_start_on_a_bare_mount_point(shared: Shared) -> None:
    shared.runs()
    shared.ok("ct", "stop", "web", "--grace", "0")
    with shared.unmounted("n1", bare=True):
        refused = shared.migrator("ct", "start", "web")
        written = shared.stage.on_node("n1", "ls", AT).out
    assert refused.code != 0
    assert f"not started: volume data: nothing is mounted at {AT}, or above it" in refused.err
    assert written == ""


def test_a_marker_that_a_dead_move_has_left_goes_with_the_next(shared: Shared) -> None:
    shared.runs()
    left = shared.home / ".migrator-mark-00"
    left.write_text("00\n")
    os.utime(left, (0, 0))
    shared.ok("migrate", "web", "--to", "n2")
    assert shared.marks() == []


def test_what_was_written_is_flushed_in_the_pause_or_the_move_goes_back(shared: Shared) -> None:
    shared.runs()
    wrapper = "/usr/local/sbin/sync"
    shared.shell(
        "n1", f"printf '%s\\n' '#!/bin/sh' '[ \"$1\" != -f ] || exit 1' 'exec /usr/bin/sync \"$@\"' > {wrapper}"
    )
    shared.shell("n1", f"chmod 755 {wrapper}")
    try:
        failed = shared.migrator("migrate", "web", "--to", "n2")
    finally:
        shared.shell("n1", f"rm {wrapper}")
    assert failed.code == 4, failed
    assert "cannot be brought to their storage" in failed.err
    assert shared.stage.places("web") == [("n1", "running")]
    shared.more(5)
    numbers = shared.numbers
    assert numbers == list(range(1, len(numbers) + 1))
