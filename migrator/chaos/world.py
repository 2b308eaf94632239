"""Everything on a lab's nodes that a migration could leave behind, as lines that can be compared.

Processes, mounts, network namespaces, filters, nft tables, cgroups, keys, files and records; the container's own
insides left out, and numbers that a migration is meant to raise. A node is compared with itself in the same role: with
the container, or without.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from migrator.lab import cgroup
from migrator.lab import lab as labs
from migrator.lab import node as lab_node
from migrator.lab.paths import LabPaths

# In the node's own words: links, filters, nft tables; the container's too, where CRIU's lock table would be left.
NETWORK = r"""
ip -br link | sed '/^ct/s/\([0-9a-f][0-9a-f]:\)\{5\}[0-9a-f]*/-/; s/@[^ ]*//; s/ *$//; s/  */ /g; s/^/link /'
for dev in $(ls /sys/class/net); do
    tc qdisc show dev "$dev" | sed "s/ *$//; s/^/qdisc $dev /"
    tc filter show dev "$dev" | sed "s/^/filter $dev /"
done
nft list ruleset | sed 's/^/nft /'
bridge link show 2> /dev/null | sed 's/@[^ ]*//; s/^[0-9]*: //; s/ cost.*//; s/^/port /'
for pid in $(head -qn 1 /sys/fs/cgroup/ct/*/cgroup.procs /sys/fs/cgroup/unified/ct/*/cgroup.procs 2> /dev/null); do
    nsenter --net="/proc/$pid/ns/net" nft list ruleset | sed 's/^/container nft /'
    nsenter --net="/proc/$pid/ns/net" ip -br addr | sed 's/@[^ ]*//; s/ *$//; s/  */ /g; s/^/container /'
done
"""
# Files that come and stay on purpose, or belong to the container or to the lab.
_LEFT_OUT = re.compile(
    r"^/(run/(proc|migrator/features|migrator/machine|migrator/conntrack|migrator/tree(-lock)?|migrator/runc/[^/]+|sshd)|var/lib/migrator/(kit|lock|floor|templates/[^/]+)"
    r"|var/lib/migrator/containers/[^/]+/(upper|work|rootfs|lower))(/|$)"
)
_STAY = ("/run/migrator/keepers", "/run/migrator/keepers/.turn")  # from the first keeper of a boot to its end
_WATCHED_PID = re.compile(r"--pid=\d+")  # a keeper waits for the first process of its container, whichever it is
_RECORD_KEYS_LEFT_OUT = ("token", "generation", "boot", "creator")
ANNOUNCING = "/speak"  # it ends by itself, two seconds after a release
_PLACES = ("/run", "/tmp", "/dev/shm", "/var/lib/migrator", "/root", "/etc", "/var/tmp")


def world(lab: LabPaths, node: str) -> Counter[str]:
    """All of one node, as a bag of lines."""
    told = subprocess.run(
        labs.exec_argv(lab, node, ("sh", "-c", NETWORK)), capture_output=True, text=True, timeout=30, check=False
    )
    lines = [line.replace("LOWER_UP,", "") for line in told.stdout.splitlines()]
    init = lab_node.init_pid(lab, node)
    group = lab.node_cgroup(cgroup.root(), node)
    lines += [*_processes(group), *_cgroups(group), *_mounts(init), *_namespaces(group)]
    for hierarchy in cgroup.hierarchies():
        lines += _first_version(lab.node_cgroup(hierarchy.mount, node), hierarchy.controllers)
    root = Path(f"/proc/{init}/root")
    lines += [line for place in _PLACES for line in _files(root, place)]
    lines += [*_records(root), *_keys(root)]
    return Counter(lines)


def difference(before: Counter[str], after: Counter[str]) -> list[str]:
    """What is there more than before, and what is missing."""
    return [f"+ {line}" for line in (after - before).elements()] + [f"- {line}" for line in (before - after).elements()]


def _pids(group: Path) -> Iterator[tuple[str, str]]:
    """(pid, group below the node's own) of every process of a node."""
    for directory, _, _ in os.walk(group):
        try:
            pids = (Path(directory) / "cgroup.procs").read_text().split()
        except OSError:
            continue
        for pid in pids:
            yield pid, directory.removeprefix(str(group))


def _processes(group: Path) -> Iterator[str]:
    for pid, where in _pids(group):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
        inside = where.startswith("/tree/ct/") and ANNOUNCING not in command
        first = "container's" if inside else _WATCHED_PID.sub("--pid=-", command.split("\n")[0][:120])
        yield f"process in {where}: {first}"


def _cgroups(group: Path) -> Iterator[str]:
    for directory, _, _ in os.walk(group / "tree"):
        if directory != str(group / "tree/ct"):  # the containers' own; it comes with the first after a boot and stays
            yield f"cgroup {directory.removeprefix(str(group))}"


def _first_version(group: Path, controllers: str) -> Iterator[str]:
    for directory, _, _ in os.walk(group):
        if (below := directory.removeprefix(str(group))) not in ("", "/ct"):
            yield f"cgroup of {controllers} {below}"


def _mounts(init: int) -> Iterator[str]:
    for line in Path(f"/proc/{init}/mountinfo").read_text().splitlines():
        fields = line.split(" ")
        yield f"mount {fields[4]} {fields[fields.index('-') + 1]}"


def _namespaces(group: Path) -> Iterator[str]:
    """One line for each different namespace that the node's processes stand in."""
    found = set()
    for pid, _ in _pids(group):
        for kind in ("net", "mnt", "pid", "user", "ipc", "uts", "cgroup"):
            try:
                found.add((kind, str(Path(f"/proc/{pid}/ns/{kind}").readlink())))
            except OSError:
                continue
    yield from (f"namespace {kind}" for kind, _ in found)


def _files(root: Path, place: str) -> Iterator[str]:
    for directory, subdirectories, names in os.walk(root / place.lstrip("/")):
        inside = directory.removeprefix(str(root))
        subdirectories[:] = [name for name in subdirectories if not _LEFT_OUT.match(f"{inside}/{name}/")]
        for name in (*names, *subdirectories):
            path = f"{inside}/{name}"
            if not _LEFT_OUT.match(path) and path not in _STAY:
                yield f"file {path}"


def _records(root: Path) -> Iterator[str]:
    for record in sorted((root / "var/lib/migrator/records").glob("*")):
        for line in record.read_text().splitlines():
            if line.partition("=")[0] not in _RECORD_KEYS_LEFT_OUT:
                yield f"record {record.name} {line}"


def _keys(root: Path) -> Iterator[str]:
    keys = root / "root/.ssh/authorized_keys"
    yield from (f"key {line}" for line in keys.read_text().splitlines())
