"""Every test here needs the lab."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "/lab/" in Path(str(item.fspath)).as_posix():
            item.add_marker(pytest.mark.lab)
