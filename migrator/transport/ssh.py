"""Nodes over ssh: one connection each, opened when first needed and again when it broke.

Host keys are always checked. Arguments are quoted once, here, by `shlex.join`; what a command prints is bounded.
Closing a channel does not end the remote command (sshd leaves it running), which is why everything long is a job.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from migrator.errors import one_line
from migrator.transport import kit
from migrator.transport.asyncssh_import import library
from migrator.transport.attach import attach
from migrator.transport.base import SHELLS, Answer, NodeError, NodeFailed, NodeUnreachable, NodeUntrusted, ended
from migrator.transport.early import early_socket
from migrator.transport.retry import RetryingNode
from migrator.transport.standing import Standing, can_be_asked

if TYPE_CHECKING:
    import asyncssh

OUTPUT_BYTES_MAX = 4_000_000
SESSIONS_MAX = 8  # sshd's default of ten a connection, less what another program may have open on it
CONNECT_TIMEOUT_S = 6
CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes256-ctr")


@dataclass(frozen=True, slots=True)
class SshAddress:
    """How to reach a node. `None` leaves the choice to ~/.ssh/config and the agent."""

    host: str
    port: int | None = None
    user: str | None = None
    identity_file: str | None = None
    known_hosts: str | None = None
    config: str | None = None
    become: str | None = None


class SshNode(RetryingNode):
    """A node reached over ssh; see `transport.base.Node`."""

    def __init__(self, name: str, address: SshAddress) -> None:
        self.name = name
        self.address = address
        self._connection: asyncssh.SSHClientConnection | None = None
        self._connecting = asyncio.Lock()
        self._begun: asyncio.Task[asyncssh.SSHClientConnection] | None = None
        self._with_kit: asyncssh.SSHClientConnection | None = None  # the one over which the kit was found
        self._installing = asyncio.Lock()
        self._sessions = asyncio.Semaphore(SESSIONS_MAX)
        self._standing: list[Standing] = []
        self._standing_wanted = 0

    def begin(self) -> None:
        """Begins to connect, for who will ask in a moment: how it ended the first of them is told."""
        if self._begun is None and self._connection is None:
            self._begun = asyncio.ensure_future(self._connect("connect"))

    async def host_key(self) -> tuple[str, str]:
        connection = await self._connected("host key")
        key = connection.get_server_host_key()
        if key is None:
            raise NodeUntrusted(self.name, "host key", "it showed no host key")
        kind, text, *_ = key.export_public_key("openssh").decode().split()
        return kind, text

    async def attach(
        self, verb: str, *args: str, stdin: IO[Any], stdout: IO[Any], stderr: IO[Any], terminal: bool
    ) -> int:
        connection = await self._connected(verb)
        await self._bring_kit(connection)
        line = self._line(verb, "-t" if terminal else "-", *args)
        code = await attach(connection, line, stdin, stdout, stderr, terminal)
        return code if code >= 0 else 4

    async def close(self) -> None:
        """Closes the connection. What runs on the node goes on."""
        connection, self._connection = self._connection, None
        begun, self._begun = self._begun, None
        if begun is not None:
            begun.cancel()
            (made,) = await asyncio.gather(begun, return_exceptions=True)
            connection = None if isinstance(made, BaseException) else made
        if connection is not None:
            connection.close()
            with contextlib.suppress(Exception):
                async with asyncio.timeout(2):
                    await connection.wait_closed()

    def command(self, *argv: str) -> str:
        """The one place where an argv becomes a line for the node's shell."""
        prefix = ["sudo", "-n", "--"] if self.address.become == "sudo" else []
        return shlex.join([*prefix, *argv])

    def _line(self, verb: str, *args: str) -> str:
        """What calls a verb of a kit that is there."""
        return self.command("sh", f"{kit.directory()}/node", verb, *args)

    @contextlib.asynccontextmanager
    async def standing_by(self, shells: int = SHELLS) -> AsyncIterator[None]:
        """See `transport.base.Node`. Several pauses share the shells; the last one closes them."""
        self._standing_wanted += 1
        try:
            if self._standing_wanted == 1:
                await asyncio.gather(*(self._stand_by() for _ in range(shells)))
            yield
        finally:
            self._standing_wanted -= 1
            if not self._standing_wanted:
                while self._standing:
                    self._close(self._standing.pop())

    async def _stand_by(self) -> None:
        if self._sessions.locked():
            return  # it is busy: whoever calls waits for a session as ever
        async with contextlib.AsyncExitStack() as session:
            await session.enter_async_context(self._sessions)
            with contextlib.suppress(NodeError, *_broken()):
                connection = await self._connected("stand-by")
                await self._bring_kit(connection)
                line = self._line("stand-by")
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    process = await connection.create_process(line, encoding=None)
                self._standing.append(Standing(connection, process))
                session.pop_all()  # it is kept with the shell

    def _close(self, standing: Standing) -> None:
        standing.close()
        self._sessions.release()

    async def _ask(self, standing: Standing, words: list[str], timeout_s: float) -> Answer:
        verb, kept = words[0], False
        try:
            async with asyncio.timeout(timeout_s):
                code, out, err = await standing.ask(words, OUTPUT_BYTES_MAX)
            kept = self._standing_wanted > 0
        except _broken() as error:
            raise self._lost(standing.connection, verb, error, timeout_s) from error
        finally:
            if kept:
                self._standing.append(standing)
            else:
                self._close(standing)
        return ended(self.name, verb, code, out, _one_line(err))

    async def call_once(self, verb: str, args: list[str], stdin: bytes, timeout_s: float) -> Answer:
        while self._standing and not stdin and can_be_asked([verb, *args]):
            standing = self._standing.pop()
            if standing.usable and standing.connection is self._connection:
                return await self._ask(standing, [verb, *args], timeout_s)
            self._close(standing)
        connection = await self._connected(verb)
        if connection is not self._with_kit:
            line = self.command("sh", "-c", kit.IF_PRESENT, "sh", kit.directory(), verb, *args)
            code, out, err = await self._run(connection, verb, line, stdin, timeout_s)
            if code != kit.ABSENT:
                self._with_kit = connection
                return ended(self.name, verb, code, out, _one_line(err))
            await self._bring_kit(connection)
        code, out, err = await self._run(connection, verb, self._line(verb, *args), stdin, timeout_s)
        return ended(self.name, verb, code, out, _one_line(err))

    async def pour(self, verb: str, *args: str, chunks: AsyncIterator[bytes], timeout_s: float) -> Answer:
        connection = await self._connected(verb)
        await self._bring_kit(connection)  # first: what is poured cannot be poured again
        code, out, err = await self._run(connection, verb, self._line(verb, *args), chunks, timeout_s)
        return ended(self.name, verb, code, out, _one_line(err))

    async def _run(
        self,
        connection: asyncssh.SSHClientConnection,
        verb: str,
        line: str,
        stdin: bytes | AsyncIterator[bytes],
        timeout_s: float,
    ) -> tuple[int, str, str]:
        try:
            async with self._sessions, asyncio.timeout(timeout_s):
                process = await connection.create_process(line, encoding=None)
                readers = [asyncio.ensure_future(self._read(s, verb)) for s in (process.stdout, process.stderr)]
                try:
                    with contextlib.suppress(BrokenPipeError):  # a command may end without reading
                        await _write(process.stdin, stdin)
                        process.stdin.write_eof()
                    out, err = await asyncio.gather(*readers)
                    await process.wait_closed()
                    code = process.returncode
                finally:
                    for reader in readers:
                        reader.cancel()
                    process.close()  # and no waiting: sshd lets the command run on, and who gives up does not wait
        except _broken() as error:
            raise self._lost(connection, verb, error, timeout_s) from error
        if code is None or code < 0:
            self._connection = None
            raise NodeUnreachable(self.name, verb, f"{verb} ended without a word")
        return code, out, err

    def _lost(
        self, connection: asyncssh.SSHClientConnection, verb: str, error: Exception, timeout_s: float
    ) -> NodeUnreachable:
        self._connection = None
        connection.close()
        what = f"no answer in {timeout_s:.0f} s" if isinstance(error, TimeoutError) else _one_line(str(error))
        return NodeUnreachable(self.name, verb, f"connection lost during {verb}: {what}")

    async def _read(self, stream: asyncssh.SSHReader[bytes], verb: str) -> str:
        chunks: list[bytes] = []
        size = 0
        while chunk := await stream.read(65536):
            size += len(chunk)
            if size > OUTPUT_BYTES_MAX:
                raise NodeFailed(self.name, verb, f"answered more than {OUTPUT_BYTES_MAX} bytes to {verb}")
            chunks.append(chunk)
        return b"".join(chunks).decode(errors="replace")

    async def _connected(self, verb: str) -> asyncssh.SSHClientConnection:
        async with self._connecting:
            if self._connection is None or self._connection.is_closed():
                begun, self._begun = self._begun, None
                self._connection = await (begun or self._connect(verb))
                self.connected_at_s = asyncio.get_running_loop().time()
            return self._connection

    async def _connect(self, verb: str) -> asyncssh.SSHClientConnection:
        address = self.address
        options: dict[str, object] = {
            "keepalive_interval": 5,
            "keepalive_count_max": 3,
            "encryption_algs": CIPHERS,
            "port": address.port,
            "username": address.user,
            "client_keys": [address.identity_file] if address.identity_file else None,
            "known_hosts": address.known_hosts,
            "config": [address.config] if address.config else None,
            # Whatever ~/.ssh/config says: a node gets neither the operator's keys to use nor his screen.
            "agent_forwarding": False,
            "x11_forwarding": False,
        }
        given = {key: value for key, value in options.items() if value is not None}
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                return await _login(address, given)
        except library().HostKeyNotVerifiable as error:
            raise NodeUntrusted(
                self.name,
                verb,
                f"host key of {address.host} is not known or has changed; check it on the node's console and put it "
                f"into {address.known_hosts or '~/.ssh/known_hosts'}",
            ) from error
        except library().PermissionDenied as error:
            raise NodeUntrusted(
                self.name, verb, f"{address.host} does not let us in: {_one_line(str(error))}"
            ) from error
        except (library().KeyImportError, ValueError) as error:
            said = f"a key or known_hosts file for {address.host} cannot be read: {_one_line(str(error))}"
            raise NodeUntrusted(self.name, verb, said) from error
        except (library().Error, OSError, TimeoutError) as error:
            raise NodeUnreachable(self.name, verb, f"cannot connect to {address.host}: {_why(error)}") from error

    async def _bring_kit(self, connection: asyncssh.SSHClientConnection) -> None:
        """Returns when the kit is there. What `call_once` calls asks for it itself, and needs no session for that."""
        async with self._installing:
            if connection is self._with_kit:
                return
            where = kit.directory()
            present = self.command("sh", "-c", kit.PRESENT, "sh", where)
            code, _, _ = await self._run(connection, "kit", present, b"", 20)
            if code != 0:
                install = self.command("sh", "-c", kit.INSTALL, "sh", where)
                code, _, err = await self._run(connection, "kit", install, kit.archive(), 30)
                if code != 0:
                    raise NodeFailed(self.name, "kit", f"cannot install the kit in {where}: {_one_line(err)}")
            self._with_kit = connection


async def _login(address: SshAddress, options: dict[str, object]) -> asyncssh.SSHClientConnection:
    early = await early_socket(address.host, address.port, address.config)
    try:
        connection: asyncssh.SSHClientConnection = await library().connect(address.host, sock=early, **options)
    except BaseException:
        if early is not None:
            early.close()
        raise
    return connection


def _broken() -> tuple[type[Exception], ...]:
    """How a connection shows that it is gone."""
    asyncssh = library()
    return (asyncssh.Error, OSError, TimeoutError)


async def _write(sink: asyncssh.SSHWriter[bytes], stdin: bytes | AsyncIterator[bytes]) -> None:
    if isinstance(stdin, bytes):
        sink.write(stdin)
        return
    async for chunk in stdin:
        sink.write(chunk)
        await sink.drain()


def _why(error: Exception) -> str:
    """What a person reads of it: the system's own words, without its number and the library's."""
    if isinstance(error, TimeoutError):
        return f"no answer in {CONNECT_TIMEOUT_S} s"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return _one_line(str(error))


def _one_line(text: str) -> str:
    """The last line of what was said, without control characters, no longer than a person reads."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return one_line(lines[-1][:400]) if lines else ""
