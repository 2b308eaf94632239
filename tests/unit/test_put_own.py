"""What is put into a container that runs is put there by its own root, whatever becomes of the name meanwhile."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from migrator.transport import kit

BASE = 1 << 20


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that every user reaches, with one of the container's own in it."""
    path = Path(tempfile.mkdtemp(dir="/var/tmp"))
    path.chmod(0o755)
    (path / "etc").mkdir()
    os.chown(path / "etc", BASE, BASE)
    yield path
    shutil.rmtree(path)


def put(place: Path, more: str = "") -> int:
    parts = f'KIT={kit.SCRIPTS}; . "$KIT/lib.sh"; . "$KIT/identity.sh"'
    script = f"{parts}; {more} base={BASE}; cd {place}/etc; put_own hosts 644"
    return subprocess.run(["sh", "-c", script], input="mine", text=True, check=False, timeout=30).returncode


def test_it_is_the_containers_own(place: Path) -> None:
    assert put(place) == 0
    made = place / "etc/hosts"
    assert (made.read_text(), made.stat().st_uid, made.stat().st_gid) == ("mine", BASE, BASE)
    assert made.stat().st_mode & 0o777 == 0o644


def test_nothing_of_the_nodes_is_written_through_a_link_that_took_its_place(place: Path) -> None:
    (place / "secret").write_text("the node's")
    stub = place / "bin" / "mktemp"  # as if it had been renamed away the moment it was made
    stub.parent.mkdir()
    stub.write_text(f"#!/bin/sh\nln -s {place}/secret ./part && echo ./part\n")
    stub.parent.chmod(0o755)
    stub.chmod(0o755)
    assert put(place, f"PATH={place}/bin:$PATH;") != 0
    assert ((place / "secret").read_text(), (place / "secret").stat().st_uid) == ("the node's", 0)
    assert not (place / "etc/hosts").exists()
