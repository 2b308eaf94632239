"""A container's life outside a migration: list, start after a power loss, run a command inside."""

from __future__ import annotations

from dataclasses import asdict
from typing import IO, Any

from migrator.errors import MigratorError, Refused
from migrator.executor.fleet import Fleet, find_container
from migrator.model.facts import Cluster, ContainerFacts
from migrator.model.limits import Limits, limits_of, not_enforced
from migrator.model.observation import STATES

# What a row's state may be: the record's own word, but for one that serves, of which it is said how it does.
ROW_STATES = ("running", "running, cut off", "down", *sorted(STATES - {"serving", "absent"}))


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


def rows_of(cluster: Cluster) -> list[dict[str, Any]]:
    """One row a container, sorted by name: what `ct list` prints and its --json holds."""
    rows = []
    for node in cluster.nodes:
        for found in node.containers:
            ct = found.descriptor
            limits = limits_of(ct) if ct else Limits(found.reserved.memory_bytes, found.reserved.cpu_milli)
            rows.append(
                {
                    "name": found.name,
                    "node": node.name,
                    "state": _state(found),
                    "address": ct.address if ct else "-",
                    "addresses": list(ct.addresses) if ct else [],
                    "rss_bytes": found.rss_bytes,
                    "memory_bytes": found.reserved.memory_bytes,
                    "cpu_milli": found.reserved.cpu_milli,
                    "disk_bytes": found.reserved.disk_bytes,
                    "swap_bytes": limits.swap_bytes,
                    "pids": limits.pids,
                    "io_weight": limits.io_weight,
                    "io": asdict(limits.io),
                    "not_enforced": not_enforced(limits, node.controllers),
                    "labels": ct.labels if ct else {},
                    "volumes": [str(of) for of in (*ct.volumes, *ct.disks)] if ct else [],
                    "devices": list(ct.devices) if ct else [],
                    "published": [str(port) for port in ct.published] if ct else [],
                    "nics": [str(nic) for nic in ct.nics] if ct else [],
                    "generation": found.generation,
                    "run": found.run,
                    "up_s": found.up_s,
                    "restart": ct.restart if ct else "no",
                    "keeper": found.keeper,
                    "keeper_starts": found.keeper_starts,
                    "gate": found.gate,
                    "pressure": asdict(found.pressure),
                    "waits": found.pressure.said(),
                }
            )
    return sorted(rows, key=lambda row: (row["name"], row["node"]))


def _state(found: ContainerFacts) -> str:
    if found.state != "serving":
        return found.state
    if not found.alive:
        return "down"
    return "running, cut off" if found.gate == "closed" else "running"
