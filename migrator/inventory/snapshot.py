"""Snapshots: a cluster's facts in a file, to plan and to check with no node in reach.

`digest` is over the facts as they are written, or with those that an older file lacks as they are without a word. Who
makes facts by another program, or changes some to try something, leaves it out.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from migrator.errors import BadInput
from migrator.inventory.documents import said, unread
from migrator.inventory.files import read_text
from migrator.inventory.possible import impossible
from migrator.model.facts import Cluster
from migrator.model.links import tangled
from migrator.model.plan_policy import Standing
from migrator.model.pressure import Guard, Pressure

VERSION = 1
_CLUSTER = TypeAdapter(Cluster)
# Fields of a descriptor that came later, and what an older snapshot means by being without.
_LATER: dict[str, Any] = {
    **{key: [] for key in ("more_addresses", "volumes", "cap_add", "cap_drop", "devices")},
    **{key: [] for key in ("nameservers", "search", "routes", "sysctls", "nics", "disks", "published")},
    **{"gateway6": None, "runtime": "runc", "seccomp": "default", "new_privileges": False},
    **{"hostname": None, "firewall": "", "init": "plain", "stop_signal": ""},
    "io": {"read_bytes_per_s": 0, "write_bytes_per_s": 0, "read_iops": 0, "write_iops": 0},
}
NO_PRESSURE, USUAL_GUARD = asdict(Pressure()), asdict(Guard())


def digest(cluster: Cluster) -> str:
    """Names a snapshot by its content: equal facts, equal digest."""
    return _digest(_dumped(cluster))


def _digest(facts: Any) -> str:
    canonical = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"


def to_document(cluster: Cluster) -> dict[str, object]:
    return {
        "version": VERSION,
        "digest": digest(cluster),
        "cluster": _dumped(cluster),
    }


def _dumped(cluster: Cluster) -> dict[str, Any]:
    """The cluster as JSON values; without links, a policy, volumes or further addresses as it was before."""
    dumped: dict[str, Any] = _CLUSTER.dump_python(replace(cluster, policy=Standing()), mode="json")
    if not cluster.links:
        del dumped["links"]
    del dumped["policy"]
    for node in dumped["nodes"]:
        _drop_from_node(node)
        for container in node["containers"]:
            _drop_from_container(container)
    if cluster.policy == Standing():
        return dumped
    from migrator.inventory import policy_file  # noqa: PLC0415   (many snapshots have none, and it is much to load)

    return dumped | {"policy": policy_file.to_document(cluster.policy)}


def _drop_from_node(node: dict[str, Any]) -> None:
    for later in ("stream_out", "stream_in", "trusted", "volumes", "devices", "cpu_state", "lsm", "filesystem"):
        if not node[later]:
            del node[later]
    for later, usual in (("pressure", NO_PRESSURE), ("guard", USUAL_GUARD)):
        if node[later] == usual:
            del node[later]


def _drop_from_container(container: dict[str, Any]) -> None:
    _drop_later(container["descriptor"] or {})
    _drop_unset_limits(container["descriptor"] or {})
    del container["up_s"]  # nobody plans by it
    for later in ("needs", "disks_bytes"):
        if not container[later]:
            del container[later]
    if container["pressure"] == NO_PRESSURE:
        del container["pressure"]
    written = ("files_written_bytes_per_s", "files_growing_bytes_per_s")
    for later in ("changing_bytes", "mapped_bytes", *written, "tmpfs_bytes"):
        if not container[later]:
            del container[later]


def _drop_later(ct: dict[str, Any]) -> None:
    for later, nothing in _LATER.items():
        if later in ct and ct[later] == nothing:
            del ct[later]


def _drop_unset_limits(ct: dict[str, Any]) -> None:
    for later, unset in (("swap_bytes", None), ("pids", 0), ("io_weight", 0)):
        if later in ct and ct[later] == unset:  # 0 of swap is a limit
            del ct[later]


def save(cluster: Cluster, path: Path) -> None:
    try:
        path.write_text(json.dumps(to_document(cluster), indent=1, sort_keys=True) + "\n")
    except OSError as error:
        raise BadInput(f"{path}: cannot be written: {error.strerror}") from error


def _policy_of(document: Any, source: str) -> Standing:
    if document == {}:
        return Standing()
    from migrator.inventory import policy_file  # noqa: PLC0415   (as above)

    return policy_file.of_document(document, source)


def load(path: Path) -> Cluster:
    """Reads a snapshot; BadInput names the file and what is wrong with it."""
    try:
        raw = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}: not a snapshot: {unread(error)}") from error
    if not isinstance(raw, dict) or raw.get("version") != VERSION:
        raise BadInput(f"{path}: not a snapshot of version {VERSION}")
    facts = raw.get("cluster")
    written = _digest(facts)
    policy = facts.pop("policy", {}) if isinstance(facts, dict) else {}
    try:
        cluster = replace(_CLUSTER.validate_python(facts), policy=_policy_of(policy, f"{path}: policy"))
    except ValidationError as error:
        raise BadInput(f"{path}: {said(error, facts)}") from error
    if wrong := tangled(cluster.links):
        raise BadInput(f"{path}: links: {wrong}")
    if wrong := impossible(cluster):
        raise BadInput(f"{path}: {wrong}")
    if raw.get("digest", written) != written and raw["digest"] != digest(cluster):
        what_to_do = "probe again, or take digest out if they are meant to be changed"
        raise BadInput(f"{path}: digest: does not match: the facts were edited after they were saved; {what_to_do}")
    return cluster
