"""docs/reliability.md, written by the programs that broke things: the matrix (tables.py) and the soak.

Only what lies between the markers is written; the rest of the page is for people.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from migrator.chaos.soak import BOUNDS, JUDGED_FROM, Soak

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"


def write(section: str, text: str, page: Path = PAGE) -> None:
    """Puts a section into the page, in place of the one that is there."""
    begin, end = f"<!-- {section}: begin -->", f"<!-- {section}: end -->"
    whole = page.read_text() if page.exists() else "# Reliability\n"
    if begin not in whole:
        whole = f"{whole.rstrip()}\n\n{begin}\n{end}\n"
    before, _, rest = whole.partition(begin)
    _, _, after = rest.partition(end)
    page.write_text(f"{before}{begin}\n{text.strip()}\n{end}{after}")


def soak_text(seen: Soak, took_s: float) -> str:
    """The soak's part of the page."""
    first, last = seen.weights[0], seen.weights[-1]
    bad = "".join(f"\n- **{what}**" for what in seen.broken) or "\n- nothing"
    rows = ((bound.what, *seen.held(key)) for key, bound in BOUNDS.items())
    held = "\n".join(f"| its {what}, in the second quarter, in the last | {a:,}, {b:,} |" for what, a, b in rows)
    return f"""## The soak

`make soak` moves one container back and forth between two nodes, {seen.wanted} times, with one orchestrator and under
one client on one TCP connection, and compares both nodes with what they were before.

| seen | |
|---|--:|
| migrations done | {seen.done} |
| answers on the one connection, none lost or repeated | {seen.answers:,} |
| longest time between two answers | {seen.longest_pause_ms:.0f} ms |
| processes, mounts, namespaces, filters, nft tables, cgroups, keys, files, records left behind | {len(seen.left)} |
| the orchestrator's memory after the first migration, after the last | {_mib(first)}, {_mib(last)} |
{held}
| its open descriptors after the first, after the last | {first["descriptors"]}, {last["descriptors"]} |

The orchestrator's memory is {_flatness(seen)}. Flat is: from the median of the second quarter to that of the last
it grows by no more than {_bounds(seen)}.

Broken promises:
{bad}

Played {datetime.now(UTC):%Y-%m-%d} in {took_s / 60:.0f} minutes."""


def memory_line(seen: Soak) -> str:
    """For who watches: "memory: flat (56,012 -> 56,040 KiB of resident memory, ...)"."""
    rows = ((bound.what, *seen.held(key)) for key, bound in BOUNDS.items())
    return f"memory: {_flatness(seen)} ({', '.join(f'{a:,} -> {b:,} {what}' for what, a, b in rows)})"


def _flatness(seen: Soak) -> str:
    if len(seen.weights) < JUDGED_FROM:
        return f"not judged, in fewer than {JUDGED_FROM} migrations"
    return "not flat" if seen.growing else "flat"


def _bounds(seen: Soak) -> str:
    return ", ".join(f"{bound.allowed(2 * seen.quarter)} {bound.what}" for bound in BOUNDS.values())


def _mib(weight: dict[str, int]) -> str:
    return f"{weight['rss_kib'] / 1024:.1f} MiB"
