"""When passes over a container's files are enough, and when what it writes cannot be brought over in a pause."""

from __future__ import annotations

import pytest

from migrator.protocol.passes import Pass, are_enough, left_s, too_long

MB = 1_000_000
READY_S = 0.5


def passes_of(files: float, written_per_s: float, sent_per_s: float, count: int) -> list[Pass]:
    """What passes find of a program that writes evenly, in bytes."""
    done: list[Pass] = []
    at_s, left = 0.0, files
    for _ in range(count):
        took_s = left / sent_per_s
        done.append(Pass(round(left), at_s, took_s))
        at_s, left = at_s + took_s, written_per_s * took_s
    return done


def test_of_one_pass_nothing_is_predicted() -> None:
    assert left_s([Pass(900 * MB, 0, 3)], READY_S) is None
    assert too_long([Pass(900 * MB, 0, 300)], READY_S, 1, 15) == ""


@pytest.mark.parametrize("written", [1, 30, 80])
def test_what_is_left_is_what_is_written_until_the_freeze(written: int) -> None:
    seen = passes_of(3000 * MB, written * MB, 100 * MB, 3)
    left = written * MB * (seen[-1].took_s + READY_S) / (100 * MB)
    assert left_s(seen, READY_S) == pytest.approx(left)


def test_passes_are_enough_when_little_is_predicted_however_large_the_files_are() -> None:
    few = passes_of(3000 * MB, 3 * MB, 100 * MB, 2)  # 90 MB in the second, half a second's worth of writing is left
    assert few[-1].files_bytes > 4 * MB
    assert are_enough(few, READY_S, 0.2, 4 * MB)
    assert not are_enough(passes_of(3000 * MB, 60 * MB, 100 * MB, 3), READY_S, 0.2, 4 * MB)


def test_a_pass_that_finds_almost_nothing_is_enough_by_itself() -> None:
    assert are_enough([Pass(3 * MB, 0, 2)], READY_S, 0.2, 4 * MB)
    assert not are_enough([Pass(5 * MB, 0, 0.1)], READY_S, 0.2, 4 * MB)


def test_files_that_are_written_too_fast_are_told_with_the_numbers() -> None:
    fast = passes_of(3000 * MB, 95 * MB, 100 * MB, 3)
    why = too_long(fast, READY_S, 1.0, 15.0)
    assert "passes over them of 2.8 GiB in 30.0 s, " in why
    assert "is predicted to take 26." in why
    assert "15.0 s are allowed" in why
    assert too_long(fast, READY_S, 1.0, 60.0) == ""
