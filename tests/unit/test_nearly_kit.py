"""Nearly: a stream tells once that it will be gone within a moment, by the speed that it has had."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from migrator.transport.kit import SCRIPTS

MIB = 1 << 20


def told_at_mib(monkeypatch: pytest.MonkeyPatch, total_mib: int, took_s: Callable[[int], float]) -> list[int]:
    """After which MiB a stream has told; `took_s` is when each has gone."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    sys.modules.pop("nearly", None)
    from nearly import Nearly  # type: ignore[import-not-found,unused-ignore]

    told = list[int]()
    sent = 0
    nearly = Nearly(total_mib * MIB, 100.0, lambda: told.append(sent))
    for sent in range(1, total_mib + 1):
        nearly.count(MIB, 100.0 + took_s(sent))
    return told


def test_a_stream_tells_once_a_moment_before_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told_at_mib(monkeypatch, 500, lambda sent: sent / 101) == [470]


def test_what_is_left_is_judged_by_the_speed_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told_at_mib(monkeypatch, 100, lambda sent: sent / 10.1) == [97]


def test_what_fills_buffers_at_once_says_nothing_of_the_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told_at_mib(monkeypatch, 500, lambda sent: 0.0001 * sent if sent <= 8 else (sent - 8) / 101) == [470]


def test_a_stream_of_nothing_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told_at_mib(monkeypatch, 0, lambda sent: 0.0) == []
