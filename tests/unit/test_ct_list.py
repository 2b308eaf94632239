"""Which containers `ct list` shows."""

from __future__ import annotations

from typing import Any

import pytest

from migrator.cli.ct_list import selected


def row(name: str, node: str, state: str, **labels: str) -> dict[str, Any]:
    return {"name": name, "node": node, "state": state, "labels": labels}


ROWS = [
    row("web-1", "n1", "running", app="web", tier="front"),
    row("web-2", "n2", "stopped", app="web"),
    row("db", "n1", "running", app="db"),
]


@pytest.mark.parametrize(
    ("wishes", "names"),
    [
        ({}, ["web-1", "web-2", "db"]),
        ({"patterns": ["web*"]}, ["web-1", "web-2"]),
        ({"patterns": ["db", "*-2"]}, ["web-2", "db"]),
        ({"patterns": ["we"]}, []),
        ({"patterns": ["WEB*"]}, []),
        ({"nodes": ["n1"]}, ["web-1", "db"]),
        ({"states": ["stopped", "down"]}, ["web-2"]),
        ({"labels": ["app=web"]}, ["web-1", "web-2"]),
        ({"labels": ["app=web", "tier"]}, ["web-1"]),
        ({"labels": ["app="]}, []),
        ({"patterns": ["*"], "nodes": ["n1"], "states": ["running"], "labels": ["app=db"]}, ["db"]),
    ],
)
def test_every_kind_of_wish_has_to_be_met(wishes: dict[str, list[str]], names: list[str]) -> None:
    assert [found["name"] for found in selected(ROWS, **wishes)] == names
