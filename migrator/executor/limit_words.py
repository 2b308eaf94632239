"""Limits as a person writes them on a command line; each fault names its option."""

from __future__ import annotations

from migrator.errors import BadInput, quoted
from migrator.model.container import IO_WEIGHTS, PIDS_MAX, PIDS_MIN
from migrator.model.limits import Change
from migrator.model.units import parse_bytes

MEMORY_BYTES_MIN = 4 << 20
CPUS_MAX = 10_000
NONE = "none"  # takes a limit away


def parse_change(
    *,
    memory: str | None = None,
    cpus: float | None = None,
    swap: str | None = None,
    pids: str | None = None,
    io_weight: str | None = None,
) -> Change:
    """The limits that were given; BadInput for what none can be."""
    if cpus is not None and not 0.01 <= cpus <= CPUS_MAX:  # which a nan is not
        raise BadInput(f"--cpus {cpus}: from 0.01 to {CPUS_MAX}")
    return Change(
        memory_bytes=None if memory is None else parse_size("--memory", memory, MEMORY_BYTES_MIN),
        cpu_milli=None if cpus is None else round(cpus * 1000),
        swap_bytes=None if swap is None else -1 if swap == NONE else parse_size("--swap", swap, 0),
        pids=_count("--pids", pids, PIDS_MIN, PIDS_MAX),
        io_weight=_count("--io-weight", io_weight, *IO_WEIGHTS),
    )


def parse_size(option: str, text: str, least: int) -> int:
    try:
        size = parse_bytes(text)
    except ValueError as error:
        raise BadInput(f"{option}: {error}") from error
    if size < least:
        raise BadInput(f"{option} {quoted(text)}: at least {least} bytes")
    return size


def _count(option: str, text: str | None, least: int, most: int) -> int | None:
    if text is None:
        return None
    if text == NONE:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) < 16 and least <= int(text) <= most):
        raise BadInput(f"{option} {quoted(text)}: a number from {least} to {most}, or {NONE!r} for no limit")
    return int(text)
