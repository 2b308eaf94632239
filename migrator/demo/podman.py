"""podman's way to bring a container to another host: a checkpoint to an archive, and scp.

Its restore needs a wrapper around its runtime where labs do, and is not tried. So the time until the archive is at the
other node is less than clients of the container would wait. The container is made anew for every checkpoint, which ends
it, and has no network: that would only add to the time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from migrator.demo.services import Service
from migrator.demo.stage import Stage, StageError
from migrator.lab import podman as packages
from migrator.lab.paths import LabPaths
from migrator.lab.shell import LabError

FETCH_TIMEOUT_S = 300
# A node of a lab is soon gone: nothing needs to be on its disk for good.
INSTALL = """
set -eu
dpkg --force-unsafe-io --install "$1"/*.deb > "$1/said" 2>&1 || { grep -i error "$1/said" >&2; exit 1; }
rm -r "$1"
podman --version
"""
MAKE_KEY = """
set -eu
mkdir -m 700 /run/podman-bench
ssh-keygen -q -t ed25519 -N '' -f /run/podman-bench/key
cat /run/podman-bench/key.pub
"""
LET_IN = """
set -eu
printf '%s\\n' "$1" >> /root/.ssh/authorized_keys
cut -d ' ' -f 1,2 /etc/ssh/ssh_host_ed25519_key.pub
"""
# All of podman's files lie in memory, as the floor's images do.
PODMAN = """
set -eu
dir=/run/podman-bench
podman() {
    command podman --root "$dir/storage" --runroot "$dir/run" --tmpdir "$dir/tmp" --cgroup-manager cgroupfs \
        --runtime crun "$@" > "$dir/said" 2> "$dir/why" < /dev/null || { tail -n 1 "$dir/why" >&2; exit 1; }
}
"""
START = f"""{PODMAN}
name=$1 port=$2
shift 2
podman run --detach --name "$name" --network none --pids-limit 0 --log-driver none \
    --rootfs /var/lib/migrator/templates/debian/rootfs:O "$@"
podman inspect --format '{{{{.State.Pid}}}}' "$name"
read -r pid < "$dir/said"
tries=0
until nsenter --target "$pid" --net ss -Htln | grep -q ":$port "; do
    tries=$((tries + 1))
    [ "$tries" -lt 600 ] || {{ echo "$name does not listen" >&2; exit 1; }}
    sleep 0.05
done
"""
MEASURE = f"""{PODMAN}
printf '%s %s\\n' "$2" "$3" > "$dir/known_hosts"
set -- "$1" "root@$2" -q -i "$dir/key" -o "UserKnownHostsFile=$dir/known_hosts" -o BatchMode=yes
name=$1 target=$2
shift 2
began=$(date +%s%N)
podman container checkpoint --export "$dir/archive" --compress none --tcp-established --file-locks "$name"
dumped=$(date +%s%N)
scp "$@" "$dir/archive" "$target:/run/podman-archive" < /dev/null
copied=$(date +%s%N)
echo "$((dumped - began)) $((copied - dumped))"
ssh "$@" "$target" rm /run/podman-archive < /dev/null
rm "$dir/archive"
podman rm --force "$name"
"""


@dataclass(frozen=True, slots=True)
class PodmanTimes:
    """One checkpoint, and its way to the other node."""

    checkpoint_ms: float
    copy_ms: float

    @property
    def total_ms(self) -> float:
        return self.checkpoint_ms + self.copy_ms


class Podman:
    """podman on one node of a lab, which copies to another, for as long as it works.

    The first thing that does not is said, in one line, and from then on there are no times.
    """

    def __init__(self, stage: Stage, node: str, target: str, say: Callable[[str], None]) -> None:
        self._stage, self._node, self._target, self._say = stage, node, target, say
        self._target_ip = self._target_key = ""
        self.version = ""

    async def prepare(self) -> None:
        """Brings podman to the node, from the machine's mirror when it is not cached yet."""
        try:
            fetched = await self._stage.cli.run("lab", "image", "--podman", timeout_s=FETCH_TIMEOUT_S)
            if fetched.exit_code != 0:
                raise StageError((fetched.stderr.strip() or "its packages cannot be fetched").splitlines()[-1])
            there = packages.offer(LabPaths.of(self._stage.lab), self._node)
            version = (await self._on(self._node, INSTALL, there)).split()[-1]
            public = (await self._on(self._node, MAKE_KEY)).strip()
            self._target_key = (await self._on(self._target, LET_IN, public)).strip()
            self._target_ip = self._stage.node_addresses[self._target]
            self.version = version
        except (StageError, LabError, OSError) as error:
            self._say(f"podman is not there, and its rows are left out: {error}")

    async def measure(self, service: Service) -> PodmanTimes | None:
        """Starts a program as that of a service, and takes the time of its checkpoint and copy."""
        if not self.version:
            return None
        try:
            await self._on(self._node, START, service.name, str(service.port), *service.command)
            told = await self._on(self._node, MEASURE, service.name, self._target_ip, self._target_key)
        except StageError as error:
            self._say(f"podman does not work here, and its rows are left out: {error}")
            self.version = ""
            return None
        return PodmanTimes(*(int(part) / 1e6 for part in told.split()))

    async def _on(self, node: str, script: str, *words: str) -> str:
        command = ("lab", "exec", "--name", self._stage.lab, node, "--", "sh", "-c", script, "sh", *words)
        return (await self._stage.cli.run(*command)).checked(f"podman on {node}").stdout
