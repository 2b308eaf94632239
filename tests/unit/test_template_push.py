"""A push begins again where a connection broke, sends what the node asks for, and believes no node everything."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from migrator.errors import FailedSafe
from migrator.executor.templates import HEADER, TRIES, Need, Pushed, Source, _push, frames, needed
from migrator.templates.build import Source as From
from migrator.templates.build import build
from migrator.templates.store import Store
from migrator.templates.tree import Rules
from migrator.transport.base import Answer, NodeUnreachable
from migrator.transport.retry import RetryingNode
from tests.unit.test_template_sources import put, row, tar_of


@pytest.fixture
def source(tmp_path: Path) -> Source:
    store = Store(tmp_path / "store")
    path = put(tmp_path, tar_of(row("a", data=b"a" * 600_000), row("b", data=b"b" * 10), row("c", data=b"")))
    build(store, "t", From("tar", path), Rules())
    return Source(store, "t")


class Cut(RetryingNode):
    """A node that keeps what came, and whose connection breaks after so many bytes, each time anew."""

    name = "n1"

    def __init__(self, source: Source, after: int) -> None:
        self.sizes = [size for _, size in source.contents]
        self.after = after
        self.came: dict[int, int] = {}
        self.bytes = 0
        self.made = False

    async def call_once(self, verb: str, args: list[str], stdin: bytes, timeout_s: float) -> Answer:
        if verb == "template-make":
            self.made = [self.came.get(at, -1) for at in range(len(self.sizes))] == self.sizes
        missing = [at for at, size in enumerate(self.sizes) if self.came.get(at, -1) < size]
        lines = [f"missing {at} {at}" for at in missing] + [
            f"begun {at} {self.came[at]}" for at in missing if at in self.came
        ]
        return Answer(self.name, verb, "\n".join([*lines, "reused 0", ""]))

    async def pour(self, verb: str, *args: str, chunks: AsyncIterator[bytes], timeout_s: float) -> Answer:
        data, left = b"", self.after
        async for chunk in chunks:
            data += chunk[:left]
            left -= len(chunk)
            if left <= 0:
                break
        while len(data) >= HEADER.size:
            at, begin, size = HEADER.unpack(data[: HEADER.size])
            assert begin == self.came.get(at, 0)
            part = data[HEADER.size : HEADER.size + size]
            self.came[at], self.bytes = begin + len(part), self.bytes + len(part)
            data = data[HEADER.size + size :]
        if left <= 0:
            raise NodeUnreachable(self.name, verb, "connection lost")
        return Answer(self.name, verb, "")

    async def host_key(self) -> tuple[str, str]:
        raise NotImplementedError

    async def close(self) -> None:
        pass


async def test_a_connection_that_breaks_costs_no_byte_twice(source: Source) -> None:
    node = Cut(source, 250_000)
    done = await _push(node, source)
    assert (done.tries, node.made, node.bytes) == (3, True, 600_010)


async def test_a_connection_that_always_breaks_ends_with_how_to_go_on(source: Source) -> None:
    with pytest.raises(FailedSafe, match="go on with: migrator template push t n1"):
        await _push(Cut(source, 1000), source)
    assert TRIES < 600_000 / 1000


class Older(Cut):
    """A node that has this version beside the one from which it makes containers."""

    async def call_once(self, verb: str, args: list[str], stdin: bytes, timeout_s: float) -> Answer:
        self.made = self.made or verb == "template-make"
        return Answer(self.name, verb, "present older\n" if verb == "template-offer" else "")


async def test_a_version_that_is_there_is_not_sent_again_but_made_the_one_for_new_containers(source: Source) -> None:
    node = Older(source, 0)
    done = await _push(node, source)
    assert (node.made, done.again, done.sent_bytes) == (True, True, 0)


async def test_a_store_that_lost_a_content_says_so(source: Source) -> None:
    source.store.content(source.contents[0][0]).unlink()
    with pytest.raises(FailedSafe, match="build it anew"):
        async for _ in frames(source, Need((0, 1, 2), {}, 0), Pushed("n1")):
            pass


@pytest.mark.parametrize(
    ("text", "places", "begun"),
    [
        ("missing 0 2", (0, 1, 2), {}),
        ("missing 0 0\nmissing 0 2\nmissing 1 2\nmissing 0 2", (0, 1, 2), {}),
        ("missing 2 0\nmissing 9 9\nmissing -1 2\nmissing x\nmissing", (), {}),
        ("missing 1 1\nbegun 1 5\nbegun 7 1\nbegun 0 -3\nbegun ² 4", (1,), {1: 5}),
    ],
)
def test_what_a_node_asks_for_is_at_most_what_there_is(
    text: str, places: tuple[int, ...], begun: dict[int, int]
) -> None:
    need = needed(Answer("n1", "template-offer", f"{text}\nreused 0\n"), 3)
    assert (need.places, need.begun) == (places, begun)
