"""A container whose first process is systemd: it boots, is seen and bounded as others are, ends cleanly, and moves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from migrator.lab import booted
from tests.lab.stage import Stage

GROUP = "/sys/fs/cgroup/ct/box"


@pytest.fixture(scope="module")
def stocked(stage: Stage) -> Iterator[None]:
    """The template with systemd on the first node."""
    booted.build(print)
    booted.offer(stage.paths, "n1")
    yield
    for node in stage.spec.nodes:
        stage.on_node(node, "sh", "-c", "umount /var/lib/migrator/containers/*/* 2>/dev/null; true")
        booted.take_back(stage.paths, node)
