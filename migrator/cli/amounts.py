"""Texts that differ in amounts alone: which are alike, and one text in place of many."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from migrator.model.units import parse_bytes

_AMOUNT = re.compile(r"\d+(?:\.\d+)?( (?:B|KiB|MiB|GiB|TiB|s)\b)?")
_SAID = re.compile(r"(?<![\w.-])" + _AMOUNT.pattern + r"(?![\w-])")  # not a number within a name


@cache
def kind(text: str) -> str:
    """A text without its amounts, and without the numbers in its names."""
    return _AMOUNT.sub("#", text)


@cache
def amount(text: str) -> float:
    """The first amount in a text, to compare texts that differ in it alone."""
    match = _SAID.search(text)
    if match is None:
        return 0.0
    number, _, unit = match[0].partition(" ")
    return float(parse_bytes(match[0])) if unit.endswith("B") and unit else float(number)


def one_for_all(alike: Sequence[str]) -> str:
    """One text for those of a kind: from the least amount to the most, if they differ in their first alone."""
    texts = list(dict.fromkeys(alike))
    if len(texts) == 1:
        return texts[0]
    least, most = min(texts, key=amount), max(texts, key=amount)
    low, high = _SAID.search(least), _SAID.search(most)
    if low and high and len({_SAID.sub("#", text, count=1) for text in texts}) == 1:
        return f"{least[: low.start()]}{low[0]} to {high[0]}{least[low.end() :]}"
    return f"{texts[0]}, and alike for the others"
