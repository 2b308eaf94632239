"""Programs that are moved by restart: their connections end, and whatever they had acknowledged is there."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from itertools import count

import pytest

from migrator.lab.programs import PROGRAMS
from tests.lab.programs.conftest import Actor, Clients
from tests.lab.programs.inside import STORE, STORED
from tests.lab.programs.load import Load, connect
from tests.lab.programs.test_servers import ask, encoded
from tests.lab.stage import Stage

pytestmark = [pytest.mark.timeout(600), pytest.mark.full]

# What has no answer after that long has lost its connection: of a program that was stopped no word needs to come.
ANSWER_TIMEOUT_S = 5
WRITERS = 4
# PID 1 that does not listen to SIGTERM is killed then, which is the harder case.
RESTART = ("--mode", "restart", "--stop-timeout", "3")
REDIS = ("redis-server", "--bind", "*", "-::*", "--protected-mode", "no", "--save", "", "--appendonly", "yes")
POSTGRES = """
mkdir -p /run/postgresql /srv/pg && chown postgres: /run/postgresql /srv/pg && cd /srv/pg
bin=$(echo /usr/lib/postgresql/*/bin)
as='setpriv --reuid postgres --regid postgres --init-groups --'
[ -e PG_VERSION ] || {
    $as $bin/initdb -D /srv/pg -A trust > /dev/null && echo 'host all all all trust' >> pg_hba.conf
    $as $bin/postgres --single -D /srv/pg postgres <<< 'create table rows (who integer, number integer)' > /dev/null
}
exec $as $bin/postgres -D /srv/pg -c listen_addresses='*' -c shared_buffers=32MB
"""
ETCD = ("etcd", "--data-dir", "/srv/etcd", "--log-level", "error")
LISTENS = ("--listen-client-urls", "http://[::]:2379", "--advertise-client-urls", "http://[::]:2379")

Put = Callable[[int, int], Awaitable[None]]


@dataclass(frozen=True)
class Kind:
    """A program that stores rows. `opened` is a connection: `put(who, number)` returns when the row is acknowledged;
    `stored` is what is there, as "WHO NUMBER".
    """

    command: tuple[str, ...]
    opened: Callable[[Actor, Clients], contextlib.AbstractAsyncContextManager[Put]]
    stored: Callable[[Actor, Clients], Awaitable[set[str]]]


class Ended(Exception):
    """A connection that is over."""


def wanted(answer: bytes, right: bytes) -> None:
    if answer != right:
        raise Ended(answer)


@contextlib.asynccontextmanager
async def redis_opened(actor: Actor, clients: Clients) -> AsyncIterator[Put]:
    reader, writer = await connect(actor.ip, 6379)

    async def put(who: int, number: int) -> None:
        writer.write(f"SADD rows {who}:{number}\r\n".encode())
        wanted(await reader.readline(), b":1\r\n")

    with contextlib.closing(writer):
        yield put


async def redis_stored(actor: Actor, clients: Clients) -> set[str]:
    told = await clients.run("redis-cli", "-h", actor.ip, "--raw", "SMEMBERS", "rows")
    return {row.replace(":", " ") for row in told.splitlines()}


@contextlib.asynccontextmanager
async def postgres_opened(actor: Actor, clients: Clients) -> AsyncIterator[Put]:
    pipe = asyncio.subprocess.PIPE
    words = clients.argv("psql", "-h", actor.ip, "-U", "postgres", "-Atq")
    psql = await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL)
    assert psql.stdin is not None and psql.stdout is not None
    to, come = psql.stdin, psql.stdout

    async def put(who: int, number: int) -> None:
        to.write(b"insert into rows values (%d, %d) returning number;\n" % (who, number))
        wanted(await come.readline(), b"%d\n" % number)

    try:
        yield put
    finally:
        with contextlib.suppress(ProcessLookupError):
            psql.kill()
        await psql.wait()


async def postgres_stored(actor: Actor, clients: Clients) -> set[str]:
    query = ("-Atqc", "select who || ' ' || number from rows")
    return set((await clients.run("psql", "-h", actor.ip, "-U", "postgres", *query)).splitlines())


@contextlib.asynccontextmanager
async def etcd_opened(actor: Actor, clients: Clients) -> AsyncIterator[Put]:
    """A writer has one key, and counts in it."""
    reader, writer = await connect(actor.ip, 2379)

    async def put(who: int, number: int) -> None:
        await ask(reader, writer, "put", {"key": encoded(who), "value": encoded(number)})

    with contextlib.closing(writer):
        yield put


async def etcd_stored(actor: Actor, clients: Clients) -> set[str]:
    reader, writer = await connect(actor.ip, 2379)
    stored: set[str] = set()
    with contextlib.closing(writer):
        for who in range(WRITERS):
            (row,) = (await ask(reader, writer, "range", {"key": encoded(who)}))["kvs"]
            stored.update(f"{who} {number}" for number in range(int(base64.b64decode(row["value"])) + 1))
    return stored


@contextlib.asynccontextmanager
async def store_opened(actor: Actor, clients: Clients) -> AsyncIterator[Put]:
    reader, writer = await connect(actor.ip, 7000)

    async def put(who: int, number: int) -> None:
        row = f"{who} {number}\n".encode()
        writer.write(row)
        wanted(await reader.readline(), row)

    with contextlib.closing(writer):
        yield put


def store_stored(kind: str) -> Callable[[Actor, Clients], Awaitable[set[str]]]:
    async def stored(actor: Actor, clients: Clients) -> set[str]:
        return set((await actor.inside("python3", "-c", STORED[kind])).splitlines())

    return stored


KINDS = {
    "redis": Kind((*REDIS, "--dir", "/srv"), redis_opened, redis_stored),
    "postgresql": Kind(("bash", "-c", POSTGRES), postgres_opened, postgres_stored),
    "etcd": Kind((*ETCD, *LISTENS), etcd_opened, etcd_stored),
    "sqlite": Kind(("python3", "-c", STORE, "sqlite"), store_opened, store_stored("sqlite")),
    "lmdb": Kind(("python3", "-c", STORE, "lmdb"), store_opened, store_stored("lmdb")),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_what_was_acknowledged_before_a_restart_is_there_after_it(
    tidy: Stage, clients: Clients, kind: str
) -> None:
    of = KINDS[kind]
    actor = Actor(tidy, kind, (tidy.ip(1),), RESTART)
    words = ("--node", "n1", "--template", PROGRAMS.name, "--ip", actor.ip, "--memory", "512M")
    tidy.ok("ct", "create", kind, *words, "--", *of.command)
    acknowledged: set[str] = set()

    async def write(who: int, load: Load) -> None:
        """Goes on over another connection where one ends; a row that had no answer may be there, or not."""
        numbers = count()
        while not load.stopping:
            with contextlib.suppress(Ended, OSError, TimeoutError, asyncio.IncompleteReadError):
                async with of.opened(actor, clients) as put:
                    while not load.stopping:
                        number = next(numbers)
                        async with asyncio.timeout(ANSWER_TIMEOUT_S):
                            await put(who, number)
                        acknowledged.add(f"{who} {number}")
                        load.answered(who)
                        await asyncio.sleep(0.005)

    async with Load(write, WRITERS) as load:
        for target in ("n2", "n1"):
            before = await actor.inside("stat", "-c", "%Y", "/proc/1")
            await actor.to(target)
            await load.more()
            missing = set(acknowledged) - await of.stored(actor, clients)
            assert not missing, sorted(missing)[:5]
            assert await actor.inside("stat", "-c", "%Y", "/proc/1") != before, "it was not restarted"
