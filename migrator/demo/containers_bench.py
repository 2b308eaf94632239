"""python -m migrator.demo.containers_bench: how soon containers are made, changed and listed, and what is sent.

On one lab of namespaces, by the command line as an operator has it. Each figure stands beside its reach.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from migrator.demo.bench import DOCUMENT, warm_up
from migrator.demo.bench_report import machine_facts
from migrator.demo.page import with_section
from migrator.demo.services import COUNTER_PORT
from migrator.demo.stage import Stage, StageError
from migrator.errors import MigratorError
from migrator.lab.guard import start_guard

LAB = "bench-containers"
TEMPLATE = "debian"
ROUNDS, IDLE = 10, 100
OWN_BYTES = 5 << 20
LIMIT_S = 900
ASK_S = 0.03  # a first packet that nobody was there to take would be sent again only after a second
REACH_CREATE_S, REACH_SET_MS, REACH_FILES, REACH_MADE_S, REACH_LISTED_S = 0.5, 50, 1.2, 60, 0.5
# The least that answers: whatever else a program does at its start is its own affair.
ANSWERS = f"import socket; s = socket.create_server(('', {COUNTER_PORT}))\nwhile True: s.accept()[0].sendall(b'here')"
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Seen:
    """All that was measured: seconds, milliseconds and bytes as the names say; `lost` of the IDLE that were drained."""

    create_s: list[float]
    set_ms: list[int]
    set_command_s: list[float]
    own_bytes: int
    sent_bytes: int
    template_bytes: int
    made_s: float
    listed_s: list[float]
    drained_s: float
    lost: int


async def timed(act: Awaitable[Any]) -> tuple[float, Any]:
    began_s = time.monotonic()
    done = await act
    return time.monotonic() - began_s, done


async def answers(host: str) -> None:
    """Returns when whatever listens there has answered over a connection of its own."""
    async with asyncio.timeout(60):
        while True:
            try:
                async with asyncio.timeout(ASK_S):
                    reader, writer = await asyncio.open_connection(host, COUNTER_PORT)
                    there = await reader.read(1)
                    writer.close()
                    if there:
                        return
            except (OSError, TimeoutError):
                await asyncio.sleep(0.002)


async def created(stage: Stage, rounds: int, say: Say) -> list[float]:
    """From the start of the command until a client is answered."""
    took = list[float]()
    for number in range(rounds):
        name, address = f"first-{number}", stage.address(0)
        words = ("ct", "create", name, "--node", stage.nodes[0], "--template", TEMPLATE, "--ip", address)
        began_s = time.monotonic()
        async with stage.cli.started(*words, "--", "python3", "-IS", "-c", ANSWERS) as process:
            await answers(address)
            took.append(time.monotonic() - began_s)
            _, error = await process.communicate()
        if process.returncode != 0:
            raise StageError(f"creating {name}: {error.decode().strip()}")
        say(f"create: {took[-1]:.2f} s")
        (await stage.cli.run("ct", "destroy", name, "--force", "--yes")).checked(f"destroying {name}")
    return took


async def changed(stage: Stage, rounds: int, say: Say) -> tuple[list[int], list[float]]:
    """`ct set --memory` of a running container: by its own word since it was connected, and the whole command."""
    await made(stage, "one", 0, "sleep", "100000")
    since, whole = list[int](), list[float]()
    for number in range(rounds):
        words = ("ct", "set", "one", "--memory", f"{200 + number}M", "--json")
        took_s, done = await timed(stage.cli.run(*words))
        since.append(int(done.checked("changing its memory").document["took_ms"]))
        whole.append(took_s)
    say(f"ct set --memory: {since} ms since connected")
    return since, whole


async def made(stage: Stage, name: str, index: int, *command: str) -> None:
    where = ("--node", stage.nodes[0], "--template", TEMPLATE, "--ip", stage.address(index))
    (await stage.cli.run("ct", "create", name, *where, "--", *command)).checked(f"creating {name}")


async def sent(stage: Stage, say: Say) -> tuple[int, int, int]:
    """A container with so many bytes of its own, and what of files its move sends; and the size of its template."""
    write = f"head -c {OWN_BYTES} /dev/urandom > /srv/own && exec sleep 100000"
    await made(stage, "own", 1, "sh", "-c", write)
    size = f"while [ $(stat -c %s /srv/own) -lt {OWN_BYTES} ]; do sleep 0.1; done; sync"
    await stage.exec("own", "sh", "-c", size)
    run = (await stage.cli.run("migrate", "own", "--to", stage.nodes[1], "--json")).checked("moving it").document["run"]
    moved = (await stage.show(run))["migrations"][0]
    await stage.exec("own", "sh", "-c", size)  # it is there, and whole
    disk = ("du", "-sb", f"/var/lib/migrator/templates/{TEMPLATE}/rootfs")
    told = (await stage.cli.run("lab", "exec", "--name", stage.lab, stage.nodes[0], "--", *disk)).stdout
    say(f"files: {moved['files_bytes']} bytes sent of {OWN_BYTES} of its own")
    return OWN_BYTES, int(moved["files_bytes"]), int(told.split()[0])


async def idle(stage: Stage, count: int, say: Say) -> tuple[float, list[float], float, int]:
    """Many that do nothing: made, listed, drained over the two other nodes, and how many of them are not there then."""
    for name in ("one", "own"):
        (await stage.cli.run("ct", "destroy", name, "--force", "--yes")).checked(f"destroying {name}")
    small = ("--memory", "16M", "--cpus", "0.05", "--disk", "16M")
    where = ("--node", stage.nodes[0], "--template", TEMPLATE, "--ip", stage.address(0))
    words = ("ct", "create", "idle", "--count", str(count), *where, *small, "--", "sleep", "100000")
    made_s, done = await timed(stage.cli.run(*words, timeout_s=LIMIT_S))
    done.checked("creating many")
    say(f"{count} created: {made_s:.1f} s")
    listed = [(await timed(stage.cli.run("ct", "list")))[0] for _ in range(ROUNDS)]
    say(f"listed: {', '.join(f'{each:.2f}' for each in listed)} s")
    before = await started(stage, stage.nodes[0])
    drained_s, done = await timed(
        stage.cli.run("drain", stage.nodes[0], "--yes", "--json", "--parallel", "8", timeout_s=LIMIT_S)
    )
    done.checked("draining them")
    after = [each for node in stage.nodes[1:] for each in await started(stage, node)]
    placed = await stage.placement()
    there = sum(node != stage.nodes[0] for node in placed.values())
    say(f"drained: {drained_s:.0f} s, {there} of {count} there")
    return made_s, listed, drained_s, count - min(there, len(after), len(before))


async def started(stage: Stage, node: str) -> list[str]:
    """The processes of containers on a node that still are the one that they began with."""
    words = ("lab", "exec", "--name", stage.lab, node, "--", "pgrep", "-x", "sleep")
    return (await stage.cli.run(*words)).stdout.split()


async def play(rounds: int, count: int, say: Say) -> tuple[Seen, dict[str, str]]:
    """Everything on one lab, which is gone afterwards whatever happens."""
    stage = Stage(LAB)
    await stage.refuse_if_up()
    try:
        await stage.up(3)
        await asyncio.to_thread(warm_up)
        await stage.placement()  # which brings the kit
        create_s = await created(stage, rounds, say)
        set_ms, set_command_s = await changed(stage, 2 * rounds, say)
        files = await sent(stage, say)
        many = await idle(stage, count, say)
        facts = await machine_facts(stage, stage.nodes[0])
    finally:
        await stage.down_surely()
    own_bytes, sent_bytes, template_bytes = files
    made_s, listed_s, drained_s, lost = many
    seen = Seen(
        create_s, set_ms, set_command_s, own_bytes, sent_bytes, template_bytes, made_s, listed_s, drained_s, lost
    )
    return seen, facts


def rows(seen: Seen, count: int) -> list[tuple[str, str, str, bool]]:
    """What was measured, in words, its reach, and whether it is met."""
    share = seen.sent_bytes / seen.own_bytes
    return [
        (
            "create from a present template, from the start of the command to the first answer",
            spread_s(seen.create_s),
            f"{REACH_CREATE_S} s",
            median(seen.create_s) <= REACH_CREATE_S,
        ),
        (
            "`ct set --memory`, from its connection until the node said that it is in force",
            f"{median(seen.set_ms):.0f} ms ({min(seen.set_ms)} to {max(seen.set_ms)}); "
            f"the whole command {median(seen.set_command_s):.2f} s",
            f"{REACH_SET_MS} ms",
            median(seen.set_ms) <= REACH_SET_MS,
        ),
        (
            f"files sent for a container with {seen.own_bytes >> 20} MiB of its own, "
            f"its template of {seen.template_bytes / 1e6:.0f} MB present",
            f"{share:.2f} times its own ({seen.sent_bytes:,} bytes)",
            f"{REACH_FILES}",
            share <= REACH_FILES,
        ),
        (
            f"{count} idle containers on one node created, by `ct create --count`",
            f"{seen.made_s:.1f} s",
            f"{REACH_MADE_S} s",
            seen.made_s <= REACH_MADE_S,
        ),
        (f"{count} listed, the whole command", spread_s(seen.listed_s), f"{REACH_LISTED_S} s", listed_well(seen)),
        (
            f"{count} drained over two nodes, `--parallel 8`",
            f"{seen.lost} lost, in {seen.drained_s:.0f} s",
            "none lost",
            seen.lost == 0,
        ),
    ]


def listed_well(seen: Seen) -> bool:
    return median(seen.listed_s) <= REACH_LISTED_S


def spread_s(seconds: Sequence[float]) -> str:
    return f"{median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f})"


def report(seen: Seen, facts: dict[str, str], count: int, rounds: int) -> str:
    """The section of the page, whole."""
    lines = rows(seen, count)
    table = [f"| {what} | {told} | {wanted} | {'met' if met else 'missed'} |" for what, told, wanted, met in lines]
    return "\n".join(
        [
            "## Containers",
            "",
            "`make bench-containers` writes this section, on one lab of three nodes. Seconds are those of whole",
            f"commands, the start of Python included; medians of {rounds}, in brackets the least and the most. Nodes",
            "and orchestrator share the cores. The lab's nodes have no memory controller: `ct set` writes record,",
            "description and configuration there; on a node that has one the write to the kernel's file comes to that.",
            "",
            "| | seen | reach | |",
            "|---|---|--:|---|",
            *table,
            "",
            f"Measured on {', '.join(f'{name} {value}' for name, value in facts.items())}.",
            "",
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m migrator.demo.containers_bench", description=__doc__)
    parser.add_argument("--rounds", type=int, choices=range(1, 51), default=ROUNDS, metavar="N", help=f"({ROUNDS})")
    parser.add_argument("--count", type=int, choices=range(1, 101), default=IDLE, metavar="N", help=f"({IDLE})")
    given = parser.parse_args()
    guard = start_guard(LAB)
    try:
        seen, facts = asyncio.run(play(given.rounds, given.count, lambda text: print(text, flush=True)))
    except (MigratorError, TimeoutError) as error:
        print(f"bench-containers: {error or 'a container did not answer'}", file=sys.stderr)
        return 1
    finally:
        guard.dismiss()
    DOCUMENT.write_text(with_section(DOCUMENT.read_text(), report(seen, facts, given.count, given.rounds)))
    print(f"written to docs/{DOCUMENT.name}")
    return 0 if all(met for *_, met in rows(seen, given.count)) else 1


if __name__ == "__main__":
    sys.exit(main())
