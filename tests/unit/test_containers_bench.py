"""What the page says of containers: each figure beside its reach."""

from __future__ import annotations

from dataclasses import replace

from migrator.demo.containers_bench import Seen, report, rows

SEEN = Seen([0.4, 0.5, 0.9], [30, 40, 70], [0.6], 5 << 20, 6 << 20, 300_000_000, 42.0, [0.4], 99.0, 0)


def test_what_is_within_its_reach_is_met_and_the_rest_is_told_as_missed() -> None:
    assert [met for *_, met in rows(SEEN, 100)] == [True] * 6
    bad = replace(SEEN, create_s=[0.6], set_ms=[51], sent_bytes=7 << 20, made_s=61, listed_s=[0.6], lost=1)
    assert [met for *_, met in rows(bad, 100)] == [False] * 6


def test_the_section_tells_medians_with_the_least_and_the_most() -> None:
    told = report(SEEN, {"cores": "2"}, 100, 3)
    assert told.startswith("## Containers\n")
    assert "| 0.50 s (0.40 to 0.90) | 0.5 s | met |" in told
    assert "| 40 ms (30 to 70); the whole command 0.60 s | 50 ms | met |" in told
    assert "1.20 times its own (6,291,456 bytes) | 1.2 | met |" in told
    assert told.rstrip().endswith("Measured on cores 2.")
