"""Random numbers in large lots: drawing them one call at a time would cost more than what they decide."""

from __future__ import annotations

import numpy as np

from migrator.roadef.arrays import Floats, Ints

LOT = 1 << 18


class Chance:
    """Equal seeds give equal numbers."""

    def __init__(self, seed: int) -> None:
        self._generator = np.random.default_rng(seed)
        self._gumbel = -np.log(-np.log(self._open_uniform(LOT)))
        self._at = 0
        self._uniform: list[float] = []

    def gumbel(self, count: int) -> Floats:
        """`count` draws of the standard Gumbel distribution."""
        if self._at + count > LOT:
            if count > LOT // 4:
                return -np.log(-np.log(self._open_uniform(count)))
            self._gumbel = -np.log(-np.log(self._open_uniform(LOT)))
            self._at = 0
        self._at += count
        return self._gumbel[self._at - count : self._at]

    def log_uniform(self) -> float:
        """The logarithm of a number between 0 and 1."""
        return float(np.log(1.0 - self.uniform()))

    def uniform(self) -> float:
        """From 0 to below 1."""
        if not self._uniform:
            self._uniform = self._generator.random(4096).tolist()
        return self._uniform.pop()

    def below(self, count: int) -> int:
        """A whole number from 0 to below `count`."""
        return int(self.uniform() * count)

    def shuffled(self, count: int) -> Ints:
        """The numbers below `count`, in some order."""
        return self._generator.permutation(count)

    def _open_uniform(self, count: int) -> Floats:
        return np.maximum(self._generator.random(count), 1e-300)
