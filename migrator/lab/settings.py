"""What labs change of this machine's kernel: two limits that its nodes share, because they share the kernel.

A real host has limits of its own. What stood there before the first lab is written down and put back after the last.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

# Streamed memory: CRIU keeps pages in pipes, and a container's own root asks for the userfaultfd that takes them.
WANTED = {"fs/pipe-max-size": 16 << 20, "vm/unprivileged_userfaultfd": 1}
BEFORE = Path("/run/migrator-lab.settings")
_SYS = Path("/proc/sys")


def change(wanted: dict[str, int] = WANTED, before: Path = BEFORE, sys: Path = _SYS) -> None:
    """Changes what is not as labs need it. A kernel that has no such setting, or forbids it, is left as it is."""
    if not before.exists():
        found = {name: (sys / name).read_text().strip() for name in wanted if (sys / name).exists()}
        before.write_text(json.dumps(found))
    for name, value in wanted.items():
        with contextlib.suppress(OSError):
            if int((sys / name).read_text()) < value:
                (sys / name).write_text(f"{value}\n")


def put_back(before: Path = BEFORE, sys: Path = _SYS) -> None:
    """Puts back what stood there before, once."""
    with contextlib.suppress(FileNotFoundError):
        for name, value in json.loads(before.read_text()).items():
            with contextlib.suppress(OSError):
                (sys / name).write_text(f"{value}\n")
        before.unlink()
