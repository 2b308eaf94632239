"""How fast a stream may go: a token bucket, that asks for no clock of its own.

pace.py BYTES_PER_S passes stdin on to stdout, no faster: for memory that goes by images.
"""

from __future__ import annotations

import os
import sys
import time

from frames import write_all

# What may go at once after a rest. As short as it is, it is never less than a piece of pages.
BURST_S = 0.05
BURST_BYTES_MIN = 64 << 10


class Bucket:
    """Fills by `bytes_per_s`; what is taken beyond that has to be waited for by whoever can wait."""

    def __init__(self, bytes_per_s: int, now_s: float) -> None:
        self._bytes_per_s = bytes_per_s
        self._most = max(BURST_BYTES_MIN, bytes_per_s * BURST_S)
        self._level, self._at_s = self._most, now_s

    def take(self, count: int, now_s: float) -> None:
        """So many bytes have gone, also where they did not wait."""
        self._fill(now_s)
        self._level -= count

    def wait_s(self, now_s: float) -> float:
        """Seconds until something may go again."""
        self._fill(now_s)
        return max(0.0, -self._level / self._bytes_per_s)

    def _fill(self, now_s: float) -> None:
        self._level = min(self._most, self._level + (now_s - self._at_s) * self._bytes_per_s)
        self._at_s = now_s


def main(bytes_per_s: int) -> None:
    bucket = Bucket(bytes_per_s, time.monotonic())
    while data := os.read(0, BURST_BYTES_MIN):
        time.sleep(bucket.wait_s(time.monotonic()))
        write_all(1, data)
        bucket.take(len(data), time.monotonic())


if __name__ == "__main__":
    main(int(sys.argv[1]))
