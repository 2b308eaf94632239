"""The parts of the kit are one shell."""

from __future__ import annotations

import re
from collections import Counter

from migrator.transport import kit


def test_no_two_parts_of_the_kit_have_a_function_of_one_name() -> None:
    """They are read into one shell, where the later one would take the place of the other without a word."""
    found = Counter(
        name
        for part in sorted(kit.SCRIPTS.glob("*.sh"))
        for name in re.findall(r"^([a-z_]+)\(\)", part.read_text(), re.MULTILINE)
    )
    assert [name for name, count in found.items() if count > 1] == []
