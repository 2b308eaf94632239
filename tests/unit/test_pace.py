"""How fast a stream may go, by a clock that nobody waits for."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.transport.kit import SCRIPTS

RATE = 10_000_000


@pytest.fixture(scope="module", autouse=True)
def kit() -> Iterator[None]:
    sys.path.insert(0, str(SCRIPTS))
    yield
    sys.path.remove(str(SCRIPTS))


def bucket(bytes_per_s: int = RATE, now_s: float = 0.0) -> Any:
    return import_module("pace").Bucket(bytes_per_s, now_s)


@given(st.integers(10_000, 10**10), st.lists(st.integers(1, 1 << 20), min_size=1, max_size=60))
def test_who_waits_as_told_is_never_faster_than_the_rate_but_for_the_first_burst(rate: int, parts: list[int]) -> None:
    pace = import_module("pace")
    held, now_s, sent = bucket(rate), 0.0, 0
    for part in parts:
        now_s += held.wait_s(now_s)
        sent_before = sent
        held.take(part, now_s)
        sent += part
        burst = max(pace.BURST_BYTES_MIN, rate * pace.BURST_S)
        assert sent_before <= burst + rate * now_s + 1


def test_a_rest_earns_one_burst_and_not_all_of_the_time() -> None:
    held = bucket()
    held.take(RATE, 0.0)
    assert held.wait_s(3600.0) == 0.0
    held.take(RATE, 3600.0)
    assert held.wait_s(3600.0) == pytest.approx(0.95)


def test_what_did_not_wait_is_made_up_for_by_what_can() -> None:
    held = bucket()
    for _ in range(10):
        held.take(RATE // 10, 0.0)  # pages that processes wait for
    assert held.wait_s(0.0) == pytest.approx(0.95)
    assert held.wait_s(0.5) == pytest.approx(0.45)


def test_a_stream_without_a_bound_never_waits() -> None:
    import os

    _, write = os.pipe()
    assert import_module("channel").Outlet(write).wait_s() == 0.0
