"""The kit's change of limits, on files that stand for a node's: what it writes in which order, and dying half-way.

The kernel's files are plain ones here, of either version of cgroups; with a real kernel it is tried in tests/vms, and
below on this machine's own groups where it has those of version 1.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from migrator.transport import kit

MIB = 1 << 20
V2 = {
    "memory.max": 256 * MIB,
    "memory.swap.max": "max",
    "cpu.max": "100000 100000",
    "pids.max": "max",
    "io.weight": "default 100",
    "memory.stat": f"anon {60 * MIB}\nfile {90 * MIB}\nshmem {4 * MIB}\n",
    "memory.swap.current": 8 * MIB,
    "pids.current": 40,
}
V1 = {
    "memory": {
        "memory.limit_in_bytes": 256 * MIB,
        "memory.memsw.limit_in_bytes": -1,
        "memory.stat": f"total_rss {60 * MIB}\ntotal_shmem {4 * MIB}\ntotal_swap {8 * MIB}\ntotal_cache {90 * MIB}\n",
    },
    "cpu": {"cpu.cfs_period_us": 100_000, "cpu.cfs_quota_us": 100_000},
    "pids": {"pids.max": "max", "pids.current": 40},
    "blkio": {"blkio.bfq.weight": 100},
}
RECORD = (
    "state=serving\ntoken=5\ngeneration=1\nboot=b\nrun=-\nrole=owner\nmemory_bytes={}\ncpu_milli=1000\ndisk_bytes=1\n"
)
# The kit's own under another name, for one in its place that spoils it.
PUT_LIMIT = """eval "$(sed -n '/^put_limit() /,/^}/p' "$KIT/limits.sh" | sed '1s/put_limit/put_limit_really/')" """


@dataclass
class Node:
    """A node in a directory, with one container that runs on it."""

    root: Path
    version: int
    kernel: dict[str, Path] = field(default_factory=dict)

    def make(self) -> None:
        web, group = self.root / "disk/containers/web", self.tree / "ct/web"
        for directory in (web, group, self.root / "disk/records", self.root / "run/runc"):
            directory.mkdir(parents=True)
        (group / "cgroup.procs").write_text("1\n")
        (group / "cgroup.events").write_text("populated 1\nfrozen 0\n")
        if self.version == 2:
            (self.root / "cgroup/cgroup.controllers").write_text("cpu io memory pids\n")
            self._files(group, V2)
        for controller, files in V1.items() if self.version == 1 else ():
            there = self.root / "cgroup" / controller / "ct/web"
            there.mkdir(parents=True)
            self._files(there, files)
        (web / "descriptor.json").write_text("old descriptor")
        (web / "config.json").write_text("old config")
        self.record.write_text(RECORD.format(256 * MIB))

    def _files(self, directory: Path, files: dict[str, object]) -> None:
        for name, value in files.items():
            (directory / name).write_text(f"{value}\n")
            self.kernel[name] = directory / name

    @property
    def tree(self) -> Path:
        """Where its containers are frozen and counted."""
        return self.root / ("cgroup" if self.version == 2 else "cgroup/unified")

    @property
    def record(self) -> Path:
        return self.root / "disk/records/web"

    def promised(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in self.record.read_text().splitlines())

    def says(self, name: str) -> str:
        return self.kernel[name].read_text().strip()

    def call(self, words: str, before: str = "", stdin: str = "") -> subprocess.CompletedProcess[str]:
        """A verb of the kit on this node; `before` is a script that may spoil something first."""
        script = f"""
            KIT={kit.SCRIPTS}; . "$KIT/lib.sh"; . "$KIT/container.sh"; . "$KIT/limits.sh"; . "$KIT/lease.sh"
            . "$KIT/io.sh"; . "$KIT/around.sh"; . "$KIT/network.sh"
            DISK={self.root}/disk RUN={self.root}/run CGROUP={self.root}/cgroup TREE={self.tree}
            CONTAINERS=$DISK/containers RECORDS=$DISK/records
            {before}
            {words}
        """
        return subprocess.run(["sh", "-c", script], input=stdin, capture_output=True, text=True, check=False)

    def set(
        self,
        *,
        memory: int = 512 * MIB,
        cpu: int = 1500,
        swap: str = str(64 * MIB),
        pids: int = 200,
        weight: int = 505,
        expect: int = 5,
        descriptor: str = "new descriptor",
        before: str = "",
    ) -> subprocess.CompletedProcess[str]:
        config = f"config of {descriptor}"
        words = f"verb_ct_set web {expect} {memory} {cpu} {swap} {pids} {weight} {1024 * MIB} 4000"
        return self.call(f"{words} {len(descriptor)} {len(config)}", before, descriptor + config)

    def state(self) -> dict[str, str]:
        """All that knows of a limit, but the token."""
        web = self.root / "disk/containers/web"
        files = {path.name: path.read_text() for path in web.iterdir()}
        kernel = {name: self.says(name) for name in self.kernel}
        return files | kernel | {key: value for key, value in self.promised().items() if key != "token"}


@pytest.fixture(params=[1, 2], ids=["v1", "v2"])
def node(tmp_path: Path, request: pytest.FixtureRequest) -> Node:
    made = Node(tmp_path / "node", request.param)
    made.make()
    return made


def test_a_change_is_in_the_record_the_files_and_the_kernel(node: Node) -> None:
    done = node.set()
    assert (done.returncode, done.stdout) == (0, "token 6\nin_force now\n"), done.stderr
    assert node.promised() | {"token": "6", "memory_bytes": str(512 * MIB), "cpu_milli": "1500"} == node.promised()
    assert (node.root / "disk/containers/web/descriptor.json").read_text() == "new descriptor"
    assert (node.root / "disk/containers/web/config.json").read_text() == "config of new descriptor"
    if node.version == 2:
        found = [node.says(name) for name in ("memory.max", "memory.swap.max", "cpu.max", "pids.max", "io.weight")]
        assert found == [str(512 * MIB), str(64 * MIB), "150000 100000", "200", "default 5000"]
    else:
        assert node.says("memory.limit_in_bytes") == str(512 * MIB)
        assert node.says("memory.memsw.limit_in_bytes") == str(576 * MIB)
        assert (node.says("cpu.cfs_quota_us"), node.says("pids.max")) == ("150000", "200")
        assert node.says("blkio.bfq.weight") == "505"


def test_limits_are_taken_away_again(node: Node) -> None:
    assert node.set().returncode == 0
    assert node.set(swap="max", pids=0, weight=0, expect=6, descriptor="third").returncode == 0
    swap = "memory.swap.max" if node.version == 2 else "memory.memsw.limit_in_bytes"
    weight = "io.weight" if node.version == 2 else "blkio.bfq.weight"
    assert node.says(swap) == ("max" if node.version == 2 else "-1")
    assert node.says("pids.max") == "max"
    assert node.says(weight) == ("default 100" if node.version == 2 else "100")


def test_the_same_again_changes_nothing_also_with_the_token_of_before(node: Node) -> None:
    assert node.set().returncode == 0
    before = node.state() | node.promised()
    assert node.set().returncode == 0  # a reply was lost: the token is that of before
    assert node.set(expect=6).returncode == 0
    assert node.state() | node.promised() == before


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"memory": 63 * MIB}, "uses 64 MiB of memory now, and was to have 63 MiB"),
        ({"swap": str(7 * MIB)}, "has 8 MiB in swap now, and was to have 7 MiB"),
        ({"pids": 39}, "has 40 processes and threads now, and was to have 39"),
        ({"memory": 1025 * MIB}, "no room: web needs 1025 MiB of memory, 1024 MiB are free"),
        ({"cpu": 4001}, "no room: web needs 4.00 CPUs, 4.00 are free"),
        ({"expect": 4}, "was changed meanwhile (its token is 5, not 4)"),
    ],
)
def test_what_may_not_be_is_refused_with_the_numbers_and_changes_nothing(
    node: Node, asked: dict[str, int], said: str
) -> None:
    before = node.state()
    refused = node.set(**asked)  # type: ignore[arg-type]
    assert (refused.returncode, said in refused.stderr) == (10, True), refused.stderr
    assert node.state() == before
    assert node.promised()["token"] == "5"


def test_a_container_may_be_lowered_to_what_it_uses_and_on_a_node_that_has_promised_too_much(node: Node) -> None:
    (node.record.parent / "other").write_text(RECORD.format(4096 * MIB))
    assert node.set(memory=64 * MIB, swap=str(8 * MIB), pids=40).returncode == 0
    assert node.promised()["memory_bytes"] == str(64 * MIB)


@pytest.mark.parametrize("run", ["run=a-run", "state=fenced"])
def test_a_container_on_the_move_is_left_alone(node: Node, run: str) -> None:
    key = run.partition("=")[0]
    lines = [run if line.startswith(f"{key}=") else line for line in node.record.read_text().splitlines()]
    node.record.write_text("\n".join(lines) + "\n")
    before = node.state()
    assert node.set().returncode == 10
    assert node.state() == before


def in_force_bytes(node: Node) -> int:
    return int(node.says("memory.max" if node.version == 2 else "memory.limit_in_bytes"))


@pytest.mark.parametrize("memory", [128 * MIB, 512 * MIB], ids=["less", "more"])
@pytest.mark.parametrize("moment", range(1, 16))
def test_a_node_that_dies_at_any_write_is_healed_by_a_second_call(
    node: Node, tmp_path: Path, memory: int, moment: int
) -> None:
    whole = Node(tmp_path / "whole", node.version)
    whole.make()
    assert whole.set(memory=memory).returncode == 0
    # Each change of anything is one of these; it dies before the n-th.
    dies = f"""
        moments=0
        dies() {{ moments=$((moments + 1)); [ "$moments" -lt {moment} ] || {{ kill -9 $$; exit 1; }}; }}
        mv() {{ dies; command mv "$@"; }}
    """
    spoilt = dies + _counting_puts()
    died = node.set(memory=memory, before=spoilt)
    assert died.returncode in (0, -9)
    assert int(node.promised()["memory_bytes"]) >= in_force_bytes(node)
    token = int(node.promised()["token"])
    assert node.set(memory=memory, expect=token).returncode == 0
    assert node.state() == whole.state()


def _counting_puts() -> str:
    """A moment before each write to the kernel; in a shell of its own, whose count begins where the other stands."""
    return f'{PUT_LIMIT}\nput_limit() {{ dies; put_limit_really "$@"; }}\n'


def test_dying_at_a_write_is_really_tried(node: Node) -> None:
    spoilt = "mv() { kill -9 $$; }"
    assert node.set(before=spoilt).returncode == -9
    assert node.promised()["token"] == "5"


def test_what_the_kernel_refuses_is_put_back_and_told(node: Node) -> None:
    before = node.state()
    does_not = 'case $1 in */pids.max) echo "the kernel does not take $2"; return 1 ;; esac'
    refused = node.set(before=f'{PUT_LIMIT}\nput_limit() {{ {does_not}; put_limit_really "$@"; }}')
    told = "container web is as before: the kernel does not take 200"
    assert (refused.returncode, told in refused.stderr) == (10, True)
    assert node.state().items() >= before.items()


def test_a_change_that_came_cut_short_leaves_nothing(node: Node) -> None:
    before = node.state()
    cut = node.call(f"verb_ct_set web 5 {512 * MIB} 1000 max 0 0 {1024 * MIB} 4000 100 100", stdin="half")
    assert (cut.returncode, "cut short" in cut.stderr) == (1, True)
    assert node.state() == before


def test_a_full_disk_changes_nothing(node: Node) -> None:
    before = node.state()
    refused = node.set(before="record_text() { return 1; }")
    assert (refused.returncode, "its limits" not in refused.stderr) == (1, True)
    assert node.state() == before


@pytest.fixture
def group() -> Iterator[Path]:
    """A group of this machine's own memory controller of version 1, with this kernel's files."""
    memory = Path("/sys/fs/cgroup/memory")
    if not os.access(memory / "memory.limit_in_bytes", os.W_OK):
        pytest.skip("this machine has no memory controller of version 1 to try")
    made = memory / f"ct-{os.getpid()}"
    made.mkdir()
    yield made
    made.rmdir()


def test_a_kernel_of_version_1_takes_memory_and_swap_in_either_direction(group: Path, tmp_path: Path) -> None:
    node = Node(tmp_path / "node", 1)
    node.make()
    there = node.root / "cgroup/memory/ct/web"
    for name in ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"):
        (there / name).unlink()
        if (group / name).exists():
            (there / name).symlink_to(group / name)
        else:
            del node.kernel[name]
    expect = 5
    for memory, swap in ((512, 64), (128, 16), (300, 600), (200, 16)):
        done = node.set(memory=memory * MIB, swap=str(swap * MIB), expect=expect, descriptor=f"{memory}")
        assert done.returncode == 0, done.stderr
        assert node.says("memory.limit_in_bytes") == str(memory * MIB)
        if "memory.memsw.limit_in_bytes" in node.kernel:
            assert node.says("memory.memsw.limit_in_bytes") == str((memory + swap) * MIB)
        expect += 1
