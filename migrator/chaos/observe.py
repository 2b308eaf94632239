"""Looks at the nodes from outside, all the time: does a copy execute, is a gate open, on which node.

A copy executes when the clock that its program writes into its own /dev/shm moves on. That memory is dumped and
restored with the copy, so a held copy shows the time of the freeze as long as it is held; no file sync brings it along.
Two violations are looked for: two copies that both move on within one look or take turns, and two gates open at once.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from migrator.lab import cgroup
from migrator.lab import node as lab_node
from migrator.lab.paths import LabPaths
from migrator.lab.shell import LabError

LOOK_EVERY_S = 0.02
# From the freeze to the release it takes longer than this; a look that took longer itself may have missed it.
LOOK_S_MAX = 0.1
FRESH_S = 0.5


@dataclass
class Seen:
    """What was seen of one node: the copy's clock, and when it last moved on."""

    init: int | None = None
    beat: int | None = None
    moved_at_s: float = 0.0
    pid: int | None = None


@dataclass
class Observer:
    """A thread that looks until it is stopped. `broken` are the violations, in words."""

    lab: LabPaths
    nodes: tuple[str, ...]
    container: str
    veth: str
    turns_end: bool = True  # whether a copy that another has followed may never run again
    broken: list[str] = field(default_factory=list)
    turns: list[str] = field(default_factory=list)
    looks: int = 0

    def __post_init__(self) -> None:
        self._seen = {name: Seen() for name in self.nodes}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._cgroups = {name: self.lab.node_cgroup(cgroup.root(), name) for name in self.nodes}

    def __enter__(self) -> Observer:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join(5)

    def executes(self, node: str) -> bool:
        """Whether a copy on that node has executed just now."""
        return time.monotonic() - self._seen[node].moved_at_s < FRESH_S

    def _watch(self) -> None:
        looked_at_s = time.monotonic()
        while not self._stop.wait(LOOK_EVERY_S):
            moved = [name for name in self.nodes if self._moved(name)]
            now_s = time.monotonic()
            self.looks += 1
            if len(moved) > 1 and now_s - looked_at_s <= LOOK_S_MAX:
                self.broken.append(f"two copies ran within {(now_s - looked_at_s) * 1000:.0f} ms")
            for name in moved:
                self._seen[name].moved_at_s = now_s
                if len(moved) == 1:
                    self._turn(name)
            if self._gates() > 1 and self._gates() > 1:  # the first may have been closed between two reads
                self.broken.append("two gates were open")
            looked_at_s = now_s

    def _turn(self, name: str) -> None:
        if self.turns and self.turns[-1] == name:
            return
        if name in self.turns and self.turns_end:
            self.broken.append(f"a copy on {name} ran again after one on {self.turns[-1]} had run")
        self.turns.append(name)

    def _moved(self, name: str) -> bool:
        seen = self._seen[name]
        beat = self._beat(name, seen)
        moved = beat is not None and seen.beat is not None and beat > seen.beat
        seen.beat = beat
        return moved

    def _beat(self, name: str, seen: Seen) -> int | None:
        for _ in range(2):  # the copy of the last look, else another
            if seen.pid is None:
                seen.pid = self._init_of_container(name)
            if seen.pid is None:
                return None
            try:
                data = Path(f"/proc/{seen.pid}/root/dev/shm/beat").read_bytes()
            except OSError:
                seen.pid = None
                continue
            return int.from_bytes(data, "big") if len(data) == 8 else None
        return None

    def _init_of_container(self, name: str) -> int | None:
        try:
            for pid in (self._cgroups[name] / "tree/ct" / self.container / "cgroup.procs").read_text().split():
                status = Path(f"/proc/{pid}/status").read_text().splitlines()
                inner = next(line for line in status if line.startswith("NSpid:")).split()[1:]
                # Three pid namespaces deep: this machine's, the node's, the container's. CRIU stands in the second.
                if len(inner) == 3 and inner[2] == "1":
                    return int(pid)
        except (OSError, StopIteration):
            pass
        return None

    def _gates(self) -> int:
        return sum(self._gate_open(name) for name in self.nodes)

    def _gate_open(self, name: str) -> bool:
        seen = self._seen[name]
        if seen.init is None or not Path(f"/proc/{seen.init}").exists():
            try:
                seen.init = lab_node.init_pid(self.lab, name)
            except (OSError, LabError, StopIteration):
                seen.init = None
                return False
        return Path(f"/proc/{seen.init}/root/sys/class/net/{self.veth}/brport").exists()
