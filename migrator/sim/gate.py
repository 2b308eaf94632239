"""A simulated node's gates, after lib.sh: one opens if the bridge that its container's network names is there."""

from __future__ import annotations

from migrator.sim.machine import Machine

BRIDGE = "br0"  # the one that every machine has


def gate_error(m: Machine, ct: str) -> str:
    """Why a container's gate would not open; empty when it would."""
    tree = m.disk.trees.get(ct)
    net = dict(line.split(" ", 1) for line in tree.text("net").splitlines()) if tree else {}
    bridge = net.get("bridge", BRIDGE)
    return "" if bridge == BRIDGE else f"bridge {bridge} is not there"


def open_gate(m: Machine, ct: str) -> str:
    """Opens a gate, or says why it does not open."""
    error = gate_error(m, ct)
    if not error:
        m.set_gate(ct, True)
    return error
