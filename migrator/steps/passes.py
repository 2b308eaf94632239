"""The passes over a container's files while it runs: one after the other until protocol/passes.py says enough."""

from __future__ import annotations

import asyncio
from typing import Any

from migrator.errors import FailedSafe
from migrator.model.estimate import estimate_move, files_wanted_s
from migrator.model.file_passes import LITTLE_BYTES, LOOK_BYTES_PER_S, tmpfs_s
from migrator.model.modes import READY_S, Mode
from migrator.model.units import format_seconds
from migrator.protocol.passes import Pass, Wanted, go_on, left_s, too_long
from migrator.protocol.states import State
from migrator.steps.base import Move, run_job


class FilePasses:
    """The passes of one move so far."""

    def __init__(self, move: Move) -> None:
        self._move = move
        self._others_s = _pause_without_files_s(move)
        mine = move.source.facts.container(move.name)
        # What is mapped shared and writable is compared in the pause, however often it was sent before.
        self._mapped_s = mine.mapped_bytes / LOOK_BYTES_PER_S if mine and mine.mapped_bytes > LITTLE_BYTES else 0.0
        self._wanted = _wanted(move, self._others_s + self._mapped_s)
        self._passes: list[Pass] = []

    @property
    def left_s(self) -> float:
        """How long the one in the pause is predicted to take; 0 where there is almost nothing to do."""
        if self._passes[-1].files_bytes <= self._wanted.bytes_max:
            return self._mapped_s
        return self._mapped_s + (left_s(self._passes, READY_S) or 0.0)

    async def one(self) -> None:
        """One more pass."""
        move, began_s, number = self._move, asyncio.get_running_loop().time(), len(self._passes) + 1
        words, timeout_s = ("send-files", move.name, move.token, number), move.policy.job_timeout_s
        done = await run_job(move.source.node, move, f"files{number}", *words, timeout_s=timeout_s)
        self._passes.append(Pass(done.number("bytes"), done.number("sent"), began_s, done.number("ms") / 1000))
        left = f", {format_seconds(self.left_s)} predicted in the pause" if self.left_s else ""
        move.on_progress(State.SEEDED, f"files: pass {number}, {done.number('bytes')} bytes{left}")

    async def until_enough(self) -> dict[str, Any]:
        """Passes until one finds little to send, or little is predicted to be left. Returns what went, how long the
        last one took, and what is left. FailedSafe where that would make the pause too long.
        """
        move, longest_s = self._move, self._move.policy.blackout_s_max
        await self.one()
        while go_on(self._passes, self._wanted):
            await self.one()
        others_s = self._others_s + self._mapped_s
        if self.left_s and (why := too_long(self._passes, READY_S, others_s, longest_s)):
            raise FailedSafe(
                f"container {move.name} writes its files faster than they go to {move.target.node.name}: {why}; allow "
                "more with --max-blackout, or move it when it writes less"
            )
        left = left_s(self._passes, READY_S)
        return {
            "passes": len(self._passes),
            "sent_bytes": sum(each.sent_bytes for each in self._passes),
            "last_pass_ms": round(self._passes[-1].took_s * 1000),
            **({} if left is None else {"files_left_ms": round((left + self._mapped_s) * 1000)}),
        }


def _wanted(move: Move, others_s: float) -> Wanted:
    """Passes end when the pause is predicted under the one that is asked for, or its files' part under the usual."""
    policy = move.policy
    wanted_s = files_wanted_s(policy.target_blackout_s, others_s)
    bytes_max = policy.seed_rest_bytes_max
    if policy.bandwidth_bytes_per_s is not None:
        bytes_max = min(bytes_max, round(policy.bandwidth_bytes_per_s * wanted_s))
    more_max = policy.seed_passes_max if policy.target_blackout_s is None else policy.rounds_max
    return Wanted(wanted_s, bytes_max, policy.seed_passes_max, max(more_max, policy.seed_passes_max), READY_S)


def _pause_without_files_s(move: Move) -> float:
    """What the rest of the pause is predicted to take."""
    mine = move.source.facts.container(move.name)
    if mine is None:
        return 0.0
    links = move.source.facts.link, move.target.facts.link
    estimate = estimate_move(mine, *links, move.rates, move.shared, move.manner)
    packed_s = 0.0 if move.mode is Mode.RESTART else tmpfs_s(mine)
    return estimate.blackout_s - estimate.files_pause_s + packed_s
