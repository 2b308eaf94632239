"""Ranges of user ids that overlap, as where two clusters were joined: shifted on the target, live and by a restart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.lab.client import CountingClient
from tests.lab.stage import Stage

IDS = "id -u; stat -c '%u %g %a' /srv /srv/mine /srv/theirs /run/x; getfacl -cn /srv/mine 2> /dev/null; ps -o uid= -p 1"
MAKE = "touch /srv/mine /srv/theirs /run/x && chown 1000:1001 /srv/theirs /run/x && chmod 4755 /srv/theirs"


@pytest.fixture
def joined(tidy: Stage, tmp_path: Path) -> Iterator[Stage]:
    """Container `web` of n1, and `other` of n2, which was made as if n2 were a cluster of its own: equal ranges."""
    tidy.counter("web", "n1", 1, more=("--volume", "data:/srv/data:10M"))
    alone = yaml.safe_load(Path(tidy.cluster).read_text())
    alone["nodes"] = [entry for entry in alone["nodes"] if entry["name"] == "n2"]
    path = tmp_path / "alone.yaml"
    path.write_text(yaml.safe_dump(alone))
    given = ("--node", "n2", "--template", "debian", "--ip", tidy.ip(2), "--", "sleep", "1000")
    made = tidy.migrator("ct", "create", "other", *given, cluster=str(path))
    assert made.code == 0, made
    assert base(tidy, "n2", "other") == base(tidy, "n1", "web")
    tidy.ok("ct", "exec", "web", "--", "sh", "-c", MAKE)
    yield tidy


def base(stage: Stage, node: str, name: str) -> int:
    return int(stage.on_node(node, "cat", f"/var/lib/migrator/containers/{name}/id_base").out)


def ids(stage: Stage) -> str:
    return stage.ok("ct", "exec", "web", "--", "sh", "-c", IDS).out


def outside(stage: Stage, node: str, path: str) -> int:
    """The node's own number of a file's owner, or of a process's."""
    return int(stage.on_node(node, "stat", "-c", "%u", path).out)


@pytest.mark.parametrize("mode", ["auto", "restart"])
async def test_one_that_comes_where_its_range_is_anothers_gets_another(
    joined: Stage, mode: str, tmp_path: Path
) -> None:
    before, plan = ids(joined), str(tmp_path / "plan.json")
    async with CountingClient(joined.ip(1)) as client:
        if mode == "auto":
            looked = joined.ok("migrate", "web", "--to", "n2", "--dry-run").out
            assert f"its ids are shifted from {base(joined, 'n1', 'web')} to " in looked
            joined.ok("rehearse", "web", "--to", "n2")
            await client.more(50)
            joined.ok("plan", "move", "web", "--to", "n2", "--headroom", "0", "-o", plan)
            told = joined.ok("explain", plan, "web").out
            joined.ok("apply", plan)
            await client.more(50)
    if mode == "restart":
        joined.ok("ct", "exec", "web", "--", "sh", "-c", "rm /run/x; touch /srv/x")
        joined.ok("migrate", "web", "--to", "n2", "--mode", "restart")
    new = base(joined, "n2", "web")
    assert new != base(joined, "n2", "other")
    if mode == "auto":
        assert f"to {new} on arrival, since container other has the same range on n2" in told
    at = "/var/lib/migrator/containers/web"
    assert outside(joined, "n2", f"{at}/upper/srv/theirs") == new + 1000
    assert outside(joined, "n2", f"{at}/disks/data") == new
    pid = joined.on_node("n2", "sh", "-c", "head -n 1 /sys/fs/cgroup/ct/web/cgroup.procs").out.strip()
    assert outside(joined, "n2", f"/proc/{pid}") == new
    if mode == "auto":
        assert ids(joined) == before
        async with CountingClient(joined.ip(1)) as client:
            joined.ok("migrate", "web", "--to", "n1", "--verify-files")
            await client.more(50)
        assert base(joined, "n1", "web") == new
        assert ids(joined) == before
