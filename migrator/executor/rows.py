"""Containers as they are listed: one row each."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from migrator.model.limits import Limits, limits_of, not_enforced
from migrator.model.observation import STATES

if TYPE_CHECKING:
    from migrator.model.facts import Cluster, ContainerFacts

# What a row's state may be: the record's own word, but for one that serves, of which it is said how it does.
ROW_STATES = ("running", "running, cut off", "down", *sorted(STATES - {"serving", "absent"}))


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
