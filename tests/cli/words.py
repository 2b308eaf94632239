"""Fleets that tests of commands plan with, and what is asked of every error."""

from __future__ import annotations

from tests.properties.fleets import MIB, cluster, ct, node

FIT = cluster(node("n1", ct("a"), ct("b")), node("n2"), node("n3"))
TIGHT = cluster(node("n1", ct("a"), ct("b")), node("n2", memory=300 * MIB), node("n3", cordon="operator"))


def one_line(err: str) -> str:
    """The one line that an error is."""
    lines = err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("migrator: ")
    return lines[0]
