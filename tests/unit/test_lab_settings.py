"""What labs change of the machine's kernel is put back as it was."""

from __future__ import annotations

from pathlib import Path

from migrator.lab import settings

WANTED = {"fs/pipe-max-size": 16, "vm/unprivileged_userfaultfd": 1}


def kernel(tmp_path: Path, **values: str) -> tuple[Path, Path]:
    sys = tmp_path / "sys"
    for name, value in values.items():
        path = sys / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")
    return sys, tmp_path / "before"


def test_what_the_first_lab_found_is_what_the_last_one_leaves(tmp_path: Path) -> None:
    sys, before = kernel(tmp_path, fs__pipe_max_size="8", vm__unprivileged_userfaultfd="0")
    (sys / "fs" / "pipe_max_size").rename(sys / "fs" / "pipe-max-size")
    settings.change(WANTED, before, sys)
    settings.change(WANTED, before, sys)  # a second lab
    assert [(sys / name).read_text() for name in WANTED] == ["16\n", "1\n"]
    settings.put_back(before, sys)
    settings.put_back(before, sys)
    assert [(sys / name).read_text() for name in WANTED] == ["8\n", "0\n"]


def test_a_setting_that_is_large_enough_or_not_there_is_left_alone(tmp_path: Path) -> None:
    sys, before = kernel(tmp_path, vm__unprivileged_userfaultfd="1")
    settings.change(WANTED, before, sys)
    assert (sys / "vm" / "unprivileged_userfaultfd").read_text() == "1\n"
    assert not (sys / "fs").exists()
