"""Many containers on one node: made by one command, drained over two others; and what of files a move sends."""

from __future__ import annotations

import pytest

from tests.lab.stage import Stage

OWN_BYTES, TIMES_MAX = 5 << 20, 1.2
# As a packed file and as small ones, each of which costs a name.
WRITE = """
import os
os.makedirs("/srv/own")
open("/srv/own/large", "wb").write(os.urandom(3 << 20))
for number in range(1024):
    open(f"/srv/own/a-name-of-some-length-{number}", "wb").write(os.urandom(2 << 10))
"""


def processes(stage: Stage, node: str) -> int:
    return len(stage.on_node(node, "pgrep", "-fx", "sleep 100000").out.split())


@pytest.mark.parametrize("count", [12, pytest.param(100, marks=pytest.mark.full)])
def test_none_of_many_is_lost_in_a_drain_over_two_nodes(tidy: Stage, count: int) -> None:
    small = ("--memory", "16M", "--cpus", "0.05", "--disk", "16M", "--ip", tidy.ip(20))
    words = ("ct", "create", "idle", "--count", str(count), "--node", "n1", "--template", "debian", *small)
    tidy.ok(*words, "--", "sleep", "100000")
    assert processes(tidy, "n1") == count
    tidy.ok("drain", "n1", "--yes", "--parallel", "8")
    rows = tidy.ok("ct", "list", "--json").json()["containers"]
    assert {row["name"] for row in rows} == {f"idle-{number}" for number in range(1, count + 1)}
    assert {row["state"] for row in rows} == {"running"}
    assert {row["node"] for row in rows} == {"n2", "n3"}
    assert [processes(tidy, node) for node in ("n1", "n2", "n3")] == [
        0,
        *(sum(row["node"] == node for row in rows) for node in ("n2", "n3")),
    ]
    tidy.ok("uncordon", "n1")


def test_a_move_to_a_node_with_the_template_sends_little_more_than_its_own_files(tidy: Stage) -> None:
    given = ("--node", "n1", "--template", "debian", "--ip", tidy.ip(15))
    tidy.ok("ct", "create", "web", *given, "--", "sleep", "100000")
    tidy.ok("ct", "exec", "web", "--", "python3", "-c", WRITE)
    run = tidy.ok("migrate", "web", "--to", "n2", "--json").json()["run"]
    (moved,) = tidy.ok("show", run, "--json").json()["migrations"]
    assert OWN_BYTES <= moved["files_bytes"] <= TIMES_MAX * OWN_BYTES
    assert tidy.ok("ct", "exec", "web", "--", "sh", "-c", "cat /srv/own/* | wc -c").out == f"{OWN_BYTES}\n"
