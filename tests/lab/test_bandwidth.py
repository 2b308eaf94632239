"""What --bandwidth bounds. Times are held against what the bound allows at the least; slower is never wrong."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.lab.client import CountingClient
from tests.lab.stage import Stage

MIB = 1 << 20
RATE, RATE_BYTES_PER_S = "80Mbit", 10_000_000
# Of the bytes some go at once after a rest; half a second is far more than that.
LEEWAY_MS = 500


def reached(stage: Stage, state: str) -> dict[str, Any]:
    events = stage.last_run()["migrations"][0]["events"]
    data: dict[str, Any] = next(e["data"] for e in events if (e["state"], e["phase"]) == (state, "end"))
    return data


def least_ms(size_bytes: int) -> int:
    return size_bytes * 1000 // RATE_BYTES_PER_S - LEEWAY_MS


@pytest.mark.parametrize(("mode", "sent_in"), [("stop-and-copy", "dumped"), ("post-copy", "filled")])
async def test_memory_takes_as_long_as_the_bandwidth_that_it_is_let_have(tidy: Stage, mode: str, sent_in: str) -> None:
    async with CountingClient(tidy.counter("web", "n1", 1, mib=32)) as client:
        words = ("migrate", "web", "--to", "n2", "--mode", mode, "--bandwidth", RATE)
        told = tidy.ok(*words, "--dry-run")
        assert "bandwidth: at most 80Mbit" in told.out
        await asyncio.to_thread(tidy.ok, *words)
        await client.more(20)
    assert reached(tidy, sent_in)["send_ms"] >= least_ms(32 * MIB)
    expected = tidy.last_run()["migrations"][0]["predicted"]
    assert expected["duration_ms"] >= least_ms(32 * MIB)
    assert (expected["blackout_ms"] >= least_ms(32 * MIB)) is (mode == "stop-and-copy")


async def test_files_take_as_long_as_the_bandwidth_that_the_policy_lets_them_have(tidy: Stage) -> None:
    policy = tidy.paths.cluster_file.with_name("bounded.yaml")
    policy.write_text(f"{tidy.paths.cluster_file.read_text()}policy: {{bandwidth: {RATE}}}\n")
    async with CountingClient(tidy.counter("web", "n1", 1)) as client:
        tidy.ok("ct", "exec", "web", "--", "sh", "-c", "head -c 32M /dev/urandom > /root/file")
        moved = await asyncio.to_thread(tidy.migrator, "migrate", "web", "--to", "n2", cluster=str(policy))
        assert moved.code == 0, moved.err
        await client.more(20)
    phases = tidy.last_run()["migrations"][0]["phases_ms"]
    assert phases["seeded"] >= least_ms(32 * MIB)
