"""A container that no node tells of: it is wrong input only where all nodes have answered."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from migrator.cli.main import main
from migrator.errors import BadInput, FailedSafe, nowhere
from migrator.executor.fleet import find_container
from migrator.executor.runs import plan_single
from migrator.inventory import snapshot
from tests.properties.fleets import cluster, ct, node

ANSWER = cluster(node("n1", ct("kv")), node("n2"))
SILENT = replace(ANSWER, nodes=(ANSWER.nodes[0], replace(ANSWER.nodes[1], error="node n2: no way to it")))


def test_where_all_have_answered_there_is_none() -> None:
    with pytest.raises(BadInput, match="there is no container 'web' in cluster"):
        find_container(ANSWER, "web")


def test_where_a_node_is_silent_nobody_knows() -> None:
    with pytest.raises(FailedSafe) as told:
        find_container(SILENT, "web")
    assert told.value.exit_code == 4
    assert "nobody knows where container 'web' is: node n2: no way to it; nothing was changed" in str(told.value)
    assert find_container(SILENT, "kv")[0].name == "n1"


def test_of_many_silent_nodes_three_are_named() -> None:
    told = str(nowhere("web", "rack", [f"node n{number}: no way to it" for number in range(9)]))
    assert told.count("no way") == 3
    assert "and 6 more" in told


def test_a_plan_by_names_tells_the_same(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    snapshot.save(SILENT, tmp_path / "s.json")
    with pytest.raises(SystemExit) as ended:
        main(["plan", "move", "web=n1", "--snapshot", str(tmp_path / "s.json")])
    assert (ended.value.code, "nobody knows where container 'web' is" in capsys.readouterr().err) == (4, True)


def test_a_move_to_a_node_that_is_silent_is_no_refusal() -> None:
    class Entries:
        def entry(self, name: str) -> None: ...

    fleet: Any = SimpleNamespace(file=Entries())
    with pytest.raises(FailedSafe, match="no way to it"):
        plan_single(fleet, SILENT, "kv", "n2")
