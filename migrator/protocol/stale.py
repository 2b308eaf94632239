"""Whether a journal is older than the world: restored from a backup, or one of two that were mistaken for each other.

Theory. Every lease is preceded by a journal write of its token, and every act by the event that begins it. So nodes
can be behind an up-to-date journal (an act that was announced and never came), but never ahead of it. A record that
shows what this journal never announced was made by a later copy of it, which may have decided. Then this one may not.
"""

from __future__ import annotations

from dataclasses import dataclass

from migrator.model.observation import Observation
from migrator.protocol.states import State

RELEASED = ("released", "serving", "stopped")


@dataclass(frozen=True, slots=True)
class Known:
    """What a journal knows of one migration.

    `begun` are all states whose act was announced, `reached` those that ended well. `superseded` names a later run of
    the same journal that has had the container, if this migration was never leased; else it is empty. `follows` is
    whether it goes by post-copy, and its memory has not been seen to be filled. `not_let_go` is whether its target has
    told that the copy died in its release.
    """

    run: str
    token: int
    generation: int
    decision: State | None = None
    begun: frozenset[State] = frozenset()
    reached: frozenset[State] = frozenset()
    superseded: str = ""
    follows: bool = False
    not_let_go: bool = False


def never_leased(known: Known, source: Observation | None, target: Observation | None) -> bool:
    """Whether the lease on the source never came, and now would be refused: others have had the container since.

    A target that has this run's copy shows that it came, and that the source is gone because this run has removed it.
    """
    if source is None or known.decision is not None or State.LEASED in known.reached or source.run == known.run:
        return False
    if target is not None and target.run == known.run and target.state in ("held", *RELEASED):
        return False
    return source.state == "absent" or source.token >= known.token


def ahead(known: Known, source: Observation | None, target: Observation | None) -> str:
    """What the nodes show that this journal cannot know, or nothing. `None` is a side that does not answer."""
    for name, seen in (("source", source), ("target", target)):
        if seen is not None and seen.run == known.run and seen.token > known.token:
            return (
                f"the {name} holds token {seen.token} of this run, and this journal knows of none above {known.token}"
            )
    if known.decision is State.COMMITTED:
        return _taken_back(known, source)
    if known.decision is not None or known.superseded or never_leased(known, source, target):
        return ""
    return _target_ahead(known, target) or _source_ahead(known, source)


def _taken_back(known: Known, source: Observation | None) -> str:
    if source is None or State.DONE in known.begun or source.run not in (known.run, "-"):
        return ""
    if source.state in ("serving", "stopped"):
        return f"the source's record says {source.state}: somebody has decided after this journal's commit"
    return ""


def _target_ahead(known: Known, target: Observation | None) -> str:
    if target is None:
        return ""
    if target.state in RELEASED:
        return f"the target's record says {target.state}, and this journal knows of no decision"
    if target.run == known.run and target.state == "held" and State.RESTORED not in known.begun:
        return "the target holds a restored copy, and this journal has not begun to restore"
    return ""


def _source_ahead(known: Known, source: Observation | None) -> str:
    if source is None:
        return ""
    for state, record in ((State.FENCED, "fenced"), (State.SEALED, "sealed")):
        if source.run == known.run and source.state == record and state not in known.begun:
            return f"the source's record says {record}, and this journal has not begun that"
    if State.LEASED in known.reached and source.run != known.run:
        holder = "by nobody" if source.run == "-" else f"by run {source.run}"
        return f"the source is leased in this journal, and its record says it is held {holder}"
    if source.generation > known.generation:
        return f"the source's generation is {source.generation}, and this journal knows of {known.generation}"
    return ""
