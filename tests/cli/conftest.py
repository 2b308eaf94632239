"""What tests of commands share."""

from __future__ import annotations

import pytest

from migrator.cli.main import main
from migrator.inventory import snapshot
from tests.cli.words import FIT, TIGHT


@pytest.fixture
def migrator(capsys, monkeypatch, tmp_path):
    """Runs a command; returns its exit code, stdout and stderr. There is no cluster file and no terminal."""
    monkeypatch.setenv("MIGRATOR_CLUSTER", str(tmp_path / "none.yaml"))
    monkeypatch.setenv("MIGRATOR_JOURNAL", str(tmp_path / "journal.db"))

    def run(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


@pytest.fixture
def fits(tmp_path):
    """A snapshot in which n1 can be emptied."""
    snapshot.save(FIT, tmp_path / "fits.json")
    return tmp_path / "fits.json"


@pytest.fixture
def tight(tmp_path):
    """A snapshot in which nobody has room for what is on n1."""
    snapshot.save(TIGHT, tmp_path / "tight.json")
    return tmp_path / "tight.json"
