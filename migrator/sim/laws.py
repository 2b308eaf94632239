"""What must never be, by name: each violation says which law it breaks, so that a bug is known by what it does."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Law(StrEnum):
    ONE_RUNS = "at most one copy runs, and at most one gate is open"
    NEWEST = "a copy runs only from the newest memory and files"
    A_COPY_IS_LEFT = "no copy is ended or passed over before another has taken over"
    ANNOUNCED = "nothing is on a node that no journal has announced"
    DECIDED = "a release, a thaw and the end of a hold follow their own run's decision"
    OLD_ENDS = "where a token was raised, nothing of an older one goes on"
    LEDGER = "no node gives away more than it has"
    DEADLINE = "a frozen container runs again at its deadline"
    CONNECTION = "connections last, unless a fault explains their end"
    CONVERGES = "everything ends with one running copy, and once more changes nothing"
    NOTHING_LEFT = "a finished move leaves nothing behind"
    KEPT_UP = "what is to run always has its keeper"
    SITE_KNOWS = "a site that is told where a container is knows it in the end"
    OLD_JOURNAL = "a journal older than the world changes nothing"


@dataclass(frozen=True, slots=True)
class Violation:
    """One law broken, and how."""

    law: Law
    text: str

    def __str__(self) -> str:
        return self.text
