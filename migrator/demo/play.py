"""The demo in two acts: a drain that works, and a drain whose restore is killed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

from migrator.demo.clients import Client, CounterTalk, DownloadTalk, RedisTalk, Talk
from migrator.demo.sabotage import kill_criu_restoring
from migrator.demo.services import COUNTER_PORT, FILE_PATH, HTTP_PORT, REDIS_PORT, Service, roster
from migrator.demo.show import Show
from migrator.demo.stage import Stage, StageError
from migrator.demo.verdict import (
    Result,
    Rollback,
    client_reasons,
    drain_reasons,
    events_of,
    rollback_reasons,
    rows,
)

DRAINED = "n1"
# The largest first: its restore takes longest, so it is the most instructive one to kill.
VICTIMS = ("ballast", "redis", "files", "counter")


async def play(stage: Stage, show: Show) -> list[str]:
    """Plays the demo on a stage that is not up yet. Returns why the verdict is red; empty when it is green."""
    show.title("Migrator empties a host while its clients keep talking")
    show.command(*stage.up_words())
    await stage.up()
    show.line(f"{', '.join(stage.nodes)} are up, each with its own sshd, files, processes and network")
    clients: list[Client] = []
    try:
        for index, service in enumerate(roster()):
            show.command("ct", "create", service.name, "--node", DRAINED, f"... # {service.kind}")
            await stage.create(service, DRAINED, index)
            clients.append(_client(stage, service))
            await _connect(clients[-1], stage.address(index), service)
        show.line("a client talks to each, over one TCP connection that has to last")
        return await _drain(stage, show, clients) + await _drain_sabotaged(stage, show, clients)
    finally:
        for client in clients:
            client.close()


async def _drain(stage: Stage, show: Show, clients: Sequence[Client]) -> list[str]:
    """The first act: everything leaves the node, and no client may notice more than a pause."""
    show.title(f"First: everything leaves {DRAINED}")
    show.command("drain", DRAINED, "--yes")
    placement = await stage.placement()
    _talk(clients)
    with show.clients_at_work(clients):
        done = await stage.drain(DRAINED)
    results = await _stopped(clients)
    run = done.document
    show.rows(rows(results, run.get("migrations", [])))
    after = await stage.placement()
    left = [container for container, node in after.items() if node == DRAINED]
    reasons = drain_reasons(DRAINED, sorted(placement), run, left) + client_reasons(results)
    show.line(f"{DRAINED} {'still holds ' + ', '.join(left) if left else 'is empty'}")
    return reasons


async def _drain_sabotaged(stage: Stage, show: Show, clients: Sequence[Client]) -> list[str]:
    """The second act: one restore is killed, and its container runs on where it was."""
    await stage.uncordon(DRAINED)
    placement = await stage.placement()
    node, victim = choose_victim(placement)
    show.title(f"Second: CRIU is killed on the target in the middle of restoring {victim}")
    processes_before = await stage.processes(victim)
    others = [name for name in stage.nodes if name != node]
    show.command("drain", node, "--yes")
    async with kill_criu_restoring(stage.cli, stage.lab, victim, others) as sabotage:
        _talk(clients)
        with show.clients_at_work(clients):
            done = await stage.drain(node)
    results = await _stopped(clients)
    document = done.document
    run = await stage.show(document["run"]) if "run" in document else document
    show.line(f"sabotage: {sabotage.outcome}")
    show.line(f"exit code {done.exit_code}: {document.get('error', '')}")
    show.command("show", str(document.get("run", "-")), f"# {victim}")
    show.events(events_of(run, victim))
    show.line()
    show.rows(rows(results, run.get("migrations", [])))
    seen = Rollback(
        container=victim,
        exit_code=done.exit_code,
        sabotage=sabotage.outcome,
        run=run,
        node_before=node,
        node_after=(await stage.placement()).get(victim, ""),
        processes_before=processes_before,
        processes_after=await stage.processes(victim),
    )
    reasons = rollback_reasons(seen)
    if not reasons:
        pause_ms = next(result.gap_ms for result in results if result.container == victim)
        show.line(
            f"{victim} runs on {node} as before: the same processes, the same connection, a pause of {pause_ms:.0f} ms"
        )
    return reasons + client_reasons(results)


def choose_victim(placement: dict[str, str]) -> tuple[str, str]:
    """The node to drain, which holds the most containers, and the one of them whose restore is killed."""
    if not placement:
        raise StageError("no container is left running")
    held = Counter(placement.values())
    node = max(sorted(held), key=lambda name: held[name])
    there = [container for container, where in placement.items() if where == node]
    return node, next((victim for victim in VICTIMS if victim in there), there[0])


def _client(stage: Stage, service: Service) -> Client:
    async def ask_sha256() -> str:
        return (await stage.exec(service.name, "sha256sum", FILE_PATH)).split()[0]

    talks: dict[int, Talk] = {
        REDIS_PORT: RedisTalk(),
        HTTP_PORT: DownloadTalk("/" + FILE_PATH.rpartition("/")[2], ask_sha256),
        COUNTER_PORT: CounterTalk(),
    }
    return Client(service.name, service.kind, talks[service.port])


async def _connect(client: Client, host: str, service: Service) -> None:
    try:
        await client.connect(host, service.port)
    except TimeoutError:
        raise StageError(f"the service in container {service.name} does not listen on {host}:{service.port}") from None


def _talk(clients: Sequence[Client]) -> None:
    for client in clients:
        client.run()


async def _stopped(clients: Sequence[Client]) -> list[Result]:
    return list(await asyncio.gather(*(client.stop() for client in clients)))
