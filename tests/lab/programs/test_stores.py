"""Databases: whatever they have acknowledged is there, on arrival and after a rollback."""

from __future__ import annotations

import asyncio
import re
import signal
from itertools import count

import pytest

from migrator.lab.programs import PROGRAMS
from tests.lab.programs.conftest import Clients, Make
from tests.lab.programs.inside import STORE, STORED
from tests.lab.programs.load import Load, connect

pytestmark = pytest.mark.timeout(600)  # the first has the template built

POSTGRES = """
mkdir -p /run/postgresql /srv/pg && chown postgres: /run/postgresql /srv/pg && cd /srv/pg
bin=$(echo /usr/lib/postgresql/*/bin)
as='setpriv --reuid postgres --regid postgres --init-groups --'
$as $bin/initdb -D /srv/pg -A trust > /dev/null && echo 'host all all all trust' >> /srv/pg/pg_hba.conf
exec $as $bin/postgres -D /srv/pg -c listen_addresses='*' -c shared_buffers=32MB
"""


async def test_redis_has_every_write_that_it_acknowledged_over_ipv4_and_ipv6(make: Make, clients: Clients) -> None:
    serve = ("redis-server", "--bind", "*", "-::*", "--protected-mode", "no", "--save", "", "--appendonly", "yes")
    redis = make("redis", *serve, "--dir", "/srv", template=PROGRAMS.name)
    acknowledged: list[str] = []

    async def write(who: int, load: Load) -> None:
        reader, writer = await connect(redis.ips[who % 2], 6379)
        for number in count():
            if load.stopping:
                break
            writer.write(f"SET {who}:{number} {number}\r\n".encode())
            assert await reader.readline() == b"+OK\r\n"
            acknowledged.append(f"{who}:{number}")
            load.answered(who)
            await asyncio.sleep(0.004)
        writer.close()

    async def look() -> None:
        """Reads back by Redis's own client."""
        keys = list(acknowledged)
        asked = "".join(f"MGET {' '.join(keys[at : at + 500])}\n" for at in range(0, len(keys), 500))
        found = (await clients.run("redis-cli", "-h", redis.ip6, "--raw", stdin=asked)).splitlines()
        assert found == [key.partition(":")[2] for key in keys]

    async with Load(write, 20) as load:
        await redis.there_and_back(load, look)
    await look()


async def test_postgresql_moves_inside_open_transactions_under_pgbench(make: Make, clients: Clients) -> None:
    server = make("pg", "sh", "-c", POSTGRES, template=PROGRAMS.name)
    at = ("-h", server.ip, "-U", "postgres")
    _, writer = await connect(server.ip, 5432)
    writer.close()
    await clients.run("pgbench", *at, "-i", "-q", "postgres")
    await clients.run("psql", *at, "-c", "create table open (number integer)")
    pipe = asyncio.subprocess.PIPE
    bench = await asyncio.create_subprocess_exec(
        *clients.argv("pgbench", *at, "-n", "-c", "8", "-j", "2", "-T", "600", "postgres"), stdout=pipe, stderr=pipe
    )

    async def insert(who: int, load: Load) -> None:
        """One transaction all the time: rows go in, and nothing is committed before the end."""
        psql = await asyncio.create_subprocess_exec(*clients.argv("psql", *at, "-Atq"), stdin=pipe, stdout=pipe)
        assert psql.stdin is not None and psql.stdout is not None
        psql.stdin.write(b"begin;\n")
        while not load.stopping:
            number = load.answers[who]
            psql.stdin.write(b"insert into open values (%d) returning number;\n" % number)
            assert await psql.stdout.readline() == b"%d\n" % number
            load.answered(who)
            await asyncio.sleep(0.02)
        psql.stdin.write(b"commit;\n")
        psql.stdin.close()
        assert await psql.wait() == 0

    async with Load(insert) as load:
        await server.there_and_back(load)
    bench.send_signal(signal.SIGALRM)  # as if its time were over
    out, err = await asyncio.wait_for(bench.communicate(), 30)
    assert (bench.returncode, err.decode().count("error")) == (0, 0), (out, err)
    done = re.search(r"actually processed: (\d+)", out.decode())
    assert done is not None and b"failed transactions: 0 " in out
    query = (
        "select count(*), (select sum(abalance) from pgbench_accounts) = sum(delta), "
        "(select sum(bbalance) from pgbench_branches) = sum(delta), "
        "(select sum(tbalance) from pgbench_tellers) = sum(delta), (select count(*) from open) from pgbench_history"
    )
    told = (await clients.run("psql", *at, "-Atc", query)).strip()
    assert told == f"{done[1]}|t|t|t|{load.answers[0]}"
    await clients.run("psql", *at, "-c", "checkpoint")


@pytest.mark.parametrize("kind", ["sqlite", "lmdb"])
async def test_a_store_in_shared_mappings_has_every_committed_row(make: Make, clients: Clients, kind: str) -> None:
    store = make("store", "python3", "-c", STORE, kind, template=PROGRAMS.name)
    committed: set[str] = set()

    async def put(who: int, load: Load) -> None:
        reader, writer = await connect(store.ip, 7000)
        for number in count():
            if load.stopping:
                break
            row = f"{who} {number}"
            writer.write(f"{row}\n".encode())
            assert await reader.readline() == f"{row}\n".encode()
            committed.add(row)
            load.answered(who)
            await asyncio.sleep(0.01)
        writer.close()

    async def look() -> None:
        """Reads with another process, which knows only what the file and the mappings hold."""
        before = set(committed)
        missing = before - set((await store.inside("python3", "-c", STORED[kind])).splitlines())
        assert not missing, sorted(missing)[:5]

    async with Load(put, 4) as load:
        await store.there_and_back(load, look)
    await look()
