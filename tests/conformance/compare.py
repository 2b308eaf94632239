"""What both kinds of node are held to: one form for answers and effects, and how two lives of a script differ.

Times, pids, keys and sizes that were measured differ on any two nodes; of those lines only the key counts. A refusal
is compared by what a caller can rest on: who holds the container, or in which state it is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

Effects = dict[str, dict[str, str]]  # role (s, t) -> what is true there, by name

MEASURED = {
    "frozen_at_ms",
    "quiet_ms",
    "stop_ms",
    "killed",
    "released_at_ms",
    "paused_ms",
    "ms",
    "dump_ms",
    "send_ms",
    "image_kib",
    "bytes",
    "sent",
    "key",
}
KINDS = {0: "done", 10: "refused", 11: "missing"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one call ended: its kind, and what was said in a form that does not depend on the node."""

    kind: str
    said: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.kind} ({'; '.join(self.said)})"


@dataclass(frozen=True, slots=True)
class Moment:
    """One act of a script, how it ended, and what was true after it."""

    act: str
    outcomes: tuple[Outcome, ...] = ()
    effects: Effects = field(default_factory=dict)


def outcome(code: int, out: str, err: str, base: int) -> Outcome:
    """`base` is the token with which the script began: what the node has seen before is not the script's."""
    kind = KINDS.get(code, "failed")
    if kind == "done":
        return Outcome(kind, answer(out, base))
    return Outcome(kind, (reason(err),) if kind == "refused" else ())


def answer(text: str, base: int) -> tuple[str, ...]:
    """Lines of an answer: sorted, each once, the measured ones by their key alone."""
    found = set()
    for line in text.splitlines():
        key, _, rest = line.removeprefix("out ").partition(" ")
        if key == "socket":
            continue  # a simulated program listens to nobody
        if key == "why":
            continue  # words for whoever reads the error
        if key == "floor":
            rest = rest if int(rest) > base else "below"
        if key in ("process", "err", "address") or key in MEASURED:
            rest = "*"
        if key == "exit" and rest != "0":
            rest = "not 0"
        found.add(f"{key} {rest}".rstrip())
    return tuple(sorted(found))


def reason(text: str) -> str:
    """What a caller can do something with, of the words of a refusal."""
    if held := re.search(r"held by run (\S+) with token (\d+)", text):
        run, token = held.groups()
        return f"held by {run} with {token}" if run != "-" else "held by nobody"
    words = {"held by no run": "held by nobody", "was changed since": "held by nobody"}
    words |= {"is not known here": "unknown", "is past": "past"}
    for part, short in words.items():
        if part in text:
            return short
    state = re.search(r"container \S+ is (reserved|serving|stopped|fenced|sealed|held|released)\b", text)
    return f"is {state.group(1)}" if state else "another reason"


# A dump that stood ready goes on from here, and the restore with it, at each side's own pace.
DUMPS_BY_ITSELF = "start twice do fence"


def differences(real: Sequence[Moment], simulated: Sequence[Moment]) -> list[str]:
    """What a lab's life and a simulated one do not have in common, act by act; empty when they agree."""
    found = []
    for ours, theirs in zip(real, simulated, strict=True):
        found += [f"{ours.act}: {line}" for line in _of_moment(ours, theirs)]
    return found


def _of_moment(real: Moment, simulated: Moment) -> list[str]:
    found = []
    for number, (ours, theirs) in enumerate(zip(real.outcomes, simulated.outcomes, strict=True)):
        if ours != theirs and not (real.act.startswith("start ") and _differ_in_pace(ours, theirs)):
            found.append(f"answer {number + 1}: real {ours}, simulated {theirs}")
    if real.act == DUMPS_BY_ITSELF:
        return found
    for role in sorted(real.effects):
        ours_there, theirs_there = real.effects[role], simulated.effects[role]
        for key in sorted(ours_there.keys() | theirs_there.keys()):
            one, other = ours_there.get(key, "-"), theirs_there.get(key, "-")
            if one != other:
                found.append(f"{role} {key}: real {one}, simulated {other}")
    return found


def _differ_in_pace(one: Outcome, other: Outcome) -> bool:
    """Whether a job that was only begun goes on for the one, and has ended already for the other."""
    return one.kind == other.kind == "done" and any(each.said == ("job running",) for each in (one, other))
