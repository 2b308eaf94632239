"""Sizes and rates as people write them."""

from __future__ import annotations

import pytest

from migrator.model.units import counted, format_bytes, format_seconds, parse_bytes, parse_bytes_per_s


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("256M", 256 << 20),
        ("1.5G", 3 << 29),
        ("512 MiB", 512 << 20),
        ("7", 7),
        ("2kb", 2048),
        (9, 9),
        ("1TiB", 1 << 40),
    ],
)
def test_size(text: str | int, count: int) -> None:
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "lots", "-1", "1X", "1e9", "0x10"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="not a size"):
        parse_bytes(text)


@pytest.mark.parametrize(("text", "rate"), [("1Gbit", 125_000_000), ("200Mbit", 25_000_000), ("8kbit/s", 1000)])
def test_rate(text: str, rate: int) -> None:
    assert parse_bytes_per_s(text) == rate


def test_a_rate_in_bytes_is_refused_rather_than_guessed() -> None:
    with pytest.raises(ValueError, match="not a link speed"):
        parse_bytes_per_s("1GB")


def test_formats() -> None:
    assert [format_bytes(n) for n in (0, 1023, 1536, 5 << 30)] == ["0 B", "1023 B", "1.5 KiB", "5.0 GiB"]
    assert [format_seconds(s) for s in (0.423, 12.34, 185, 3599.9)] == ["0.42 s", "12.3 s", "3 min 05 s", "59 min 59 s"]
    assert [format_seconds(s) for s in (3600, 7500, 604_826)] == ["1 h 00 min", "2 h 05 min", "7 d 00 h"]


def test_one_is_told_as_one():
    assert [counted(n, "move") for n in (0, 1, 4)] == ["0 moves", "1 move", "4 moves"]
