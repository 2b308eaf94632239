"""What a command loads is what it needs: who lists containers, or changes one, waits for no planner to be loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"networkx", "numpy", "rich", "zstandard", "migrator.planner", "migrator.steps", "migrator.journal"}
HEAVY |= {"migrator.inventory.policy_file"}  # of which this cluster file says nothing
LOADED = """
import os
import sys
from migrator.cli.main import main
try:
    main()
finally:
    print(*sorted(sys.modules), file=open(os.environ["TOLD"], "w"))
"""


@pytest.mark.parametrize(
    "words",
    [
        ("ct", "list"),
        ("ct", "set", "web", "--memory", "1G"),
        ("ct", "create", "web", "--node", "n1", "--template", "debian", "--ip", "10.0.0.7", "--", "sleep"),
    ],
)
def test_a_quick_command_loads_nothing_that_takes_long(tmp_path: Path, words: tuple[str, ...]) -> None:
    cluster, told = tmp_path / "cluster.yaml", tmp_path / "modules"
    cluster.write_text("nodes:\n- {name: n1, address: 127.0.0.1, ssh: {port: 1}}\n")
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *words],
        env=os.environ | {"MIGRATOR_CLUSTER": str(cluster), "HOME": str(tmp_path), "TOLD": str(told)},
        capture_output=True,
        text=True,
        check=False,
    )
    loaded = set(told.read_text().split())
    assert {"asyncssh", "click"} <= loaded, done.stderr
    assert HEAVY & loaded == set()
