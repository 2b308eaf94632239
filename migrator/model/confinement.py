"""What a container may do beside running programs: capabilities, the filter of system calls, devices.

All of it is within the container's own user namespace: a capability there is none over the node. Most are dropped, and
what is given is a list that a description names.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Protocol

# What programs of a system use on their own files, users and network; NET_ADMIN because the network is the container's.
CAPABILITIES = (
    *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_ADMIN", "NET_BIND_SERVICE"),
    *("NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
)
# What may be added: those that mean something in a user namespace. The others ask for the machine's own, and would
# promise what the kernel does not give (SYS_MODULE, SYS_TIME, SYS_RAWIO, ...).
ADDABLE = (
    *("DAC_READ_SEARCH", "IPC_LOCK", "IPC_OWNER", "LEASE", "LINUX_IMMUTABLE", "NET_BROADCAST", "SYS_ADMIN", "SYS_BOOT"),
    *("SYS_NICE", "SYS_PTRACE", "SYS_RESOURCE", "SYS_TTY_CONFIG"),
)
ALL = "ALL"
SWITCHES_USER = ("SETGID", "SETUID")  # without which nobody becomes another user

DEVICES = {"fuse": "/dev/fuse", "tun": "/dev/net/tun"}  # by request; their numbers are the kernel's own, everywhere
NUMBERS = {"fuse": (10, 229), "tun": (10, 200)}  # Documentation/admin-guide/devices.txt
NO_LOOP = (
    "loop devices are the whole node's, of every container on it, and the kernel mounts none of them in a user "
    "namespace; mount an image by fuse (--device fuse, fuse2fs), or give the container a volume"
)


class Confined(Protocol):
    """A container, as far as this is concerned."""

    @property
    def user(self) -> str | None: ...
    @property
    def cap_add(self) -> tuple[str, ...]: ...
    @property
    def cap_drop(self) -> tuple[str, ...]: ...
    @property
    def devices(self) -> tuple[str, ...]: ...


def capabilities(ct: Confined) -> tuple[str, ...]:
    """What it has, in the order of the alphabet."""
    kept = () if ALL in ct.cap_drop else CAPABILITIES
    return tuple(sorted((set(kept) | set(ct.cap_add)) - set(ct.cap_drop)))


def capability(text: str) -> str:
    """A capability's name as we write it, for one as people do (net_raw, CAP_NET_RAW)."""
    return text.upper().removeprefix("CAP_")


def add_fault(names: Collection[str]) -> str:
    """Why these capabilities are not added, or ""."""
    wrong = next((name for name in names if name not in (*CAPABILITIES, *ADDABLE)), None)
    if wrong is not None:
        return f"{wrong[:60]!r}: none that is given in a user namespace; those are: {', '.join(ADDABLE)}"
    return _twice(names)


def drop_fault(names: Collection[str]) -> str:
    """Why these are not dropped, or ""."""
    wrong = next((name for name in names if name not in (*CAPABILITIES, ALL)), None)
    if wrong is not None:
        return f"{wrong[:60]!r}: none that a container has by itself; those are ALL, or of: {', '.join(CAPABILITIES)}"
    return _twice(names)


def user_fault(ct: Confined) -> str:
    """Why its command could not become its user, or ""."""
    missing = [name for name in SWITCHES_USER if name not in capabilities(ct)]
    return f"nobody becomes user {ct.user} without {' and '.join(missing)}" if ct.user and missing else ""


def devices_fault(names: Collection[str]) -> str:
    """Why it cannot have these devices, or ""."""
    if "loop" in names:
        return f"'loop': {NO_LOOP}"
    wrong = next((name for name in names if name not in DEVICES), None)
    if wrong is not None:
        return f"{wrong[:60]!r}: not one that is given by request; those are {', '.join(DEVICES)}"
    return _twice(names)


def _twice(names: Collection[str]) -> str:
    twice = next((name for name in names if list(names).count(name) > 1), "")
    return f"{twice} is there twice" if twice else ""


def fault(ct: Confined) -> str:
    """The field that no container of ours has like this, or ""."""
    checks = {
        "cap_add": not add_fault(ct.cap_add),
        "cap_drop": not drop_fault(ct.cap_drop) and not user_fault(ct),
        "devices": not devices_fault(ct.devices),
    }
    return next((name for name, holds in checks.items() if not holds), "")


def devices_lacking(wanted: Collection[str], there: Collection[str]) -> Iterator[str]:
    """Which of a container's devices a node does not have, with what to do."""
    for name in wanted:
        if name not in there:
            yield f"device {name} ({DEVICES[name]}) is not there; load its module, or choose a node that has it"
