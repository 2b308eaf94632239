"""One lab node: boot it, crash it, run a command on it."""

from __future__ import annotations

import socket
import subprocess
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from migrator.lab import cgroup, image, network
from migrator.lab.paths import LabPaths
from migrator.lab.shell import LabError, run

SSHD_TIMEOUT_S = 15


def prepare_disk(lab: LabPaths, node: str, ip: str) -> None:
    """Makes a node's directories, its host key and its access, unless it has them."""
    paths = lab.node(node)
    for directory in (paths.root, paths.upper, paths.work, paths.disk):
        directory.mkdir(parents=True, exist_ok=True)
    host_key = paths.upper / "etc/ssh/ssh_host_ed25519_key"
    if host_key.exists():
        return
    host_key.parent.mkdir(parents=True, exist_ok=True)
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", node, "-f", host_key])
    public = host_key.with_suffix(".pub").read_text().split()
    with lab.known_hosts.open("a") as known:
        known.write(f"{ip} {public[0]} {public[1]}\n")
    access = paths.upper / "root/.ssh/authorized_keys"
    access.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    (paths.upper / "root").chmod(0o700)
    access.write_text(lab.key.with_suffix(".pub").read_text())
    access.chmod(0o600)
    config = paths.upper / "etc/ssh/sshd_config.d/lab.conf"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text("UsePAM no\nUseDNS no\nHostKey /etc/ssh/ssh_host_ed25519_key\n")
    (paths.upper / "etc/machine-id").write_text(f"{uuid.uuid4().hex}\n")
    hosts = paths.upper / "etc/hosts"
    hosts.write_text(f"127.0.0.1 localhost\n{ip} {node}\n")


def is_up(lab: LabPaths, node: str) -> bool:
    return cgroup.populated(lab.node_cgroup(cgroup.root(), node))


def boot(lab: LabPaths, node: str, ip: str, link_mbit: int | None, cgroups: str = "v2") -> None:
    """Boots a node that is down, with a new boot id and nothing started but sshd, and waits for sshd.

    `cgroups` is what it mounts: the second version's tree, or the hierarchies of the first with or without that beside.
    """
    if is_up(lab, node):
        return
    paths, built = lab.node(node), image.load()
    group = lab.node_cgroup(cgroup.root(), node)
    network.plug_node(lab, node, ip, link_mbit)
    paths.boot_id.write_text(f"{uuid.uuid4()}\n")
    # The launcher stands beside the node's tree: a group that hands controllers down may hold no process.
    # Nor may one beside hierarchies of version 1 have controllers: crun refuses to start anything there.
    first = hierarchies(cgroups)
    for part in ("outer", "tree"):
        cgroup.make(group if first else group / part)
        (group / part).mkdir(exist_ok=True)
    for hierarchy in first:
        cgroup.make_in(hierarchy, lab.node_cgroup(hierarchy.mount, node))
    argv = enter(group / "outer")
    argv += ["nsenter", f"--net=/run/netns/{lab.node_netns(node)}"]
    argv += ["unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child"]
    argv += enter(group / "tree", *(lab.node_cgroup(hierarchy.mount, node) for hierarchy in first))
    argv += ["unshare", "--cgroup"]
    argv += ["sh", image.GUEST / "boot-node", paths.root, built.node, paths.upper, paths.work, paths.disk]
    argv += [built.templates, paths.boot_id, node, lab.shared, cgroups]
    argv += [hierarchy.option for hierarchy in first]
    with paths.log.open("a") as log:
        subprocess.Popen(
            [str(word) for word in argv],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
        )
    await_sshd(lab, node, ip, time.monotonic() + SSHD_TIMEOUT_S)


def hierarchies(cgroups: str) -> list[cgroup.Hierarchy]:
    """Those of version 1 that a node has groups in; an error where this machine has none to give."""
    if cgroups == "v2":
        return []
    found = cgroup.hierarchies()
    if not any(each.controllers.split(",")[0] == "memory" for each in found):
        raise LabError(f"--cgroups {cgroups}: this machine mounts no cgroup v1 hierarchies; leave it out for version 2")
    return found


def enter(*groups: Path) -> list[str | Path]:
    """The beginning of an argv: what follows runs in these groups."""
    script = 'while [ "$1" != -- ]; do echo 0 > "$1/cgroup.procs" || exit; shift; done; shift; exec "$@"'
    return ["sh", "-c", script, "sh", *groups, "--"]


def crash(lab: LabPaths, node: str) -> None:
    """Ends everything on the node at once, as a power loss does; its disk stays."""
    cgroup.kill(lab.node_cgroup(cgroup.root(), node))
    for hierarchy in cgroup.hierarchies():
        cgroup.remove(lab.node_cgroup(hierarchy.mount, node))
    network.unplug_node(lab, node)


def init_pid(lab: LabPaths, node: str) -> int:
    """This machine's pid of the node's first process."""
    for line in (lab.node_cgroup(cgroup.root(), node) / "tree/init/cgroup.procs").read_text().split():
        status = Path(f"/proc/{line}/status").read_text()
        inner = next(row for row in status.splitlines() if row.startswith("NSpid:")).split()
        if len(inner) == 3 and inner[2] == "1":
            return int(line)
    raise LabError(f"node {node} of lab {lab.name} has no init")


def exec_argv(lab: LabPaths, node: str, command: Sequence[str]) -> list[str]:
    """The argv that runs a command on the node as if typed at its console."""
    first = (lab.node_cgroup(hierarchy.mount, node) for hierarchy in cgroup.hierarchies())
    groups = [lab.node_cgroup(cgroup.root(), node) / "tree/init", *(group for group in first if group.exists())]
    namespaces = ["--mount", "--net", "--uts", "--ipc", "--pid", "--cgroup", "--root", "--wd"]
    inside = ["nsenter", "--target", str(init_pid(lab, node)), *namespaces, "--", *command]
    return [*map(str, enter(*groups)), *inside]


def await_sshd(lab: LabPaths, node: str, ip: str, deadline: float) -> None:
    """Waits until the node's sshd answers, or raises at the deadline (monotonic) with what its console said last."""
    while True:
        try:
            with socket.create_connection((ip, 22), timeout=1) as connection:
                if connection.recv(4) == b"SSH-":
                    return
        except OSError:
            pass
        if time.monotonic() > deadline:
            raise LabError(f"node {node} of lab {lab.name} does not answer on {ip}: {last_words(lab, node)}")
        time.sleep(0.02)


def last_words(lab: LabPaths, node: str) -> str:
    """The last line of the node's console."""
    lines = lab.node(node).log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "nothing on its console"
