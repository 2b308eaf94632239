"""Shells that stand ready on a node: a verb asked of one costs no session, no login shell and no reading of the kit.

That is 15 ms a verb where it is measured, of which a pause holds a handful. They are opened before it and closed after
it. Nothing depends on them: what cannot be asked of one goes the ordinary way.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncssh

# A line of the shell's input is split at blanks and no word of it is quoted, so others go the ordinary way.
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/,:@+-]*")
_END = re.compile(rb"\x1e([0-9]{1,3}) ([^\n\x1e]*)\n\Z")
READ_BYTES = 65536


class StandingEnded(OSError):
    """The shell ended, or said what no shell of ours says: nothing is known of what was asked of it."""


def can_be_asked(words: list[str]) -> bool:
    """Whether a verb and its arguments can be told in one line."""
    return all(_WORD.fullmatch(word) for word in words)


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """One such shell, over one session of a connection."""

    connection: asyncssh.SSHClientConnection
    process: asyncssh.SSHClientProcess[bytes]

    @property
    def usable(self) -> bool:
        return not self.connection.is_closed() and not self.process.is_closing()

    async def ask(self, words: list[str], answer_bytes_max: int) -> tuple[int, str, str]:
        """Exit code, answer, and the last line of what a failure said. StandingEnded when the shell ends instead."""
        self.process.stdin.write(" ".join(words).encode() + b"\n")
        said = b""
        while chunk := await self.process.stdout.read(READ_BYTES):
            said += chunk
            if end := _END.search(said):
                out = said[: end.start()]
                return int(end[1]), out.decode(errors="replace"), end[2].decode(errors="replace")
            if len(said) > answer_bytes_max:
                raise StandingEnded("it answered too much")
        raise StandingEnded("it ended without a word")

    def close(self) -> None:
        """Ends the shell after what it is doing."""
        self.process.close()
