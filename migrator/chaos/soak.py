"""The soak: migrations back and forth under one live client, and then not one thing more on any node than before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from migrator.chaos.client import Client
from migrator.chaos.lane import CONTAINER, Lane
from migrator.chaos.observe import Observer

MIGRATION_TIMEOUT_S = 90.0
BLACKOUT_S = 15.0
JUDGED_FROM = 40  # migrations; in fewer the caches of a Python process are still filling


@dataclass(frozen=True)
class Bound:
    """How much more may be held at the end than in the second quarter, in medians of a quarter.

    The slack is what arenas, and timers that are cancelled and not yet swept, move up and down by; a leak comes again
    with every migration.
    """

    what: str
    slack: int
    each: int  # a migration

    def allowed(self, migrations: int) -> int:
        return self.slack + self.each * migrations


BOUNDS = {
    "rss_kib": Bound("KiB of resident memory", 512, 0),
    "heap_kib": Bound("KiB in use of malloc", 64, 1),
    "blocks": Bound("blocks in use of Python", 300, 2),
}


@dataclass
class Soak:
    """What was seen. `weights` holds one entry a migration: what the orchestrator holds after it, by its own word."""

    wanted: int
    done: int = 0
    answers: int = 0
    longest_pause_ms: float = 0.0
    weights: list[dict[str, Any]] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    @property
    def quarter(self) -> int:
        return max(1, len(self.weights) // 4)

    def held(self, what: str) -> tuple[int, int]:
        """The medians of the second quarter and of the last."""
        sizes = [weight[what] for weight in self.weights]
        second = sizes[self.quarter : 2 * self.quarter] or sizes
        return round(median(second)), round(median(sizes[-self.quarter :]))

    @property
    def growing(self) -> list[str]:
        """What is not flat, by `BOUNDS`; the middles of the two quarters are two quarters apart."""
        if len(self.weights) < JUDGED_FROM:
            return []
        found = []
        for key, bound in BOUNDS.items():
            before, after = self.held(key)
            allowed = bound.allowed(2 * self.quarter)
            if after - before > allowed:
                found.append(f"the orchestrator grew by {after - before} {bound.what}, and {allowed} were allowed")
        return found


async def soak(count: int, lane: Lane, say: Callable[[Soak], None]) -> Soak:
    """Migrates `count` times, an even number so that the container ends where it began. The lane must be up."""
    seen = Soak(count)
    client = Client(lane.ip_of(CONTAINER))
    await client.connect()
    await client.more(3, 20)
    worker = await lane.orchestrator()
    try:
        with Observer(lane.paths, lane.spec.nodes, CONTAINER, lane.veths[CONTAINER], turns_end=False) as observer:
            nodes = [lane.at, lane.other(lane.at)]
            words = {"container": CONTAINER, "nodes": nodes, "count": count, "blackout_s": BLACKOUT_S}
            await worker.send({"do": "soak", **words})
            for number in range(count):
                told = await worker.answer(MIGRATION_TIMEOUT_S)
                if told.get("code") != 0:
                    seen.broken.append(f"migration {number + 1}: {told.get('error')}")
                    break
                seen.done += 1
                seen.weights.append(told)
                lane.at = lane.places[CONTAINER] = nodes[(number + 1) % 2]
                say(seen)
            if not await client.more(3, 20):
                seen.broken.append(f"the client: {client.error or 'no answer'}")
    finally:
        await worker.kill()
        await client.close()
    seen.broken += observer.broken[:3]
    seen.answers, seen.longest_pause_ms = client.last, client.gap_ms
    seen.left = await lane.left_behind()
    judge(seen)
    return seen


def judge(seen: Soak) -> None:
    """Adds what is not as promised to `broken`."""
    seen.broken += [f"left behind: {line}" for line in seen.left[:10]]
    seen.broken += seen.growing
    for what in ("descriptors", "tasks"):
        held = [weight[what] for weight in seen.weights]
        if held and held[-1] > held[len(held) // 2]:
            seen.broken.append(f"the orchestrator holds {held[-1]} {what}, {held[len(held) // 2]} half-way")
