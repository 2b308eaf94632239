"""What a probe tells of pressure: lines `pressure WHO KEY=VALUE...`, where WHO is a container, or "-" the node."""

from __future__ import annotations

import re
from typing import Any

from migrator.model.container import NAME
from migrator.model.pressure import RESOURCES, Pressure, Stall
from migrator.transport.base import Answer, NodeFailed

_STALL = re.compile(r"(?:\d{1,3}\.\d{2},){3}\d{1,3}\.\d{2}")
_COUNT = re.compile(r"\d{1,18}")
NODE = "-"


def pressure_of(answer: Answer) -> Pressure:
    """The node's own; its counts are facts of their own."""
    given = _fields(answer, NODE, _lines(answer).get(NODE, ""))
    for key in ("swapped_in_bytes", "oom_kills"):
        if answer.get(key):
            given[key] = answer.number(key)
    if given and answer.get("time_ms"):
        given["at_ms"] = answer.number("time_ms")
    return Pressure(**given)


def pressures_in(answer: Answer) -> dict[str, Pressure]:
    """Those of its containers, by name."""
    return {
        name: Pressure(**_fields(answer, name, rest)) for name, rest in _lines(answer).items() if NAME.fullmatch(name)
    }


def _lines(answer: Answer) -> dict[str, str]:
    return {who: rest for who, _, rest in (line.partition(" ") for line in answer.lines("pressure"))}


def _fields(answer: Answer, who: str, text: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for word in text.split():
        key, _, value = word.partition("=")
        if key in RESOURCES and _STALL.fullmatch(value):
            found[key] = Stall(*map(float, value.split(",")))
        elif key in ("oom_kills", "cpu_us") and _COUNT.fullmatch(value):
            found[key] = int(value)
        else:
            raise NodeFailed(answer.node, "probe", f"it tells of pressure on {who[:63]} what nobody understands")
    return found
