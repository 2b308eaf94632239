"""The state diagram of docs/architecture.md, drawn from the transition table so that the two cannot differ."""

from __future__ import annotations

from migrator.protocol.states import FINAL, FORWARD, TRANSITIONS, State

_UNDECIDED = FORWARD[1 : FORWARD.index(State.COMMITTED)]


def mermaid() -> str:
    """A Mermaid state diagram. The states that may all abort are drawn as one group, or nobody could read it."""
    lines = ["stateDiagram-v2", "    [*] --> planned", "    state undecided {"]
    lines += [f"        {_id(a)} --> {_id(b)}" for a in _UNDECIDED for b in _UNDECIDED if b in TRANSITIONS[a]]
    lines += ["    }", "    planned --> leased", "    undecided --> aborted", "    sealed --> committed"]
    lines += ["    undecided --> settled"]
    for state in State:
        if state in _UNDECIDED or state is State.PLANNED:
            continue
        lines += [f"    {_id(state)} --> {_id(after)}" for after in sorted(TRANSITIONS[state])]
    lines += [f"    {_id(state)} --> [*]" for state in sorted(FINAL)]
    return "\n".join(lines)


def _id(state: State) -> str:
    return str(state).replace("-", "_")
