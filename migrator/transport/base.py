"""What the rest of the program knows of a node: it has verbs, and calling one ends in one of six ways.

Verbs are the whole of the node's surface (`runtime/kit`): an argv in, lines of `key value` out. They are made so
that each may be called again: a lost reply is not a failure, it is *unknown*, and asking again is how one knows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from migrator.errors import FailedSafe, Refused

REFUSED, MISSING, BUSY = 10, 11, 12
MESSAGE_CHARS_MAX = 2000
SHELLS = 3  # that stand ready for verbs


class NodeError(FailedSafe):
    """A call to a node that did not end well. `node` and `verb` say which."""

    def __init__(self, node: str, verb: str, message: str) -> None:
        super().__init__(f"node {node}: {message[:MESSAGE_CHARS_MAX]}")
        self.node = node
        self.verb = verb


class NodeUnreachable(NodeError):
    """No answer: nothing is known of what the verb did. The one error worth another try."""


class NodeUntrusted(NodeError):
    """The node's host key or the login was not accepted: never tried again."""


class NodeRefused(NodeError):
    """The node understood and declined: an old token, a wrong state, no room."""

    exit_code = Refused.exit_code


class NodeMissing(NodeError):
    """What the verb is about is not on the node."""


class NodeFailed(NodeError):
    """The verb was tried and did not work."""


@dataclass(frozen=True)
class Answer:
    """What a verb printed: lines of `key value`. Unknown keys are ignored by whoever asks for others."""

    node: str
    verb: str
    text: str

    def lines(self, key: str) -> Iterator[str]:
        """The values of every line with this key, in order."""
        return iter(self._by_key.get(key, ()))

    @cached_property
    def _by_key(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for line in self.text.splitlines():
            word, _, rest = line.partition(" ")
            found.setdefault(word, []).append(rest)
        return found

    def get(self, key: str, default: str = "") -> str:
        """The value of the first line with this key."""
        return next(self.lines(key), default)

    def number(self, key: str) -> int:
        """The first line's value as a number; a node that answers none is an error, not a zero."""
        value = self.get(key)
        if not value.isascii() or not value.isdigit() or len(value) > 18:
            raise NodeFailed(self.node, self.verb, f"answered no number for {key!r} to {self.verb}")
        return int(value)


def ended(node: str, verb: str, code: int, out: str, err: str) -> Answer:
    """What a verb that ended with `code` answered; raises what its code means. `err` is one line."""
    if code == 0:
        return Answer(node, verb, out)
    kinds = {REFUSED: NodeRefused, MISSING: NodeMissing, BUSY: NodeFailed}
    raise kinds.get(code, NodeFailed)(node, verb, err or f"{verb} ended with {code}")


class Node(Protocol):
    """One node. `name` is the cluster file's."""

    name: str

    async def call(
        self, verb: str, *args: str | int, stdin: bytes = b"", timeout_s: float = 30, tries: int = 3
    ) -> Answer:
        """Calls a verb; raises one of the errors above. `tries` bounds repeats after `NodeUnreachable`."""
        ...

    def standing_by(self, shells: int = SHELLS) -> AbstractAsyncContextManager[None]:
        """Entered before a pause: as long as it is, the node has shells that stand ready for verbs, if it can."""
        ...

    async def host_key(self) -> tuple[str, str]:
        """Type and base64 text of the host key this node has proven to hold."""
        ...
