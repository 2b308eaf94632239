"""What a plan file holds, and how it is written: apart from reading one (plan_file.py), which most commands do not.

One field a line, keys sorted, so that a diff shows what is planned differently and nothing else. `integrity` is a
digest of everything else in the file. docs/plan-format.md describes every field.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from migrator.errors import BadInput
from migrator.model.modes import AUTO, STOP_TIMEOUT_S, Mode
from migrator.model.plan import Plan
from migrator.model.plan_policy import EVEN, PlanPolicy

INTEGRITY = "integrity"
# Parts of a policy that a file does not hold where they say nothing, and what that is.
_LEFT_OUT: tuple[tuple[str, Any], ...] = (
    ("waived", ()),
    ("checks_waived", ()),
    ("allow", ()),
    ("mode", AUTO),
    ("target_blackout_s", None),
    ("not_convergent", ""),
    ("stop_timeout_s", STOP_TIMEOUT_S),
    ("bandwidth_bytes_per_s", None),
    ("written_bytes_per_s", {}),
)
# The same of an estimate and of a move: all of these are nothing in a move by stop-and-copy.
_ESTIMATE_LEFT_OUT: tuple[tuple[str, Any], ...] = (
    ("ahead_bytes", 0),
    ("following_bytes", 0),
    ("following_s", 0.0),
    ("files_again_s", 0.0),
    ("gather_s", 0.0),
    ("files_pause_s", 0.0),
)
_MOVE_LEFT_OUT: tuple[tuple[str, Any], ...] = (("mode", Mode.STOP_AND_COPY), ("follows_s", 0.0))


def to_document(plan: Plan) -> dict[str, Any]:
    """The plan as JSON values, with its integrity."""
    document = asdict(plan)
    document["policy"] = policy_document(plan.policy)
    for move in document["moves"]:
        for key, nothing in _ESTIMATE_LEFT_OUT:
            if move["estimate"][key] == nothing:
                del move["estimate"][key]
        for key, nothing in _MOVE_LEFT_OUT:
            if move[key] == nothing:
                del move[key]
        if move["start_s"] is None:
            del move["start_s"]
        if move["pause"] is None:
            del move["pause"]
        if move["leg"] == 1:
            del move["leg"]  # so that a plan without stop-overs is the file that it always was
    return document | {INTEGRITY: integrity(document)}


def policy_document(policy: PlanPolicy) -> dict[str, Any]:
    """The policy as JSON values; what was learnt, waived and weighed is left out where nothing was."""
    document = asdict(policy)
    if not policy.learnt:
        del document["learnt"]
    for key, nothing in _LEFT_OUT:
        if getattr(policy, key) == nothing:
            del document[key]
    if policy.weights == EVEN:
        del document["weights"]
    return document


def integrity(document: dict[str, Any]) -> str:
    """A digest of everything in the document but itself; whoever writes 15.0 as 15 has changed nothing."""
    return older_integrity(_whole(document))


def older_integrity(document: dict[str, Any]) -> str:
    """What earlier versions wrote for it: numbers count as they are written."""
    content = {key: value for key, value in document.items() if key != INTEGRITY}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"


def _whole(value: Any) -> Any:
    """The same JSON value with every number that is whole as an integer, as tools such as jq write them."""
    if isinstance(value, dict):
        return {key: _whole(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_whole(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def dump(plan: Plan) -> str:
    """The text of a plan file: equal plans, equal bytes."""
    return json.dumps(to_document(plan), indent=1, sort_keys=True) + "\n"


def save(plan: Plan, path: Path) -> None:
    """Writes a plan file, whole or not at all."""
    write(dump(plan), path)


def write(text: str, path: Path) -> None:
    """Writes a file, whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise BadInput(f"{path}: cannot be written: {error.strerror}") from error
