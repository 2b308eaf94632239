"""A root of the lab's images takes over how its machine finds hosts, whatever of that a machine has."""

from __future__ import annotations

from pathlib import Path

import pytest

from migrator.lab.debian import use_name_servers


@pytest.mark.parametrize("has", [("resolv.conf", "hosts"), ("resolv.conf",), ()], ids=("both", "no hosts", "neither"))
def test_a_root_resolves_names_as_its_machine_does_and_as_nothing_else(has: tuple[str, ...], tmp_path: Path) -> None:
    machine, root = tmp_path / "machine/etc", tmp_path / "root/etc"
    for place, text, names in ((machine, "the machine's", has), (root, "the image's", ("resolv.conf", "hosts"))):
        place.mkdir(parents=True)
        for name in names:
            (place / name).write_text(text)
    use_name_servers(root.parent, machine.parent)
    assert {path.name: path.read_text() for path in root.iterdir()} == dict.fromkeys(has, "the machine's")
