"""A lab of two virtual machines with different kernels, once for all tests here; run by `make test-vms`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from migrator.lab import lab as labs
from migrator.lab.guard import start_guard
from migrator.lab.paths import LabPaths
from tests.lab.stage import Stage

# Emulation makes everything some ten times slower than it is, and a busy machine slower than that.
TEST_TIMEOUT_S = 1200
COMMAND_TIMEOUT_S = 600
KERNELS = ("6.1", "6.12")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "/vms/" in Path(str(item.fspath)).as_posix():
            item.add_marker(pytest.mark.timeout(TEST_TIMEOUT_S))


@pytest.fixture(scope="session")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """n1 with the older kernel, n2 with the newer, and a guard that ends the lab should the tests be killed."""
    paths = LabPaths.of(f"v{os.getpid()}")
    guard = start_guard(paths.name)
    try:
        spec = labs.up(paths, len(KERNELS), KERNELS)
        yield Stage(paths, spec, tmp_path_factory.mktemp("journal") / "journal.db", patience_s=COMMAND_TIMEOUT_S)
    finally:
        labs.down(paths)
        guard.dismiss()


@pytest.fixture
def up(machines: Stage) -> Stage:
    """The lab for a test that makes no containers: both machines up."""
    machines.begun += 1
    machines.journal = machines.journal.with_name(f"journal-{machines.begun}.db")
    machines.boot_all()
    return machines


@pytest.fixture
def vms(up: Stage) -> Iterator[Stage]:
    """The lab for one test: both machines up before it, and no container left after it."""
    yield up
    up.boot_all()
    up.remove_all()
    assert up.leftovers() == []
