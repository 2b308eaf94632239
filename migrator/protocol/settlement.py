"""What an operator may settle, and what has to be said in writing for it.

Theory. A stuck container has at most one copy that can run, and nobody can know which. An operator can: they see the
machine. What they say counts for what cannot be asked, and is asked for word by word where it costs something: a copy
that may still run somewhere, or one that is given up. The decision is of a generation above everything that was seen.
"""

from __future__ import annotations

from migrator.model.observation import Observation


def refusal(container: str, node: str, here: Observation | None, files_complete: bool) -> str:
    """Why this node's copy cannot be kept, or nothing. `here` is that node's answer.

    `files_complete` is whether the journal says that the last pass over the files has ended, or the node is the source.
    """
    if here is None:
        return f"{node} does not answer, and so nothing can be kept or started there; keep the other, or bring it back"
    if here.state == "absent":
        return f"{node} has nothing of container {container}"
    if here.state in ("reserved", "held") and not here.holds and not files_complete:
        return f"{node} holds no restored copy of {container}, and its files there are not known to be complete"
    return ""


def word_needed(container: str, other: str, here: Observation, there: Observation | None, verified: bool) -> str:
    """What the operator must say, exactly, before the copy `here` may go on; empty when nothing is given up.

    `there` is the other node's answer; `verified` whether the journal says that a held copy was compared.
    """
    if there is None:
        return f"{other} is off"
    # Released, it has run: what it did is in its files, which are newer than any memory of the other.
    runs = there.state == "released" or (there.state == "serving" and there.alive)
    cold = not (here.alive or here.cold) or (here.state in ("reserved", "held") and not (here.holds and verified))
    whole = there.alive and (there.state in ("fenced", "sealed") or there.holds)
    if runs or (cold and whole):
        return f"{container} on {other} is given up"
    return ""


def what_it_means(container: str, other: str, there: Observation | None) -> str:
    """Why that has to be said."""
    if there is None:
        return (
            f"{other} does not answer, and a copy of {container} may run there: two would run. Cut it off first "
            f"(power, or the switch's port)"
        )
    return f"{other} has a living copy of {container}, and what only that copy knows will be lost"
