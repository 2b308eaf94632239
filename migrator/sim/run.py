"""Plays many seeds over all cores, and tells of those in which something was that must not be."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from migrator.errors import BadInput
from migrator.inventory.documents import said
from migrator.inventory.files import read_text
from migrator.sim.laws import Law
from migrator.sim.loop import VirtualLoop
from migrator.sim.play import play
from migrator.sim.scenario import Scenario, fleet, generate
from migrator.sim.shrink import shrink

CHUNK = 50
_SCENARIO = TypeAdapter(Scenario)


@dataclass(frozen=True, slots=True)
class Failure:
    """A seed that failed: what was violated, and the smallest scenario found that still fails."""

    seed: int
    violations: tuple[str, ...]
    smallest: Scenario


@dataclass(slots=True)
class Summary:
    """How a range of seeds went. `stuck` counts lives that ended with a container stuck, explained by a fault."""

    runs: int = 0
    steps: int = 0
    stuck: int = 0
    seconds: float = 0.0
    failures: list[Failure] = field(default_factory=list)

    def add(self, other: Summary) -> None:
        self.runs += other.runs
        self.steps += other.steps
        self.stuck += other.stuck
        self.failures += other.failures

    @property
    def runs_per_s(self) -> float:
        return self.runs / self.seconds if self.seconds else 0.0

    def document(self) -> dict[str, object]:
        """For --json."""
        return {
            "runs": self.runs,
            "moments": self.steps,
            "stuck_explained": self.stuck,
            "seconds": round(self.seconds, 3),
            "runs_per_s": round(self.runs_per_s, 1),
            "failures": [
                {"seed": f.seed, "violations": list(f.violations), "smallest": asdict(f.smallest)}
                for f in self.failures
            ],
        }


def breaks(law: Law, loop: VirtualLoop) -> Callable[[Scenario], bool]:
    """Whether a scenario breaks a law: one that fails for another reason is not a smaller one of the same kind."""
    return lambda scenario: any(violation.law is law for violation in play(scenario, loop).violations)


def run_chunk(start: int, count: int, large: bool = False) -> Summary:
    """Plays some seeds in this process."""
    loop = VirtualLoop()
    summary = Summary()
    for seed in range(start, start + count):
        scenario = fleet(seed) if large else generate(seed)
        outcome = play(scenario, loop)
        summary.runs += 1
        summary.steps += outcome.steps
        summary.stuck += bool(outcome.stuck)
        if outcome.violations:
            small = shrink(scenario, breaks(outcome.violations[0].law, loop), 40 if large else 400)
            summary.failures.append(Failure(seed, tuple(map(str, outcome.violations[:5])), small))
    return summary


def run_seeds(
    start: int, count: int, jobs: int = 0, large: bool = False, on_chunk: Callable[[Summary], None] | None = None
) -> Summary:
    """Plays seeds `start` to `start + count - 1` in `jobs` processes (0: one a core)."""
    began_s = time.monotonic()
    total = Summary()
    jobs = jobs or os.cpu_count() or 1
    chunks = list(_chunks(start, count, 1 if large else CHUNK))
    if jobs == 1 or len(chunks) == 1:
        results: Iterator[Summary] = (run_chunk(*chunk, large) for chunk in chunks)
        _collect(total, results, on_chunk)
    else:
        with ProcessPoolExecutor(jobs) as pool:
            futures = [pool.submit(run_chunk, *chunk, large) for chunk in chunks]
            _collect(total, (future.result() for future in futures), on_chunk)
    total.seconds = time.monotonic() - began_s
    return total


def _collect(total: Summary, results: Iterator[Summary], on_chunk: Callable[[Summary], None] | None) -> None:
    for result in results:
        total.add(result)
        if on_chunk:
            on_chunk(total)


def _chunks(start: int, count: int, size: int) -> Iterator[tuple[int, int]]:
    for first in range(start, start + count, size):
        yield first, min(size, start + count - first)


def dump_scenario(scenario: Scenario) -> str:
    """A scenario as a file keeps it."""
    return _SCENARIO.dump_json(scenario, indent=2, exclude_defaults=True).decode()


def load_scenario(path: Path) -> Scenario:
    """Reads a kept scenario; BadInput says what is wrong with it."""
    try:
        return _SCENARIO.validate_json(read_text(path))
    except ValidationError as error:
        raise BadInput(f"{path}: not a scenario: {said(error)}") from error
