"""The real lab, once for all tests that need one; and how properties are judged.

A lab that cannot come up is a failure, never a skip. Properties judge behaviour, never speed; and a change lands or not
by the same examples each time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from migrator.lab import lab as labs
from migrator.lab.guard import start_guard
from migrator.lab.paths import LabPaths
from tests.lab.stage import Stage

settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Virtual machines are asked for by name (`make test-vms`): under emulation they take longer than all else."""
    vms = Path(__file__).parent / "vms"
    named = any(Path(arg.split("::")[0]).resolve().is_relative_to(vms) for arg in config.args)
    return True if collection_path == vms and not named else None


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Three nodes, their own journal, and a guard that ends the lab should the tests be killed."""
    paths = LabPaths.of(f"t{os.getpid()}")
    guard = start_guard(paths.name)
    try:
        spec = labs.up(paths, 3)
        yield Stage(paths, spec, tmp_path_factory.mktemp("journal") / "journal.db")
    finally:
        labs.down(paths)
        guard.dismiss()


@pytest.fixture
def tidy(stage: Stage) -> Iterator[Stage]:
    """The lab for one test: every node up before it, no container and nothing else left after it."""
    stage.begin()
    yield stage
    stage.boot_all()
    stage.remove_all()
    assert stage.leftovers() == []
