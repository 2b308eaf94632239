"""What lies in a node's memory for one move, and what its hook, its dump and its receivers have come to."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field


@dataclass(slots=True)
class Images:
    """What a dump wrote. `pages` is whether the memory is whole, `rest` whether all else is."""

    stamp: int
    processes: int
    pages: bool = False
    rest: bool = False


@dataclass(slots=True)
class MoveDir:
    """/run/migrator/move/CT.TOKEN on tmpfs: images, and the hook's files."""

    role: str
    images: Images | None = None
    came: bool = False  # images come once
    fenced: asyncio.Event = field(default_factory=asyncio.Event)  # a dump that stands ready may begin
    all_images: asyncio.Event = field(default_factory=asyncio.Event)  # a restore that stands ready may go on
    files_came: asyncio.Event = field(default_factory=asyncio.Event)  # the last pass of files is durable
    filled: asyncio.Event = field(default_factory=asyncio.Event)  # nobody places pages any more; all, if images.pages
    held: int = 0  # how many processes were held; fewer are not the copy that was verified
    going: bool = False
    not_let_go: bool = False  # CRIU has died before it could; nothing of the copy has run
    gate_error: str = ""  # why the gate did not open at the release
    ended: bool = False
    go: asyncio.Future[str] | None = None
    woke: asyncio.Event = field(default_factory=asyncio.Event)
    follows: bool = False  # post-copy: its pages come after the release
    late: bool = False  # what rounds have brought is put into its place after the release
    in_place: bool = False  # and all of it is
    late_over: asyncio.Event = field(default_factory=asyncio.Event)  # nobody does that any more
    finished: asyncio.Event = field(default_factory=asyncio.Event)  # CRIU has let go, and pages may come unasked
    rounds: int = 0  # of pre-copy, that have come whole
    created: bool = False  # by restart: made from files, and held
    dumped: asyncio.Event = field(default_factory=asyncio.Event)  # images are on their way; pages follow
    sent: asyncio.Event = field(default_factory=asyncio.Event)  # all has been sent, and CRIU has ended well

    @property
    def unfilled(self) -> bool:
        """Whether memory that follows has not all come, or gone."""
        if self.late:
            return not self.in_place
        return self.follows and not (self.filled.is_set() and self.images is not None and self.images.pages)

    @property
    def lost(self) -> bool:
        """Whether it cannot come any more."""
        return self.unfilled and (self.late_over if self.late else self.filled).is_set()
