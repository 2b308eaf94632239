"""What to do with a migration that nobody is working on: the recovery table, as one pure function.

Theory. The journal holds at most one decision. The source runs only by its own watchdog or after ABORTED; the
target runs only after COMMITTED. So an undecided migration may always be aborted while the source can still run
(its processes are there, or never stopped), and may be committed only when the source can not run by itself
(sealed, or its memory died with a reboot) and the target holds a verified copy. Whatever is not known is asked;
what can not be asked is not guessed: then the answer is STUCK, and both sides stay as they are.
In a move by restart the source has no processes from the fence on; its files are whole, and a reboot leaves them so.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from migrator.model.modes import Mode
from migrator.model.observation import Observation
from migrator.protocol.stale import RELEASED, Known, ahead, never_leased
from migrator.protocol.states import State


class Action(StrEnum):
    STALE = "stale"  # the journal is older than the world: it may decide nothing
    ABORT = "abort"  # decide ABORTED, then roll back
    ROLL_BACK = "roll-back"  # ABORTED stands: thaw the source, clean the target
    COLD_START = "cold-start"  # ABORTED, and the source has lost its memory: start it from its files
    COMMIT = "commit"  # decide COMMITTED, then finish
    FINISH = "finish"  # COMMITTED stands: release, remove the source, settle
    REVOKE = "revoke"  # COMMITTED, but the target's copy died unreleased: a higher generation brings the source back
    SETTLE = "settle"  # an operator has decided: what is left of that is done
    NOTHING = "nothing"
    STUCK = "stuck"

    @property
    def changes_nothing(self) -> bool:
        return self in (Action.STALE, Action.STUCK, Action.NOTHING)


@dataclass(frozen=True, slots=True)
class Verdict:
    action: Action
    reason: str


def judge(known: Known, source: Observation | None, target: Observation | None, forward: bool = True) -> Verdict:
    """The verdict for a migration by what the journal knows of it; `None` for a side that does not answer.

    `forward` says which way to go where both are open: a sealed source that is whole, and a verified held copy.
    """
    if never_leased(known, source, target):
        return Verdict(Action.ABORT, "it was never leased, and the container has moved on since")
    reason = ahead(known, source, target)
    if reason:
        return Verdict(Action.STALE, reason)
    if known.superseded:
        return Verdict(Action.ABORT, f"it was never leased, and run {known.superseded} has had the container since")
    if known.decision in (State.ABORTED, State.REVOKED):
        # What a later run has made of either side is its own; nothing of this one's is there any more.
        source, target = _unless_held_by_others(known, source), _unless_held_by_others(known, target)
    if State.DONE in known.begun and target is not None and target.run != known.run:
        return Verdict(Action.FINISH, "the target has settled it; only the journal was not told")
    if known.decision is State.COMMITTED and target is not None and (why := _lost(known, target)):
        return Verdict(
            Action.STUCK,
            f"{why}; its files are there, the source's memory is of before the move: choose, with migrator settle",
        )
    verified = State.VERIFIED in known.reached and (forward or source is None or not source.alive)
    return decide(known.decision, verified, source, target)


def _lost(known: Known, target: Observation) -> str:
    """How a released copy lost its memory while the source's is still there, or nothing."""
    if target.state != "released":
        return ""
    if known.follows and not known.not_let_go and (target.memory == "lost" or not target.same_boot):
        return "it was released on the target, and lost its memory there before all of it had followed"
    if target.memory == "lost" or (known.not_let_go and not target.alive):
        return "its restored copy died on the target in its release"
    return ""


def _unless_held_by_others(known: Known, seen: Observation | None) -> Observation | None:
    return Observation() if seen is not None and seen.run != known.run else seen


def decide(decision: State | None, verified: bool, source: Observation | None, target: Observation | None) -> Verdict:
    """The verdict for a migration; `None` for a side that does not answer.

    `verified` is what the journal says: the held copy was compared with the source. It is never asked of a node.
    """
    if decision is None:
        return _undecided(verified, source, target)
    if decision is State.COMMITTED:
        return _committed(source, target)
    if decision is State.SETTLED:
        return Verdict(Action.SETTLE, "settled by an operator")
    return _aborted(source, target)


def _undecided(verified: bool, source: Observation | None, target: Observation | None) -> Verdict:
    if target is not None and target.state in RELEASED:
        return Verdict(
            Action.STUCK,
            "the target runs it, and this journal knows of no decision: it is older than the world",
        )
    if source is None:
        return Verdict(Action.STUCK, "the source does not answer, and may be fenced, sealed, or running")
    held = target is not None and target.holds
    if source.state in ("serving", "stopped"):
        return Verdict(Action.ABORT, "the source has the container")
    if source.state not in ("fenced", "sealed"):
        return Verdict(Action.STUCK, f"the source's record says {source.state!r}, and nothing was decided")
    if source.whole:
        if source.state == "sealed" and held and verified:
            return Verdict(Action.COMMIT, "the source is sealed and the target holds a verified copy")
        if source.state == "sealed" and target is None:
            return Verdict(
                Action.STUCK,
                "the source is sealed and whole, and the target does not answer: only it can show that no newer "
                "journal than this one has released it",
            )
        how = "stopped, and its files are whole" if source.cold else "frozen and whole"
        return Verdict(Action.ABORT, f"the source is {how}")
    if held and verified:
        return Verdict(Action.COMMIT, "the source lost its memory; the target holds the only living copy")
    if target is None:
        return Verdict(Action.STUCK, "the source lost its memory, and the target, which may hold it, does not answer")
    return Verdict(Action.COLD_START, "the source lost its memory and the target holds no verified copy")


def _aborted(source: Observation | None, target: Observation | None) -> Verdict:
    if target is not None and target.state in RELEASED:
        return Verdict(Action.STUCK, "the target runs it, though the journal says aborted")
    if source is None:
        return Verdict(Action.STUCK, "the source does not answer; it thaws by itself unless it was sealed")
    if source.state in ("fenced", "sealed") and not source.whole:
        return Verdict(Action.COLD_START, "the source lost its memory before it was thawed")
    if source.state == "stopped":
        return Verdict(Action.COLD_START, "the source lost its memory, and its cold start was cut short")
    if source.state == "absent":
        return Verdict(Action.ROLL_BACK, "aborted, and the source holds nothing of it any more: the target is cleaned")
    return Verdict(Action.ROLL_BACK, "aborted: the source runs on")


def _committed(source: Observation | None, target: Observation | None) -> Verdict:
    if target is None:
        return Verdict(Action.STUCK, "committed, and the target does not answer: it may run there")
    if target.state == "released" or (target.state in ("serving", "stopped") and source is not None):
        return Verdict(Action.FINISH, "the target has it")
    if target.state in ("serving", "stopped"):
        return Verdict(Action.STUCK, "the target has it; the source does not answer and still has its frozen copy")
    if target.state != "held":
        return Verdict(Action.STUCK, "committed, and the target has no record that says whether it was released")
    if target.held and target.same_boot:
        return Verdict(Action.FINISH, "committed and held")
    if source is None:
        return Verdict(Action.STUCK, "the target lost its copy unreleased, and the source does not answer")
    if source.state == "sealed" and source.whole:
        return Verdict(Action.REVOKE, "the target lost its copy before it was released; the source's is whole")
    return Verdict(Action.STUCK, "committed, but neither side has a living copy")


def of_a_silent_source(begun: frozenset[State], deadline_s: float, mode: Mode = Mode.STOP_AND_COPY) -> str:
    """What is known of a source that does not answer, and what it will do by itself."""
    if State.FENCED not in begun:
        return "it was not frozen, and runs on there"
    if mode is Mode.RESTART and State.SEALED not in begun:
        return f"if it was stopped, its own watchdog starts it again there, at most {deadline_s:g} s after that"
    if mode is Mode.RESTART:
        return "it may be sealed: then it stays stopped there, whole in its files, until the node is in reach"
    if State.SEALED not in begun:
        return f"if it was frozen, its own watchdog lets it run again there, at most {deadline_s:g} s after the freeze"
    return "it may be sealed: then it stays frozen there, whole, until the node is in reach"
