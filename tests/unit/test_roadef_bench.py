"""The page of the reassignment benchmark: a row made anew replaces its own, and the others stay with their days."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from migrator.demo import roadef_bench
from migrator.demo.cost import Cost
from migrator.demo.roadef_bench import COLUMNS, Row, cells, kept, main, section

OLD = cells(Row("a1_1", 49528750, 44309147, 6.5, 89 * 10**6), "2026-01-01")
POOR = cells(Row("b_1", 7644173180, 5807721944, 6.5, 121 * 10**6), "2026-01-02")


def test_what_is_written_is_kept():
    rows = {"b_1": POOR, "a1_1": OLD}
    page = f"# Benchmarks\n\n## Another\n\n| {' | '.join('x' * len(COLUMNS))} |\n\n{section(rows)}"
    assert kept(page) == rows
    assert kept("# Benchmarks\n") == {}


def test_the_verdict_names_those_over_the_target_whenever_they_were_measured():
    assert "**Over 2 %: b_1.**" in section({"a1_1": OLD, "b_1": POOR})
    assert "**All are within 2 %.**" in section({"a1_1": OLD})


def test_an_instance_that_nobody_published_has_no_excess():
    row = cells(Row("mine", 10, 5, 1.0, 10**6), "2026-01-01")
    assert row == ["mine", "10", "-", "-", "5", "-", "1 s", "1 MB", "2026-01-01"]
    assert "**All are within 2 %.**" in section({"mine": row})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two instances, and a command that solves the first at once and fails on the second."""
    (tmp_path / "roadef").mkdir()
    for name in ("a1_1", "b_1"):
        for kind in ("model", "assignment"):
            (tmp_path / "roadef" / f"{kind}_{name}.txt").write_text("")
    (tmp_path / "page.md").write_text(f"# Benchmarks\n\n{section({'a1_1': OLD, 'b_1': POOR})}")

    def solved(words: list[str], out: Path, _limit_s: float) -> Cost:
        told = {"before": {"total": 49528750}, "after": {"total": 44306501}, "seconds": 9.0, "memory_bytes": 10**8}
        out.write_text(json.dumps(told))
        return Cost(9.0, 9.0, 10**8, int("b_1" in " ".join(words)))

    monkeypatch.setattr(roadef_bench, "cost_of", solved)
    monkeypatch.setattr(roadef_bench, "DOCUMENT", tmp_path / "page.md")
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr("sys.argv", ["roadef_bench", *map(str, words)])
    return main()


def test_rows_are_written_as_they_come(folder: Path, monkeypatch: pytest.MonkeyPatch):
    assert run(monkeypatch, "--data", folder, "--seconds", 9) == 1  # the second failed
    rows = kept((folder / "page.md").read_text())
    assert rows["a1_1"][4:7] == ["44306501", "0.00%", "9 s"]
    assert rows["a1_1"][-1] > "2026-01-01"
    assert rows["b_1"] == POOR


def test_a_name_that_is_not_there_is_said_before_anything_is_solved(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    before = (folder / "page.md").read_bytes()
    assert run(monkeypatch, "--data", folder, "--only", "a1_1", "c_9") == 2
    assert "no such instances are there: c_9" in capsys.readouterr().err
    assert (folder / "page.md").read_bytes() == before
