"""Tells, once, that what is left of a stream will be gone within a moment, by the speed that it has had so far.

The links are as good as free from then on: who pauses on them next can be frozen and dumped meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable

# A fence and a dump take as long before the first page of the next; what its dump takes for more is not counted on.
LEAD_S = 0.3
# Until then its speed is mostly that of the buffers it fills.
KNOWN_AFTER_S = 0.5


class Nearly:
    """Counts the bytes of a stream of `total_bytes` that began at `began_s`, by the caller's clock."""

    def __init__(self, total_bytes: int, began_s: float, tell: Callable[[], None]) -> None:
        self._total_bytes = total_bytes
        self._began_s = began_s
        self._tell = tell
        self._sent_bytes = 0
        self._told = False

    def count(self, moved_bytes: int, now_s: float) -> None:
        """Takes note of bytes that have gone."""
        self._sent_bytes += moved_bytes
        left_bytes, took_s = self._total_bytes - self._sent_bytes, now_s - self._began_s
        if not self._told and took_s >= KNOWN_AFTER_S and left_bytes * took_s <= LEAD_S * self._sent_bytes:
            self._told = True
            self._tell()
