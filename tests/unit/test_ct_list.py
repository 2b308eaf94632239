"""Which containers `ct list` shows."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner

from migrator.cli.ct_list import list_, selected
from migrator.errors import BadInput


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


def test_a_state_that_no_container_is_ever_in_is_refused_before_a_node_is_asked() -> None:
    asked = CliRunner().invoke(list_, ["--state", "running", "--state", "banana"])
    assert isinstance(asked.exception, BadInput)
    assert str(asked.exception).startswith(
        "--state 'banana': no container is ever in it; one of: running; running, cut"
    )
