"""What the benchmark of pre-copy makes of a move and of a client's answers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from threading import Thread
from typing import Any

import pytest

from migrator.demo.answers import Answered, AnswerTimes, median_ms
from migrator.demo.precopy_bench import Moved, line, moved, reaches, report
from migrator.model.modes import Mode


def document(rounds: list[dict[str, int]], *late: dict[str, int]) -> dict[str, Any]:
    events = [
        {"state": "checked", "phase": "begin", "at_ms": 1000, "data": {}},
        {"state": "seeded", "phase": "begin", "at_ms": 2000, "data": {}},
        {"state": "seeded", "phase": "end", "at_ms": 3000, "data": {"rounds": rounds}},
        {"state": "fenced", "phase": "end", "at_ms": 3500, "data": {"rounds": late} if late else {}},
        {"state": "dumped", "phase": "end", "at_ms": 4000, "data": {"image_bytes": 7}},
    ]
    return {"blackout_ms": 500, "duration_ms": 3000, "events": events}


ANSWERS = [Answered(at, took) for at, took in ((500, 1.0), (900, 3.0), (1500, 50.0), (2500, 4.0), (3500, 90.0))]


def test_answers_count_by_when_they_were_asked_for() -> None:
    seen = moved(Mode.PRE_COPY, document([{"sent": 5}], {"sent": 2}), ANSWERS)
    assert (seen.quiet_ms, seen.rounds_ms, seen.rounds_bytes) == (2.0, 4.0, (5, 2))


def test_a_move_without_rounds_says_nothing_of_answers_while_they_ran() -> None:
    seen = moved(Mode.STOP_AND_COPY, document([]), ANSWERS)
    assert (seen.quiet_ms, seen.rounds_ms) == (2.0, None)
    assert "answer" not in line(seen, "n2")


def test_nothing_asked_has_no_median() -> None:
    assert median_ms(ANSWERS, 5000, 6000) is None


def test_both_ratios_are_held_against_what_is_wanted() -> None:
    seen = [
        Moved(Mode.STOP_AND_COPY, 1000, 2000, 9, (), 2.0, None),
        Moved(Mode.PRE_COPY, 300, 4000, 1, (8, 1), 2.0, 2.6),
    ]
    assert reaches(seen) == [
        "- pre-copy over stop-and-copy: 0.30 (wanted: at most 0.33, met)",
        "- a client's median answer while rounds run, over the quiet one: 1.30 (wanted: at most 1.20, missed)",
    ]
    assert "| pre-copy | 0.3 s | 0.0 MiB | 0.0, 0.0 | 4 s |" in report(seen)


@pytest.fixture
def echo_port() -> Iterator[int]:
    """A service that echoes every second datagram, until the test is over."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)

        def serve() -> None:
            number = 0
            while (heard := server.recvfrom(100))[0] != b"end":
                number += 1
                if number % 2:
                    server.sendto(*heard)

        serving = Thread(target=serve, daemon=True)
        serving.start()
        port = server.getsockname()[1]
        yield port
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"end", ("127.0.0.1", port))
        serving.join(10)


async def test_each_answer_is_held_against_its_own_question(echo_port: int) -> None:
    client = AnswerTimes()
    async with client.asking("127.0.0.1", echo_port):
        pass
    assert len(client.seen) >= 1
    assert 0 <= client.seen[0].took_ms < 10_000
