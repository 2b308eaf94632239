"""Limits as a person writes them on a command line; each fault names its option."""

from __future__ import annotations

from typing import Any

from migrator.errors import BadInput, quoted
from migrator.executor.surroundings import parse_around
from migrator.model.container import IO_WEIGHTS, PIDS_MAX, PIDS_MIN
from migrator.model.io_limits import BYTES_MIN, IOPS_MAX, RATE_MAX
from migrator.model.limits import Change
from migrator.model.units import format_bytes, parse_bytes

MEMORY_BYTES_MIN = 4 << 20
CPUS_MAX = 10_000
NONE = "none"  # takes a limit away
IO = {
    "read": "read_bytes_per_s",
    "write": "write_bytes_per_s",
    "read-iops": "read_iops",
    "write-iops": "write_iops",
}


def parse_change(
    *,
    memory: str | None = None,
    cpus: float | None = None,
    swap: str | None = None,
    pids: str | None = None,
    io_weight: str | None = None,
    io: tuple[str, ...] = (),
    **around: Any,
) -> Change:
    """The limits that were given, and in `around` what surrounds it; BadInput for what none can be."""
    if cpus is not None and not 0.01 <= cpus <= CPUS_MAX:  # which a nan is not
        raise BadInput(f"--cpus {cpus}: from 0.01 to {CPUS_MAX}")
    return Change(
        memory_bytes=None if memory is None else parse_size("--memory", memory, MEMORY_BYTES_MIN),
        cpu_milli=None if cpus is None else round(cpus * 1000),
        swap_bytes=None if swap is None else -1 if swap == NONE else parse_size("--swap", swap, 0),
        pids=_count("--pids", pids, PIDS_MIN, PIDS_MAX),
        io_weight=_count("--io-weight", io_weight, *IO_WEIGHTS),
        io=parse_io(io),
        around=parse_around(**around),
    )


def parse_io(words: tuple[str, ...]) -> dict[str, int]:
    """Fields of IoLimits by name, of words as read=20M,write-iops=300; 0 for `none`, which alone is for all of them."""
    parts = [part for word in words for part in word.split(",")]
    if parts == [NONE]:
        return dict.fromkeys(IO.values(), 0)
    found: dict[str, int] = {}
    for part in parts:
        key, sign, value = part.partition("=")
        if not sign or key not in IO:
            raise BadInput(f"--io {quoted(part)}: write KEY=VALUE of {', '.join(IO)}, or {NONE!r}")
        if IO[key] in found:
            raise BadInput(f"--io {key}: is there twice")
        found[IO[key]] = _io_value(key, value)
    return found


def _io_value(key: str, text: str) -> int:
    if text == NONE:
        return 0
    if key.endswith("iops"):
        return _count(f"--io {key}", text, 1, IOPS_MAX) or 0
    rate = parse_size(f"--io {key}", text.removesuffix("/s"), BYTES_MIN)
    if rate > RATE_MAX:
        raise BadInput(f"--io {key} {quoted(text)}: at most {RATE_MAX} bytes a second")
    return rate


def parse_size(option: str, text: str, least: int) -> int:
    try:
        size = parse_bytes(text)
    except ValueError as error:
        raise BadInput(f"{option}: {error}") from error
    if size < least:
        raise BadInput(f"{option} {quoted(text)}: at least {format_bytes(least)}")
    return size


def _count(option: str, text: str | None, least: int, most: int) -> int | None:
    if text is None:
        return None
    if text == NONE:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) < 16 and least <= int(text) <= most):
        raise BadInput(f"{option} {quoted(text)}: a number from {least} to {most}, or {NONE!r} for no limit")
    return int(text)
