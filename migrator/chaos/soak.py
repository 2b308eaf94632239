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
# A Python process grows while its caches fill; what counts is that it does not go on growing with every migration.
WARM_UP = 20
GROWTH_KIB_MAX = 4096


@dataclass
class Soak:
    """What was seen. `weights` holds one entry a migration: rss_kib, descriptors, tasks of the orchestrator."""

    wanted: int
    done: int = 0
    answers: int = 0
    longest_pause_ms: float = 0.0
    weights: list[dict[str, Any]] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    @property
    def growth_kib(self) -> int:
        """How much larger the orchestrator was in the last quarter than in the first after its warm-up, in medians."""
        sizes = [weight["rss_kib"] for weight in self.weights][min(WARM_UP, len(self.weights) // 2) :]
        part = max(1, len(sizes) // 4)
        return round(median(sizes[-part:]) - median(sizes[:part])) if sizes else 0


async def soak(count: int, lane: Lane, say: Callable[[Soak], None]) -> Soak:
    """Migrates `count` times, an even number so that the container ends where it began. The lane must be up."""
    seen = Soak(count)
    client = Client(lane.ip)
    await client.connect()
    await client.more(3, 20)
    worker = await lane.orchestrator()
    try:
        with Observer(lane.paths, lane.spec.nodes, CONTAINER, lane.veth, turns_end=False) as observer:
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
                lane.at = nodes[(number + 1) % 2]
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
    if seen.growth_kib > GROWTH_KIB_MAX:
        seen.broken.append(f"the orchestrator grew by {seen.growth_kib} KiB")
    for what in ("descriptors", "tasks"):
        held = [weight[what] for weight in seen.weights]
        if held and held[-1] > held[len(held) // 2]:
            seen.broken.append(f"the orchestrator holds {held[-1]} {what}, {held[len(held) // 2]} half-way")
