"""One node that is a virtual machine: QEMU under software emulation, a kernel of its own, booted directly.

QEMU runs in the lab's switch namespace and in the node's cgroup, and is all there is of the node on this machine. What
ends a namespace node ends this one: its group is killed, its tap is removed, its directory is deleted.
"""

from __future__ import annotations

import shlex
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from migrator.lab import cgroup, network, node, vm_image
from migrator.lab.image import GUEST
from migrator.lab.paths import LabPaths
from migrator.lab.shell import LabError, run

# Emulation takes 8 to 16 s to sshd on an idle machine with two cores; this one may be busy.
BOOT_TIMEOUT_S = 180
SSH_TIMEOUT_S = 30
MEMORY_BYTES = 1 << 30
# Declared, so that a few containers of one CPU each find room; emulated CPUs beyond the first only cost this machine.
CPUS_DECLARED = 8
Process = subprocess.Popen[bytes]
# What the guest has to know before it can read anything: who it is. Nobody attacks an emulated CPU's predictions.
CMDLINE = "console=ttyS0 quiet rw mitigations=off lab.node={node} lab.ip={ip}"


def prepare_disk(lab: LabPaths, name: str, ip: str) -> None:
    """Makes the node's own files, a disk that begins as the image's, and a tar of the files as a second disk."""
    node.prepare_disk(lab, name, ip)
    paths = lab.node(name)
    if paths.vm_files.exists():
        return
    paths.vm_image.write_text(f"{vm_image.load().dir}\n")
    base = ["-f", "qcow2", "-F", "raw", "-b", "/image/base.img"]
    run(_in_tools(lab, name, "qemu-img", "create", "-q", *base, "/lab/disk.qcow2"), what=f"making the disk of {name}")
    part = paths.vm_files.with_suffix(".part")
    run(["tar", "-C", paths.upper, "-cf", part, "."])
    part.rename(paths.vm_files)


def start(lab: LabPaths, name: str, ip: str, kernel: str, memory_bytes: int) -> Process:
    """Switches a node on that is off; `await_up` waits for it."""
    group = lab.node_cgroup(cgroup.root(), name)
    network.plug_vm(lab, name)
    cgroup.make(group)
    enter = 'echo 0 > "$1/cgroup.procs" && shift && exec "$@"'
    argv = ["sh", "-c", enter, "sh", str(group), "nsenter", f"--net=/run/netns/{lab.switch_netns}"]
    argv += _in_tools(lab, name, *qemu_argv(lab, name, ip, kernel, memory_bytes))
    with lab.node(name).log.open("a") as log:
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True)


def qemu_argv(lab: LabPaths, name: str, ip: str, kernel: str, memory_bytes: int) -> list[str]:
    """QEMU's own words, with paths as it sees them."""
    series = f"/image/kernels/{kernel}"
    return [
        *("qemu-system-x86_64", "-name", f"{lab.name}-{name}", "-nodefaults", "-no-user-config", "-display", "none"),
        *("-machine", "q35,accel=tcg", "-cpu", "max", "-smp", "1", "-m", f"{memory_bytes >> 20}M"),
        *("-kernel", f"{series}/vmlinuz", "-initrd", f"{series}/initrd", "-append", CMDLINE.format(node=name, ip=ip)),
        *("-serial", "stdio", "-device", "virtio-rng-pci"),
        *("-drive", "file=/lab/disk.qcow2,format=qcow2,if=virtio"),
        *("-drive", "file=/lab/files.tar,format=raw,if=virtio,readonly=on"),
        *("-netdev", f"tap,id=net,ifname={name},script=no,downscript=no"),
        *("-device", f"virtio-net-pci,netdev=net,mac={network.node_mac(ip)},romfile="),
    ]


def await_up(lab: LabPaths, name: str, ip: str, process: Process | None = None, other_than: str = "") -> None:
    """Waits until the node answers by ssh, in another boot than one; no longer once `process`, if given, has ended."""
    deadline = time.monotonic() + BOOT_TIMEOUT_S
    while boot_id(lab, ip) in ("", other_than):
        if process is not None and process.poll() is not None:
            raise LabError(f"node {name} of lab {lab.name} went off as it booted: {node.last_words(lab, name)}")
        if time.monotonic() > deadline:
            raise LabError(
                f"node {name} of lab {lab.name} is not up after {BOOT_TIMEOUT_S} s: {node.last_words(lab, name)}"
            )
        time.sleep(0.2)


def boot_id(lab: LabPaths, ip: str) -> str:
    """The id of the boot that the node is in, or nothing when it does not answer."""
    try:
        with socket.create_connection((ip, 22), timeout=2) as connection:  # first, because it ends sooner than ssh
            if connection.recv(4) != b"SSH-":
                return ""
        return run(
            ssh_argv(lab, ip, ["cat", "/proc/sys/kernel/random/boot_id"]), timeout_s=SSH_TIMEOUT_S
        ).stdout.strip()
    except (OSError, LabError):
        return ""


def reboot(lab: LabPaths, name: str, ip: str) -> None:
    """Reboots the machine from inside, as its operator would, and waits until it is up in another boot."""
    before = boot_id(lab, ip)
    if not before:
        raise LabError(
            f"node {name} of lab {lab.name} does not answer by ssh; end it, and boot it again: "
            f"migrator lab crash {name} --name {lab.name}"
        )
    run(ssh_argv(lab, ip, ["reboot"]), timeout_s=SSH_TIMEOUT_S, what=f"reboot of {name}")
    await_up(lab, name, ip, other_than=before)


def ssh_argv(lab: LabPaths, ip: str, command: Sequence[str]) -> list[str]:
    """The argv that runs a command on the node over ssh, with its host key checked."""
    options = {
        "IdentityFile": str(lab.key),
        "UserKnownHostsFile": str(lab.known_hosts),
        "StrictHostKeyChecking": "yes",
        "IdentitiesOnly": "yes",
        "BatchMode": "yes",
        "LogLevel": "ERROR",
        "ConnectTimeout": "10",
    }
    words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    return ["ssh", "-F", "none", *words, f"root@{ip}", "--", shlex.join(command)]


def _in_tools(lab: LabPaths, name: str, *program: str) -> list[str]:
    """The argv that runs one of the image's tools: it sees the image as /image, the node's directory as /lab."""
    image = lab.node(name).vm_image.read_text().strip()
    if not Path(image).exists():
        raise LabError(
            f"node {name} of lab {lab.name} was made from an image that another has replaced; make the lab anew: "
            f"migrator lab down --name {lab.name}"
        )
    return ["unshare", "--mount", "sh", str(GUEST / "run-vm"), image, str(lab.node(name).dir), *program]
