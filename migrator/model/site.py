"""What is outside of the nodes and has to know where a container is: how its addresses get there, and who is told."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class When(StrEnum):
    """The moments of a migration at which a site's hooks are called."""

    BEFORE_COMMIT = "before_commit"
    AFTER_RELEASE = "after_release"
    AFTER_ROLLBACK = "after_rollback"


@dataclass(frozen=True, slots=True)
class Hook:
    """A program of the site's own, called at some moments: a list of words, no shell. It has `timeout_s` each time."""

    argv: tuple[str, ...]
    when: frozenset[When]
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Site:
    """`routed` is whether hooks take a container's addresses from node to node, and no network that nodes share."""

    routed: bool = False
    hooks: tuple[Hook, ...] = ()

    def at(self, when: When) -> tuple[Hook, ...]:
        """The hooks that are called at a moment, in the order in which the cluster file has them."""
        return tuple(hook for hook in self.hooks if when in hook.when)


NO_SITE = Site()
