"""Servers, and programs with all that a kernel gives them: what runs goes on, connection by connection."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import socket

import pytest

from migrator.lab.programs import PROGRAMS
from tests.lab.programs.conftest import Clients, Make
from tests.lab.programs.inside import ECHO, MANY, TREE, WORDS
from tests.lab.programs.load import Load, connect

pytestmark = pytest.mark.timeout(600)  # the first has the template built

FILE_BYTES = 24_000_000
NGINX = f"head -c {FILE_BYTES} /dev/urandom > /var/www/html/large && exec nginx -g 'daemon off;'"
CONNECTIONS = 500


async def test_nginx_sends_a_large_file_to_a_slow_reader(make: Make, clients: Clients) -> None:
    server = make("nginx", "sh", "-c", NGINX, template=PROGRAMS.name)
    digest = hashlib.sha256()

    async def read(who: int, load: Load) -> None:
        """Takes little, with a small buffer, so the server waits for it at every moment."""
        loop = asyncio.get_running_loop()
        _, opened = await connect(server.ip, 80)
        opened.close()
        with socket.socket() as line:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
            line.setblocking(False)
            await loop.sock_connect(line, (server.ip, 80))
            await loop.sock_sendall(line, b"GET /large HTTP/1.0\r\n\r\n")
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += await loop.sock_recv(line, 1)
            assert b" 200 OK" in head
            came = 0
            while part := await loop.sock_recv(line, 1 << 16 if load.stopping else 1 << 12):
                digest.update(part)
                came += len(part)
                load.answered(who)
                await asyncio.sleep(0 if load.stopping else 0.01)
            assert load.stopping, "it was too fast to be slow"
            assert came == FILE_BYTES

    async with Load(read) as load:
        await server.there_and_back(load)
    assert (await server.inside("sha256sum", "/var/www/html/large")).split()[0] == digest.hexdigest()


async def test_a_server_in_go_keeps_500_connections_and_what_it_acknowledged(make: Make, clients: Clients) -> None:
    listens = "http://[::]:2379"
    words = ("etcd", "--data-dir", "/srv/etcd", "--listen-client-urls", listens, "--advertise-client-urls", listens)
    server = make("etcd", *words, "--log-level", "error", template=PROGRAMS.name)

    async def put(who: int, load: Load) -> None:
        reader, writer = await connect(server.ips[who % 2], 2379)
        while not load.stopping:
            await ask(reader, writer, "put", {"key": encoded(who), "value": encoded(load.answers[who])})
            load.answered(who)
            await asyncio.sleep(1)
        found = await ask(reader, writer, "range", {"key": encoded(who)})
        assert found["kvs"][0]["value"] == encoded(load.answers[who] - 1)
        writer.close()

    async with Load(put, CONNECTIONS) as load:
        await server.there_and_back(load, answers=1)


def encoded(number: int) -> str:
    return base64.b64encode(str(number).encode()).decode()


async def ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, what: str, words: dict[str, str]
) -> dict[str, list[dict[str, str]]]:
    """One question to etcd over a connection that stays."""
    body = json.dumps(words).encode()
    writer.write(
        b"POST /v3/kv/%s HTTP/1.1\r\nHost: etcd\r\nContent-Length: %d\r\n\r\n" % (what.encode(), len(body)) + body
    )
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    if " 200 ok" not in head:
        raise ConnectionError(head)
    size = int(head.partition("content-length:")[2].split()[0])
    found: dict[str, list[dict[str, str]]] = json.loads(await reader.readexactly(size))
    return found


async def test_threads_timers_pipes_events_signals_watches_and_socket_pairs_go_on(make: Make) -> None:
    program = make("many", "python3", "-c", MANY)

    async def go_round(who: int, load: Load) -> None:
        reader, writer = await connect(program.ip, 7000)
        while not load.stopping:
            for word in WORDS:
                writer.write(f"{word}\n".encode())
                assert (await reader.readline()).decode().strip() == word
            load.answered(who)
        writer.close()

    async with Load(go_round) as load:
        await program.there_and_back(load)


async def test_a_tree_of_50_processes_keeps_its_members_and_what_each_holds(make: Make) -> None:
    tree = make("tree", "python3", "-c", TREE)
    told: list[list[str]] = []

    async def ask_all(who: int, load: Load) -> None:
        reader, writer = await connect(tree.ip, 7000)
        while not load.stopping:
            writer.write(b"?\n")
            rows = (await reader.readexactly(int(await reader.readline()))).decode().splitlines()
            load.answered(who)
            assert len(rows) == 49  # and the one that tells
            told.append([row.rpartition(" ")[0] for row in rows])
            assert told[-1] == told[0]
            assert {int(row.rpartition(" ")[2]) for row in rows} == {load.answers[who]}
        writer.close()

    async with Load(ask_all) as load:
        await tree.there_and_back(load)
    assert len({row.split()[3] for row in told[0]}) > 7, "sessions of their own are a part of it"


async def test_a_socket_of_udp_goes_on_counting_over_ipv4_and_ipv6(make: Make) -> None:
    echo = make("echo", "python3", "-c", ECHO)

    async def send(who: int, load: Load) -> None:
        """Nothing is promised of a datagram, so one that is lost is sent again; but what counts them goes on."""
        loop = asyncio.get_running_loop()
        last = 0
        with socket.socket((socket.AF_INET, socket.AF_INET6)[who], socket.SOCK_DGRAM) as line:
            line.setblocking(False)
            await loop.sock_connect(line, (echo.ips[who], 7000))
            while not load.stopping:
                try:
                    await loop.sock_sendall(line, b"%d" % load.answers[who])
                    async with asyncio.timeout(0.2):
                        number, text = (await loop.sock_recv(line, 100)).split()
                except (TimeoutError, ConnectionRefusedError):
                    continue
                assert int(number) > last, "it has begun anew"
                last = int(number)
                if int(text) == load.answers[who]:
                    load.answered(who)
                await asyncio.sleep(0.01)

    async with Load(send, 2) as load:
        await echo.there_and_back(load)
