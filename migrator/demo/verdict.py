"""Whether the demo's services came through: pure functions from what clients and journal say to rows and reasons.

Judged is loss, not speed: a slow machine shows longer pauses and stays green. No evidence is as red as bad
evidence, or a client that never spoke would pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

SHOWN_MAX = 3


@dataclass(frozen=True, slots=True)
class Writes:
    """Every write that was acknowledged, and what reading its key back gave (None: the key is not there)."""

    acknowledged: Mapping[str, str]
    found: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Transfers:
    """The digest the file has inside its container, and the digest of every copy that arrived whole."""

    sha256_expected: str
    sha256s: tuple[str, ...]
    bytes: int


@dataclass(frozen=True, slots=True)
class Numbers:
    """Every number a counter gave, in order, and the digest of its memory at the first and at the last."""

    numbers: tuple[int, ...]
    digest_before: str
    digest_after: str


Evidence = Writes | Transfers | Numbers


@dataclass(frozen=True, slots=True)
class Result:
    """What one client saw. `error` says how its one connection ended, if it did; then `evidence` may be missing."""

    container: str
    kind: str
    gap_ms: float
    error: str | None
    evidence: Evidence | None


@dataclass(frozen=True, slots=True)
class Finding:
    """A judgement in a few words."""

    good: bool
    text: str


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: the journal's side of a move beside the client's."""

    container: str
    kind: str
    move: str
    blackout_ms: int | None
    gap_ms: float
    bytes: int
    finding: Finding


def judge(result: Result) -> Finding:
    """One client's verdict."""
    if result.error is not None:
        return Finding(False, result.error)
    match result.evidence:
        case Writes() as writes:
            return _judge_writes(writes)
        case Transfers() as transfers:
            return _judge_transfers(transfers)
        case Numbers() as numbers:
            return _judge_numbers(numbers)
    return Finding(False, "nothing was checked")


def _judge_writes(writes: Writes) -> Finding:
    lost = [key for key, value in writes.acknowledged.items() if writes.found.get(key) != value]
    if lost:
        return Finding(False, f"{len(lost):,} acknowledged writes lost or changed: {_some(lost)}")
    if not writes.acknowledged:
        return Finding(False, "nothing was written")
    return Finding(True, f"{len(writes.acknowledged):,} writes read back")


def _judge_transfers(transfers: Transfers) -> Finding:
    wrong = [digest for digest in transfers.sha256s if digest != transfers.sha256_expected]
    if wrong:
        return Finding(False, f"sha256 differs: {wrong[0][:12]} for {transfers.sha256_expected[:12]}")
    if not transfers.sha256s:
        return Finding(False, "no file arrived whole")
    return Finding(True, f"sha256 equal ({transfers.bytes / 2**20:,.0f} MiB)")


def _judge_numbers(numbers: Numbers) -> Finding:
    skips = [f"{b} after {a}" for a, b in pairwise(numbers.numbers) if b != a + 1]
    if skips:
        return Finding(False, f"the counter skipped: {_some(skips)}")
    if len(numbers.numbers) < 2:
        return Finding(False, "nothing was counted")
    if numbers.digest_before != numbers.digest_after:
        return Finding(False, "the memory has changed")
    return Finding(True, f"{len(numbers.numbers):,} numbers, none skipped")


def rows(results: Sequence[Result], migrations: Sequence[Mapping[str, Any]]) -> list[Row]:
    """The table of one drain, in the clients' order; a container that had no move shows where nothing happened."""
    moves = {move["container"]: move for move in migrations}
    return [_row(result, moves.get(result.container)) for result in results]


def _row(result: Result, move: Mapping[str, Any] | None) -> Row:
    way, blackout_ms, sent_bytes = "stays", None, 0
    if move is not None:
        way = f"{move['source']} -> {move['target']}"
        way += "" if move["state"] == "done" else f" ({move['state']})"
        blackout_ms, sent_bytes = move["blackout_ms"], move["bytes"]
    return Row(result.container, result.kind, way, blackout_ms, result.gap_ms, sent_bytes, judge(result))


def client_reasons(results: Sequence[Result]) -> list[str]:
    """Why the clients make the verdict red; empty when they do not."""
    judged = [(result.container, judge(result)) for result in results]
    return [f"{container}: {finding.text}" for container, finding in judged if not finding.good]


def drain_reasons(node: str, containers: Sequence[str], run: Mapping[str, Any], left: Sequence[str]) -> list[str]:
    """Why a drain that should have emptied a node did not. `left` are the containers still on it."""
    states = {move["container"]: move["state"] for move in run.get("migrations", [])}
    reasons = [str(run["error"])] if run.get("error") else []
    reasons += [f"{ct}: its move is {states.get(ct, 'missing')}" for ct in containers if states.get(ct) != "done"]
    return reasons + [f"{ct} is still on {node}" for ct in left]


@dataclass(frozen=True, slots=True)
class Rollback:
    """All that shows whether a move was rolled back as promised. Processes are lines of pid, start time and name."""

    container: str
    exit_code: int
    sabotage: str
    run: Mapping[str, Any]
    node_before: str
    node_after: str
    processes_before: tuple[str, ...]
    processes_after: tuple[str, ...]


ROLLBACK_EXIT_CODE = 4
STATES_EXPECTED = ("fenced", "aborted", "rolled-back")


def rollback_reasons(seen: Rollback) -> list[str]:
    """Why a sabotaged drain did not end as it should: failed but safe, after the sync, with nothing changed."""
    ct = seen.container
    reasons = []
    if not seen.sabotage.startswith("killed"):
        reasons.append(f"{ct}: CRIU was not killed in its restore ({seen.sabotage})")
    if seen.exit_code != ROLLBACK_EXIT_CODE:
        reasons.append(f"the drain ended with exit code {seen.exit_code}, not {ROLLBACK_EXIT_CODE}")
    ended = {event["state"] for event in events_of(seen.run, ct) if event["phase"] == "end"}
    reasons += [f"{ct}: the journal does not show {state}" for state in STATES_EXPECTED if state not in ended]
    if seen.node_after != seen.node_before:
        reasons.append(f"{ct} is on {seen.node_after or 'no node'}, not on {seen.node_before}")
    if not seen.processes_before or seen.processes_after != seen.processes_before:
        reasons.append(f"{ct}: its processes are not the same")
    return reasons


def events_of(run: Mapping[str, Any], container: str) -> list[Mapping[str, Any]]:
    """The journal of one container's move in a document of `show --json`."""
    return [event for move in run.get("migrations", []) if move["container"] == container for event in move["events"]]


def verdict_line(reasons: Sequence[str]) -> str:
    """The last line of the demo."""
    return f"VERDICT: red: {'; '.join(reasons)}" if reasons else "VERDICT: green"


def _some(items: Sequence[str]) -> str:
    more = f" and {len(items) - SHOWN_MAX} more" if len(items) > SHOWN_MAX else ""
    return ", ".join(items[:SHOWN_MAX]) + more
