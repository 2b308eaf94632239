"""What the documents show is what the program does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from migrator.cli.main import COMMANDS
from migrator.protocol.diagram import mermaid
from migrator.protocol.states import State

ROOT = Path(__file__).parents[2]
PAPERS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def test_the_state_diagram_is_drawn_from_the_table() -> None:
    assert f"```mermaid\n{mermaid()}\n```" in (ROOT / "docs/architecture.md").read_text()


def test_every_state_is_in_the_glossary() -> None:
    glossary = (ROOT / "docs/glossary.md").read_text()
    assert [state for state in State if f"*{state}*" not in glossary] == []


@pytest.mark.parametrize("paper", PAPERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_papers_lead_somewhere(paper: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", paper.read_text())
    assert [target for target in targets if not (paper.parent / target).exists()] == []


@pytest.mark.parametrize("paper", PAPERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_in_papers_are_commands(paper: Path) -> None:
    used = set(re.findall(r"^\s*(?:\$ )?migrator ([a-z]+)", paper.read_text(), re.MULTILINE))
    assert used <= set(COMMANDS)


def test_no_registry_or_mirror_is_named_in_what_installs() -> None:
    for name in ("constraints.txt", "pyproject.toml", "tools/setup", "Makefile", "migrator/lab/image.py"):
        assert not re.search(r"https?://", (ROOT / name).read_text()), name


def test_the_targets_that_the_readme_names_are_in_the_makefile() -> None:
    named = set(re.findall(r"make ([a-z-]+)", (ROOT / "README.md").read_text()))
    makefile = (ROOT / "Makefile").read_text()
    assert [target for target in named if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []


def test_the_pinned_packages_are_pinned_by_hash() -> None:
    text = (ROOT / "constraints.txt").read_text()
    pinned = re.findall(r"^([a-z0-9_.-]+)==", text, re.MULTILINE | re.IGNORECASE)
    blocks = re.split(r"^(?=[a-z0-9_.-]+==)", text, flags=re.MULTILINE | re.IGNORECASE)[1:]
    assert len(pinned) == len(blocks)
    assert all("--hash=sha256:" in block for block in blocks)


def test_plans_hold_cluster_files_that_load() -> None:
    files = sorted((ROOT / "plans").glob("*.cluster.yaml"))
    assert files
    assert all("nodes" in yaml.safe_load(path.read_text()) for path in files)
