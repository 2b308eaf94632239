"""When passes over a container's files are enough, and when what it writes cannot be brought over in a pause."""

from __future__ import annotations

from dataclasses import replace

import pytest

from migrator.protocol.passes import Pass, Wanted, are_enough, go_on, left_s, too_long

MB = 1_000_000
READY_S = 0.5
WANTED = Wanted(left_s=0.2, bytes_max=4 * MB, passes_max=3, more_max=8, ready_s=READY_S)


def passes_of(files: float, written_per_s: float, sent_per_s: float, count: int) -> list[Pass]:
    """What passes find of a program that writes evenly, in bytes."""
    done: list[Pass] = []
    at_s, left = 0.0, files
    for _ in range(count):
        took_s = left / sent_per_s
        done.append(Pass(round(left), round(left), at_s, took_s))
        at_s, left = at_s + took_s, written_per_s * took_s
    return done


def test_of_one_pass_nothing_is_predicted() -> None:
    assert left_s([Pass(900 * MB, 900 * MB, 0, 3)], READY_S) is None
    assert too_long([Pass(900 * MB, 900 * MB, 0, 300)], READY_S, 1, 15) == ""


@pytest.mark.parametrize("written", [1, 30, 80])
def test_what_is_left_is_what_is_written_until_the_freeze(written: int) -> None:
    seen = passes_of(3000 * MB, written * MB, 100 * MB, 3)
    left = written * MB * (seen[-1].took_s + READY_S) / (100 * MB)
    assert left_s(seen, READY_S) == pytest.approx(left)


def test_passes_are_enough_when_little_is_predicted_however_large_the_files_are() -> None:
    few = passes_of(3000 * MB, 3 * MB, 100 * MB, 2)  # 90 MB in the second, half a second's worth of writing is left
    assert few[-1].files_bytes > 4 * MB
    assert are_enough(few, WANTED)
    assert not are_enough(passes_of(3000 * MB, 60 * MB, 100 * MB, 3), WANTED)


def test_a_pass_that_finds_almost_nothing_is_enough_by_itself() -> None:
    assert are_enough([Pass(3 * MB, MB, 0, 2)], WANTED)
    assert not are_enough([Pass(5 * MB, MB, 0, 0.1)], WANTED)


def test_files_that_are_written_too_fast_are_told_with_the_numbers() -> None:
    fast = passes_of(3000 * MB, 95 * MB, 100 * MB, 3)
    why = too_long(fast, READY_S, 1.0, 15.0)
    assert "passes over them of 2.8 GiB in 30.0 s, " in why
    assert "is predicted to take 26." in why
    assert "15.0 s are allowed" in why
    assert too_long(fast, READY_S, 1.0, 60.0) == ""


def test_a_large_file_that_is_always_written_is_looked_at_whole_in_the_pause_too() -> None:
    seen = [Pass(1000 * MB, 1000 * MB, 0, 7), Pass(1035 * MB, 35 * MB, 7, 6)]
    left = left_s(seen, READY_S)
    assert left is not None
    assert 5.5 < left < 8.5  # little is new in it, and the rest takes as long as it did, and is synced


def test_no_more_is_predicted_to_be_new_in_files_than_they_hold() -> None:
    seen = [Pass(1000 * MB, 1000 * MB, 0, 7), Pass(1000 * MB, 900 * MB, 7, 27)]
    left = left_s(seen, READY_S)
    assert left is not None
    assert left < 27 * 1000 / 900 + 1


def test_more_passes_than_usual_are_made_as_long_as_they_shrink_what_is_left() -> None:
    shrink = passes_of(3000 * MB, 50 * MB, 100 * MB, 3)
    assert not are_enough(shrink, WANTED)
    assert go_on(shrink, WANTED)
    assert not go_on(shrink, replace(WANTED, more_max=3))
    assert not go_on(passes_of(3000 * MB, 97 * MB, 100 * MB, 3), WANTED)


def test_few_passes_are_made_where_a_longer_pause_is_wanted() -> None:
    seen = passes_of(1000 * MB, 40 * MB, 100 * MB, 2)  # 1.8 s are left
    assert go_on(seen, WANTED)
    assert not go_on(seen, replace(WANTED, left_s=2.0))
