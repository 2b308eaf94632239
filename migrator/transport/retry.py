"""Calling a node again: bounded, with a pause that grows, and only when there was no answer at all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import IO, Any

from migrator.transport.base import SHELLS, Answer, NodeFailed, NodeUnreachable


class RetryingNode(ABC):
    """A node whose one call may be lost: `call_once` says how it is made, `call` how often."""

    name: str
    connected_at_s: float | None = None  # of the event loop, where there is a connection to speak of

    async def call(
        self, verb: str, *args: str | int, stdin: bytes = b"", timeout_s: float = 30, tries: int = 3
    ) -> Answer:
        """See `transport.base.Node`."""
        words = [str(arg) for arg in args]
        try:
            return await self.call_once(verb, words, stdin, timeout_s)  # the usual case costs nothing more
        except NodeUnreachable:
            if tries <= 1:
                raise
        import tenacity  # noqa: PLC0415   (most calls are made once)

        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(NodeUnreachable),
            stop=tenacity.stop_after_attempt(tries - 1),
            wait=tenacity.wait_random_exponential(multiplier=0.2, max=2),
            reraise=True,
        )
        async for attempt in retrying:
            with attempt:
                return await self.call_once(verb, words, stdin, timeout_s)
        raise AssertionError("tenacity ends with a result or an error")

    def standing_by(self, shells: int = SHELLS) -> AbstractAsyncContextManager[None]:
        """See `transport.base.Node`."""
        return nullcontext()

    @abstractmethod
    async def call_once(self, verb: str, args: list[str], stdin: bytes, timeout_s: float) -> Answer:
        """One try; NodeUnreachable if nothing is known of what the verb did."""

    @abstractmethod
    async def host_key(self) -> tuple[str, str]:
        """See `transport.base.Node`."""

    async def attach(
        self, verb: str, *args: str, stdin: IO[Any], stdout: IO[Any], stderr: IO[Any], terminal: bool
    ) -> int:
        """Runs a verb with a person's own streams, and returns its exit code. For commands inside containers."""
        raise NodeFailed(self.name, verb, "nobody can attach to this node")

    async def pour(self, verb: str, *args: str, chunks: AsyncIterator[bytes], timeout_s: float) -> Answer:
        """Calls a verb once, with more on its stdin than one holds in memory. For contents of templates."""
        raise NodeFailed(self.name, verb, "nothing can be poured to this node")

    @abstractmethod
    async def close(self) -> None:
        """Lets go of the node; what runs on it goes on."""
