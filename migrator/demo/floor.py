"""The floor of a pause: the same container frozen, dumped to tmpfs and restored in place by bare runc.

Bare means without what a move needs: no network to build, no script that holds, no lock on the network. So the
floor is as low as runc and CRIU can make it here, and a migration is measured against that.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from migrator.demo.services import Service
from migrator.demo.stage import Stage

# Ends the container as the product started it, and starts it as bare runc would, on the same root and limits.
PREPARE = """
set -eu
dir=/run/floor
mkdir -p -m 711 "$dir"
printf '%s' "$2" > "$dir/config.json"
printf 'network-lock skip\\nskip-file-rwx-check\\n' > "$dir/criu.conf"
runc --root /run/migrator/runc delete -f "$1"
runc --root "$dir/runc" run --detach --bundle "$dir" "$1" < /dev/null > /dev/null 2> "$dir/said" ||
    { cat "$dir/said" >&2; exit 1; }
read -r pid < "/sys/fs/cgroup/ct/$1/cgroup.procs"
tries=0
until nsenter --target "$pid" --net ss -Htln | grep -q ":$3 "; do
    tries=$((tries + 1))
    [ "$tries" -lt 600 ] || { echo "$1 does not listen" >&2; exit 1; }
    sleep 0.05
done
"""
# The images must be readable by the container's root, and by the node's until the new user namespace has its ids.
MEASURE = """
set -eu
dir=/run/floor runc='runc --root /run/floor/runc'
rm -rf "$dir/images" "$dir/work"
mkdir -m 700 "$dir/images" "$dir/work"
began=$(date +%s%N)
$runc pause "$1"
paused=$(date +%s%N)
$runc checkpoint --tcp-established --file-locks --image-path "$dir/images" --work-path "$dir/work" "$1"
dumped=$(date +%s%N)
chown -R "$2:0" "$dir/images"
chmod -R g+rX "$dir/images"
$runc restore --detach --tcp-established --file-locks --image-path "$dir/images" --work-path "$dir/work" \
    --bundle "$dir" "$1" < /dev/null > /dev/null 2> "$dir/said" || { cat "$dir/said" >&2; exit 1; }
restored=$(date +%s%N)
echo "$((paused - began)) $((dumped - paused)) $((restored - dumped))"
"""


@dataclass(frozen=True, slots=True)
class FloorTimes:
    """One round of bare runc."""

    pause_ms: float
    checkpoint_ms: float
    restore_ms: float

    @property
    def total_ms(self) -> float:
        return self.pause_ms + self.checkpoint_ms + self.restore_ms


class Floor:
    """A container on one node that bare runc dumps and restores, as often as asked."""

    def __init__(self, stage: Stage, node: str, service: Service) -> None:
        self._stage, self._node, self._container, self._port = stage, node, service.name, service.port
        self._id_base = 0

    async def prepare(self) -> None:
        """Takes a container that runs on the node over from the product, and waits until it serves again."""
        told = await self._on_node("cat", f"/var/lib/migrator/containers/{self._container}/config.json")
        config = bare(json.loads(told))
        self._id_base = config["linux"]["uidMappings"][0]["hostID"]
        await self._on_node("sh", "-c", PREPARE, "sh", self._container, json.dumps(config), str(self._port))

    async def end(self) -> None:
        """Ends the container, so that the next load has the node to itself."""
        await self._on_node("runc", "--root", "/run/floor/runc", "delete", "-f", self._container)

    async def measure(self) -> FloorTimes:
        told = await self._on_node("sh", "-c", MEASURE, "sh", self._container, str(self._id_base))
        return FloorTimes(*(int(part) / 1e6 for part in told.split()))

    async def _on_node(self, *command: str) -> str:
        done = await self._stage.cli.run("lab", "exec", "--name", self._stage.lab, self._node, "--", *command)
        return done.checked(f"bare runc on {self._node}").stdout


def bare(config: dict[str, Any]) -> dict[str, Any]:
    """A container's configuration without what the product adds for moves."""
    plain = {key: value for key, value in config.items() if key != "hooks"}
    return plain | {"annotations": {"org.criu.config": "/run/floor/criu.conf"}}
