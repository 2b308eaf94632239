"""A container's life outside a migration: start after a power loss, run a command inside."""

from __future__ import annotations

from typing import IO, Any

from migrator.errors import MigratorError, Refused
from migrator.executor.fleet import Fleet, find_container
from migrator.model.facts import Cluster


def overruled(cluster: Cluster, node: str) -> dict[str, str]:
    """Containers of a node that another node owns too, if not by a lower generation, and why they are not started."""
    found = {}
    for mine in cluster.node(node).containers:
        if mine.state != "serving":
            continue  # its own record says why not
        for other in cluster.owners(mine.name):
            theirs = other.container(mine.name)
            if other.name == node or theirs is None:
                continue
            if mine.at_rest and theirs.at_rest and theirs.generation == mine.generation:
                found[mine.name] = (
                    f"{other.name} has a container of this name too: it is not started; remove the one that is wrong, "
                    f"with: migrator ct destroy {mine.name} --node NODE"
                )
            elif theirs.generation > mine.generation:
                found[mine.name] = (
                    f"{other.name} has it by generation {theirs.generation}, and this copy is of {mine.generation}: it "
                    f"is not started; see: migrator runs"
                )
    return found


async def start_all(fleet: Fleet, node: str) -> dict[str, str]:
    """Starts what a node's records say it should run. Returns what became of each container.

    Other nodes are asked too: a record of a higher generation there was decided while this node was away.
    """
    facts = await fleet.facts(node)
    decided = overruled(await fleet.probe(), node)
    outcome: dict[str, str] = {}
    for found in facts.containers:
        if found.state == "stopped":
            continue
        if found.name in decided:
            outcome[found.name] = decided[found.name]
            continue
        try:
            await fleet.node(node).call("ct-start", found.name, "ask", timeout_s=60)
            outcome[found.name] = "runs"
        except MigratorError as error:
            outcome[found.name] = str(error)
    return outcome


async def exec_in(
    fleet: Fleet, name: str, command: tuple[str, ...], stdin: IO[Any], stdout: IO[Any], stderr: IO[Any]
) -> int:
    """Runs a command in a container with the given streams; returns its exit code."""
    from migrator.executor.wanted import check_text  # noqa: PLC0415   (who lists containers waits for no more than that)

    check_text("COMMAND", command)
    node, found = find_container(await fleet.survey(), name)
    if not found.alive:
        raise Refused(f"container {name} on {node.name} is not running; start it with: migrator ct start {name}")
    return await fleet.node(node.name).attach(
        "ct-exec",
        name,
        *command,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        terminal=stdin.isatty() and stdout.isatty(),
    )
