"""The OCI bundle of a container on a node: config.json, the network file, CRIU's configuration.

The descriptor is the source of all three; they are made anew for each node, from what that node can do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

from migrator.errors import BadInput
from migrator.model import nics, ports
from migrator.model.confinement import DEVICES, NUMBERS, capabilities
from migrator.model.container import ID_RANGE, Descriptor
from migrator.model.init import stop_number
from migrator.model.network import net_lines, resolv_conf
from migrator.model.volume import Mounted
from migrator.runtime import seccomp
from migrator.runtime.limits import resources

CONTAINERS = "/var/lib/migrator/containers"

# A host file on stdout breaks the dump, so the log is opened inside. Static text; the command comes as arguments.
_ENTRY = 'mkdir -p /var/log && exec </dev/null >>/var/log/console.log 2>&1 && exec "$@"'
# Becomes a user of the container's own /etc/passwd, by what is there for that. The words: USER COMMAND...
AS_USER = """user=$1; shift
[ ! -r /etc/passwd ] || while IFS=: read -r name _ uid gid _ || [ -n "$name" ]; do
    case $user in "$name" | "$uid" | "$uid:$gid") break ;; esac
    name= uid= gid=
done < /etc/passwd
case $user in
    *[!0-9:]*) [ -n "$name" ] || { echo "user $user is not in /etc/passwd" >&2; exit 1; } ;;
    *:*) uid=${user%%:*} gid=${user#*:} ;;
    *) uid=$user gid=${gid:-$user} ;;
esac
[ -n "$name" ] && groups=--init-groups || groups=--clear-groups
case $(setpriv --help 2>&1) in
    *--reuid*) exec setpriv --reuid "$uid" --regid "$gid" "$groups" -- "$@" ;;
esac
[ -n "$name" ] || { echo "user $user is not in /etc/passwd, and without setpriv of util-linux has to be" >&2; exit 1; }
exec su -m -s /bin/sh -- "$name" -c 'exec "$@"' sh "$@"
"""
_DEFAULT_ENV = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=linux")
_NET_LINE = re.compile(r"[a-z]+ [A-Za-z0-9.:/_=,-]+")
# By https://systemd.io/CONTAINER_INTERFACE/. What is mounted already it needs no SYS_ADMIN for.
_SYSTEMD_ENV = ("container=migrator",)
_QUIET = ("nosuid", "noexec", "nodev")
_SYSTEMD_MOUNTS: tuple[dict[str, Any], ...] = (
    {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": [*_QUIET, "relatime", "rw"]},
    {"destination": "/run/lock", "type": "tmpfs", "source": "tmpfs", "options": [*_QUIET, "mode=1777", "size=5m"]},
)
_NO_DEVICE = {"allow": False, "access": "rwm"}  # but those that every runtime gives


def files(
    ct: Descriptor,
    kit_dir: str,
    bridge: str,
    controllers: Collection[str],
    volumes: Mapping[str, Mounted] = MappingProxyType({}),
) -> dict[str, bytes]:
    """Everything that describes a container on one node, by file name; `volumes` is where that node has which.

    BadInput where it has none of a name that the container asks for.
    """
    described = {
        "descriptor.json": descriptor_json(ct),
        "net": net_file(ct, bridge),
        "criu.conf": criu_conf(kit_dir),
        "config.json": config_json(ct, kit_dir, controllers, volumes),
        "restart": f"{ct.restart}\n".encode(),
    }
    if ct.io:
        described["io"] = f"{ct.io.word}\n".encode()
    if ct.runtime != "runc":
        described["runtime"] = f"{ct.runtime}\n".encode()
    if ct.init != "plain":
        described["init"] = f"{ct.init}\n".encode()
    if ct.stop_signal or ct.init != "plain":
        described["stop-signal"] = f"{stop_number(ct)}\n".encode()
    described |= {name: data for name, data in network_files(ct).items() if data}
    if ct.disks:
        described["disk-list"] = "".join(f"{disk.name} {disk.path}\n" for disk in ct.disks).encode()
    return described | ({"volumes": volumes_file(ct, volumes)} if ct.volumes else {})


def network_files(ct: Descriptor) -> dict[str, bytes]:
    """Those of its network beside `net`, also where they are empty: what its resolver reads, and its rules."""
    return {"resolv.conf": resolv_conf(ct).encode(), "firewall": ct.firewall.encode()}


def config_json(
    ct: Descriptor, kit_dir: str, controllers: Collection[str], volumes: Mapping[str, Mounted] = MappingProxyType({})
) -> bytes:
    """The runtime's configuration. Limits whose controller the node lacks are left out: runc would refuse them."""
    identity = {"containerID": 0, "hostID": ct.id_base, "size": ID_RANGE}
    directory = f"{CONTAINERS}/{ct.name}"
    has = [f"CAP_{name}" for name in capabilities(ct)]
    as_user = ["/bin/sh", "-c", AS_USER, "sh", ct.user] if ct.user else []
    config: dict[str, Any] = {
        "ociVersion": "1.0.2",
        "hostname": hostname_of(ct),
        "root": {"path": f"{directory}/rootfs"},
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "args": ["/bin/sh", "-c", _ENTRY, "sh", *as_user, *ct.command],
            "env": [*_DEFAULT_ENV, *(_SYSTEMD_ENV if ct.init == "systemd" else ()), *ct.env],
            "cwd": "/",
            "capabilities": {kind: has for kind in ("bounding", "effective", "permitted")},
            "noNewPrivileges": not ct.new_privileges,
        },
        "mounts": [
            *_mounts(),
            *_init_mounts(ct),
            *_names(ct, directory),
            *_binds(ct, volumes),
            *_disks(ct, directory),
        ],
        "hooks": {"createRuntime": [{"path": f"{kit_dir}/net-hook", "args": ["net-hook", ct.name]}]},
        # crun's is told by its kit's program; a later one would read both, and CRIU run its script twice.
        "annotations": {"org.criu.config": f"{directory}/criu.conf"} if ct.runtime == "runc" else {},
        "linux": {
            "cgroupsPath": f"/ct/{ct.name}",
            "namespaces": [{"type": t} for t in ("pid", "network", "ipc", "uts", "mount", "user", "cgroup")],
            "uidMappings": [identity],
            "gidMappings": [identity],
            "resources": resources(ct, controllers) | {"devices": [_NO_DEVICE, *map(_allowed, ct.devices)]},
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/sysrq-trigger", "/sys/firmware"],
            "devices": [_device(name) for name in ct.devices],
            **({"seccomp": seccomp.profile()} if ct.seccomp == "default" else {}),
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"],
        },
    }
    return json.dumps(config).encode()


def hostname_of(ct: Descriptor) -> str:
    """What it calls itself at its start."""
    return ct.hostname or ct.name.replace("_", "-")


def descriptor_json(ct: Descriptor) -> bytes:
    """The descriptor as its node keeps it: one line."""
    return json.dumps(asdict(ct), sort_keys=True).encode()


def net_file(ct: Descriptor, bridge: str) -> bytes:
    """What the network hook reads: one `key value` a line, with a line for each address and each gateway."""
    lines = [f"veth {ct.veth}", f"bridge {bridge}", f"mac {ct.mac}"]
    lines += [f"address {address}" for address in ct.cards[0].addresses]
    lines += [f"gateway {gateway}" for gateway in ct.gateways]
    lines += net_lines(ct)
    lines += nics.net_lines(ct.cards, [*ct.gateways, *(route.partition("=")[2] for route in ct.routes)])
    lines += ports.net_lines(ct.published, ct.cards[0].addresses, ct.addresses)
    if not all(_NET_LINE.fullmatch(line) for line in lines):
        raise BadInput(f"container {ct.name!r}: its network cannot be written down: {'; '.join(lines)!r}")
    return ("\n".join(lines) + "\n").encode()


def volumes_file(ct: Descriptor, volumes: Mapping[str, Mounted]) -> bytes:
    """What the kit reads: a line `NAME PATH INSIDE` for each volume. None of the three can hold a blank."""
    lines = (f"{volume.name} {_path_on_node(ct, volume.name, volumes)} {volume.path}\n" for volume in ct.volumes)
    return "".join(lines).encode()


def criu_conf(kit_dir: str) -> bytes:
    """CRIU's options that the runtime has no flag for. The gate is the network lock, so CRIU needs none of its own."""
    return f"action-script {kit_dir}/criu-hook\nnetwork-lock skip\nskip-file-rwx-check\n".encode()


def _allowed(device: str) -> dict[str, Any]:
    major, minor = NUMBERS[device]
    return {"allow": True, "type": "c", "major": major, "minor": minor, "access": "rw"}


def _device(name: str) -> dict[str, Any]:
    """Beside those that every runtime gives (null, zero, full, random, urandom, tty), bound from the node's own."""
    major, minor = NUMBERS[name]
    return {"path": DEVICES[name], "type": "c", "major": major, "minor": minor, "fileMode": 0o666, "uid": 0, "gid": 0}


def _names(ct: Descriptor, directory: str) -> Iterator[dict[str, Any]]:
    """Its resolver's configuration, which is the descriptor's: in its files it would be its root's to change."""
    if resolv_conf(ct):
        options = ["bind", "private", "ro", "nosuid", "nodev", "noexec"]
        source = f"{directory}/resolv.conf"
        yield {"destination": "/etc/resolv.conf", "type": "bind", "source": source, "options": options}


def _binds(ct: Descriptor, volumes: Mapping[str, Mounted]) -> Iterator[dict[str, Any]]:
    """Volumes: without what is mounted below them, and private, or CRIU would find them tied to the node's mounts."""
    for volume in ct.volumes:
        options = ["bind", "private", "nosuid", "nodev", *(["ro"] if volume.read_only else [])]
        source = _path_on_node(ct, volume.name, volumes)
        yield {"destination": volume.path, "type": "bind", "source": source, "options": options}


def _disks(ct: Descriptor, directory: str) -> Iterator[dict[str, Any]]:
    for disk in ct.disks:
        options = ["bind", "private", "nosuid", "nodev"]
        source = f"{directory}/disks/{disk.name}"
        yield {"destination": disk.path, "type": "bind", "source": source, "options": options}


def _path_on_node(ct: Descriptor, name: str, volumes: Mapping[str, Mounted]) -> str:
    if name not in volumes:
        raise BadInput(f"container {ct.name}: the cluster file names no volume {name}; name it under volumes")
    return volumes[name].path


def _init_mounts(ct: Descriptor) -> tuple[dict[str, Any], ...]:
    return _SYSTEMD_MOUNTS if ct.init == "systemd" else ()


def _mounts() -> list[dict[str, Any]]:
    quiet = ["nosuid", "noexec", "nodev"]
    return [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {
            "destination": "/dev",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
        },
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        },
        {
            "destination": "/dev/shm",
            "type": "tmpfs",
            "source": "shm",
            "options": [*quiet, "mode=1777", "size=65536k"],
        },
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": quiet},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*quiet, "ro"]},
        {
            "destination": "/run",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "nodev", "mode=755"],
        },
        {
            "destination": "/tmp",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "nodev", "mode=1777"],
        },
    ]
