"""Imports point down, the pure parts do no I/O, and files stay of a size one can read."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "migrator"

# What each part may import of the others. Everything may import errors; cli and demo compose.
MAY_IMPORT = {
    "errors": set(),
    "model": set(),
    "protocol": {"model"},
    "planner": {"model"},
    "checker": {"model"},
    "roadef": set(),
    "journal": {"model", "protocol"},
    "transport": {"model"},
    "runtime": {"model"},
    "templates": {"model"},
    "inventory": {"model", "transport"},
    "steps": {"model", "protocol", "runtime", "transport"},
    "executor": {"checker", "inventory", "journal", "model", "protocol", "runtime", "steps", "templates", "transport"},
    "lab": {"model"},
    "sim": {"executor", "inventory", "journal", "model", "planner", "protocol", "runtime", "transport"},
    "cli": {
        "checker",
        "executor",
        "inventory",
        "journal",
        "lab",
        "model",
        "planner",
        "protocol",
        "roadef",
        "sim",
        "steps",
        "templates",
        "transport",
    },
    "demo": {"cli", "lab", "model"},
    "chaos": {"executor", "inventory", "journal", "lab", "model", "protocol", "steps", "transport"},
}
PURE = ("model", "protocol", "planner", "checker", "roadef")
IO_MODULES = {"asyncio", "asyncssh", "os", "pathlib", "random", "socket", "sqlite3", "subprocess", "time"}
LINES_MAX = 400


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_what_lies_below_it(path: Path) -> None:
    if part(path) == "__init__":
        return
    allowed = MAY_IMPORT[part(path)] | {part(path), "errors"}
    used = {name.split(".")[1] for name in imports(path) if name.startswith("migrator.")}
    assert used <= allowed, f"{path.name} imports {sorted(used - allowed)}"


@pytest.mark.parametrize("name", PURE)
def test_pure_parts_do_no_io_and_know_no_clock(name: str) -> None:
    for path in (PACKAGE / name).rglob("*.py"):
        used = {module.split(".")[0] for module in imports(path)} & IO_MODULES
        assert not used, f"{path} imports {sorted(used)}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_can_be_read_in_one_sitting(path: Path) -> None:
    assert path.read_text().count("\n") <= LINES_MAX


def test_asyncssh_is_imported_in_the_transport_alone() -> None:
    users = {str(p.relative_to(PACKAGE)) for p in modules() if any(n.startswith("asyncssh") for n in imports(p))}
    assert users == {"transport/attach.py", "transport/ssh.py", "transport/standing.py"}


def test_help_imports_nothing_heavy() -> None:
    import subprocess

    probe = "import sys; from migrator.cli.main import _run; _run(['--help']); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=30, check=True)
    loaded = done.stdout.splitlines()[-1]
    heavy = [name for name in ("asyncssh", "pydantic", "networkx", "rich", "tenacity") if f"'{name}'" in loaded]
    assert not heavy
