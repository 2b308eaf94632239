"""What a container's own files are, as one digest: equal where all that they are is equal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from migrator.transport.kit import SCRIPTS


def manifest(tree: Path) -> str:
    words = (sys.executable, "-ESsB", str(SCRIPTS / "manifest.py"), str(tree))
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def test_what_a_restore_holds_open_under_names_of_its_own_is_no_difference(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/kept").write_text("x")
    before = manifest(tmp_path)
    (tmp_path / "d/#17.cr.1.ghost").write_text("deleted, and open")
    assert manifest(tmp_path) == before
    (tmp_path / "d/17.ghost").write_text("a file of its own")
    assert manifest(tmp_path) != before
