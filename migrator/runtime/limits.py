"""A container's limits as the runtime is told of them: those that the node's controllers can enforce."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from migrator.model.container import Descriptor

CPU_PERIOD_US = 100_000


def resources(ct: Descriptor, controllers: Collection[str]) -> dict[str, Any]:
    """`linux.resources` of config.json. What the node's cgroups do not have the runtime would refuse to set."""
    found: dict[str, Any] = {"devices": [{"allow": False, "access": "rwm"}]}
    if "memory" in controllers:
        found["memory"] = {"limit": ct.memory_bytes}
        if (
            ct.swap_bytes is not None and "memory.swap" in controllers
        ):  # the runtime's "swap" is both together, on either version of cgroups
            found["memory"]["swap"] = ct.memory_bytes + ct.swap_bytes
    if "cpu" in controllers:
        found["cpu"] = {"quota": ct.cpu_milli * CPU_PERIOD_US // 1000, "period": CPU_PERIOD_US}
    if ct.pids and "pids" in controllers:
        found["pids"] = {"limit": ct.pids}
    if ct.io_weight and "io.weight" in controllers:
        found["blockIO"] = {"weight": ct.io_weight}
    return found
