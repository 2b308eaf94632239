"""Sizes, rates and times as people write and read them."""

from __future__ import annotations

import re

from migrator.errors import quoted

BYTES_MAX = 2**50  # a node adds several of them up in 64 bits
BYTES_PER_S_MAX = 10**14 // 8  # 100 Tbit/s, which no cable carries
DIGITS_MAX = 30  # no size has so many, and a float that overflows is no number any more
_BINARY = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE | re.ASCII)
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]?)bit(?:/s|ps)?", re.IGNORECASE | re.ASCII)
_DECIMAL = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}


def parse_bytes(text: str | int) -> int:
    """ "256M", "256MiB", "1.5 GiB" or a number of bytes; prefixes are powers of 1024. Raises ValueError."""
    match = _SIZE.fullmatch(str(text).strip())
    if not match or len(match[1]) > DIGITS_MAX:
        raise ValueError(f"not a size: {quoted(str(text))} (write 256M, 1.5G or a number of bytes)")
    count = int(float(match[1]) * _BINARY[match[2].lower()])
    if count > BYTES_MAX:
        raise ValueError(f"too large a size: {quoted(str(text))}")
    return count


def parse_bytes_per_s(text: str) -> int:
    """ "1Gbit" or "200Mbit" to bytes a second; prefixes are powers of 1000, as on links. Raises ValueError."""
    match = _RATE.fullmatch(text.strip())
    if not match or len(match[1]) > DIGITS_MAX:
        raise ValueError(f"not a link speed: {quoted(str(text))} (write 1Gbit or 200Mbit)")
    rate = int(float(match[1]) * _DECIMAL[match[2].lower()] / 8)
    if not 0 < rate <= BYTES_PER_S_MAX:
        raise ValueError(f"not a speed that a link has: {quoted(str(text))} (write 1Gbit or 200Mbit)")
    return rate


def format_bytes(count: float) -> str:
    """A size in the unit that leaves at most four digits: 312.0 MiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def format_rate(bytes_per_s: int) -> str:
    """A speed as links have it, and as `parse_bytes_per_s` reads it: 1Gbit, 200Mbit, 1536kbit."""
    bits = bytes_per_s * 8
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if bits % size == 0:
            return f"{bits // size}{unit}bit"
    return f"{bits}bit"


def format_seconds(seconds: float) -> str:
    """A time as one reads it on a watch: 0.42 s, 12.3 s, 3 min 05 s, 2 h 05 min, 7 d 02 h."""
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 120:
        return f"{seconds:.1f} s"
    whole_s = int(seconds)
    if whole_s < 3600:
        return f"{whole_s // 60} min {whole_s % 60:02d} s"
    if whole_s < 86_400:
        return f"{whole_s // 3600} h {whole_s // 60 % 60:02d} min"
    return f"{whole_s // 86_400} d {whole_s // 3600 % 24:02d} h"


def counted(number: int, thing: str) -> str:
    """So many of a thing: 1 move, 4 moves."""
    return f"{number} {thing}{'' if number == 1 else 's'}"
