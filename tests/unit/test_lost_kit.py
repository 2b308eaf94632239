"""What decides what passes in a container's network and is not carried, as the kit tells it of what programs say."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from migrator.transport.kit import SCRIPTS


def lost(folder: Path, **programs: str) -> list[str]:
    for name in ("ip", "python3"):
        (folder / name).write_text(f"#!/bin/sh\n{programs.get(name, ':')}\n")
        (folder / name).chmod(0o755)
    path = f"{folder}:{os.environ['PATH']}"
    argv = ["sh", str(SCRIPTS / "lost")]
    run = subprocess.run(argv, env={"PATH": path}, capture_output=True, text=True, timeout=30, check=False)
    assert (run.stderr, run.returncode) == ("", 0)
    return run.stdout.splitlines()


@pytest.mark.parametrize(
    ("program", "says", "told"),
    [
        ("python3", "printf 'nat\\nfilter\\nfilter\\n'", ["lost rules of iptables-legacy (filter nat)"]),
        ("ip", '[ "$*" != "xfrm policy" ] || echo src', ["lost policies or keys of IPsec (ip xfrm)"]),
        ("ip", '[ "$*" != nexthop ] || echo id 7', ["lost next hops with a number (ip nexthop)"]),
    ],
)
def test_each_is_told_by_its_name_and_nothing_else_is(tmp_path: Path, program: str, says: str, told: list[str]) -> None:
    assert lost(tmp_path, **{program: says}) == told
