"""The parts of the kit are one shell, and the same bytes whatever lies beside them."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from migrator.transport import kit


def test_no_two_parts_of_the_kit_have_a_function_of_one_name() -> None:
    """They are read into one shell, where the later one would take the place of the other without a word."""
    found = Counter(
        name
        for part in sorted(kit.SCRIPTS.glob("*.sh"))
        for name in re.findall(r"^([a-z_]+)\(\)", part.read_text(), re.MULTILINE)
    )
    assert [name for name, count in found.items() if count > 1] == []


def test_what_python_leaves_beside_the_kit_is_no_part_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As pip does when it installs, and any Python that is not told otherwise."""
    for name in ("node", "frames.py"):
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(kit, "SCRIPTS", tmp_path)
    before = kit.archive.__wrapped__(), kit.directory.__wrapped__()
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__/frames.cpython-311.pyc").write_bytes(b"code")
    assert (kit.archive.__wrapped__(), kit.directory.__wrapped__()) == before
