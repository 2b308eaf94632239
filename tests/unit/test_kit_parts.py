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


FUNCTION = re.compile(r"^([a-z_][a-z0-9_]*)\(\) [{(]", re.MULTILINE)
READ_BY_LIB = "lib", *re.findall(r'^\. "\$KIT/([a-z]+)\.sh"', (kit.SCRIPTS / "lib.sh").read_text(), re.MULTILINE)
FEW = re.findall(r"^    ([a-z-]+)\) parts='?([a-z ]+?)'? ;;$", (kit.SCRIPTS / "node").read_text(), re.MULTILINE)


def functions() -> tuple[dict[str, str], dict[str, set[str]]]:
    """The part of each function, and which functions of the kit its text names, comments and keys of answers aside."""
    part_of, text_of = {}, {}
    for part in sorted(kit.SCRIPTS.glob("*.sh")):
        _, *found = FUNCTION.split(part.read_text())
        for name, text in zip(found[::2], found[1::2], strict=True):
            part_of[name], text_of[name] = part.stem, re.sub(r"(^|\s)#.*", "", text)
    words = {name: set(re.findall(r"(?<![a-z0-9_\"])[a-z_][a-z0-9_]*", text)) for name, text in text_of.items()}
    return part_of, {name: said & part_of.keys() for name, said in words.items()}


def test_some_verbs_are_read_with_few_parts() -> None:
    assert {verb for verb, _ in FEW} == {"survey", "described", "arp-owner"}


@pytest.mark.parametrize(("verb", "parts"), FEW)
def test_a_verb_that_is_read_with_few_parts_calls_nothing_of_another(verb: str, parts: str) -> None:
    part_of, named = functions()
    seen, to_see = set[str](), ["verb_" + verb.replace("-", "_")]
    while to_see:
        name = to_see.pop()
        if name not in seen:
            seen.add(name)
            to_see += named[name]
    assert {f"{part_of[name]}: {name}" for name in seen if part_of[name] not in {*READ_BY_LIB, *parts.split()}} == set()


def test_what_python_leaves_beside_the_kit_is_no_part_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As pip does when it installs, and any Python that is not told otherwise."""
    for name in ("node", "frames.py"):
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(kit, "SCRIPTS", tmp_path)
    before = kit.archive.__wrapped__(), kit.directory.__wrapped__()
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__/frames.cpython-311.pyc").write_bytes(b"code")
    assert (kit.archive.__wrapped__(), kit.directory.__wrapped__()) == before
