"""What can go wrong for a person, and the exit code that says so.

Every error a person or a node can cause is one of these: one line that says what happened, where, and what to
do. `cli.main` turns them into that line and the exit code; nothing else prints them.
"""

from __future__ import annotations

from collections.abc import Sequence


def one_line(text: str) -> str:
    """A text of whatever origin as a part of one line: nothing in it ends the line, or is obeyed by a terminal."""
    return "".join(char if char.isprintable() else " " if char in "\n\t" else "?" for char in text)


QUOTED_CHARS_MAX = 60
NAMED_MAX = 3  # nodes, in one line


def quoted(text: str) -> str:
    """A person's own words in an error that is about them: in quotes, and cut where they are long."""
    whole = repr(text)
    if len(whole) <= QUOTED_CHARS_MAX + 2:
        return whole
    return f"{whole[: QUOTED_CHARS_MAX + 1]}...{whole[0]} ({len(text)} characters)"


class MigratorError(Exception):
    """Base of everything that ends a command with one line instead of a traceback."""

    exit_code = 4

    def __init__(self, message: str = "") -> None:
        super().__init__(one_line(message))


class BadInput(MigratorError):
    """The words or files given are wrong; nothing was changed."""

    exit_code = 2


class Refused(MigratorError):
    """Understood, checked, and not done, because it would not be safe or would not fit."""

    exit_code = 3


class NotYet(Refused):
    """Refused because its time has not come, and nothing else is against it: it is possible later."""


class FailedSafe(MigratorError):
    """Something failed; every container runs where the message says, and nothing needs an operator."""

    exit_code = 4


class NeedsOperator(MigratorError):
    """The program may not decide alone: the message names the container and the command that settles it."""

    exit_code = 5


def nowhere(container: str, cluster: str, silent: Sequence[str]) -> MigratorError:
    """What is told of a container that no node has: BadInput, or FailedSafe where `silent` nodes did not answer and
    may have it; these are their errors.
    """
    if not silent:
        return BadInput(f"there is no container {quoted(container)} in cluster {cluster!r}")
    more = f" and {len(silent) - NAMED_MAX} more" if len(silent) > NAMED_MAX else ""
    return FailedSafe(
        f"nobody knows where container {quoted(container)} is: {'; '.join(silent[:NAMED_MAX])}{more}; nothing was "
        "changed; try again when they answer"
    )
