"""What a container's first process needs of its node, and how it is asked to end."""

from __future__ import annotations

import re
from typing import Protocol

DEFAULT_COMMAND = ("/sbin/init",)
GROUP_NEEDED = "an init of kind systemd divides a control group of version 2, and this node's are of version {}"

# Numbers of the signals by which programs are asked to end, signal(7); equal on x86 and ARM.
_NUMBERS = {"HUP": 1, "INT": 2, "QUIT": 3, "USR1": 10, "USR2": 12, "TERM": 15, "PWR": 30, "WINCH": 28}
_REAL_TIME = re.compile(r"RTMIN\+(0|[1-9]|[12][0-9]|30)")
_RTMIN = 34  # of glibc and musl, which keep the first ones for themselves
_USUAL = {"plain": "TERM", "systemd": "RTMIN+3"}


class Ended(Protocol):
    """A container, as far as this is concerned."""

    @property
    def init(self) -> str: ...
    @property
    def stop_signal(self) -> str: ...


def signal(text: str) -> str:
    """A signal's name as we write it, for one as people do (SIGTERM, term, sigrtmin+3)."""
    return text.upper().removeprefix("SIG")


def number_of(name: str) -> int:
    """The number of a signal that may ask a container to end; 0 for a name that is none of them."""
    if _REAL_TIME.fullmatch(name):
        return _RTMIN + int(name.removeprefix("RTMIN+"))
    return _NUMBERS.get(name, 0)


def stop_number(ct: Ended) -> int:
    """The number of the signal that asks this container to end."""
    return number_of(ct.stop_signal or _USUAL[ct.init])


def signal_fault(name: str) -> str:
    """Why this is no signal by which a container is stopped, or ""."""
    known = ", ".join(_NUMBERS)
    return "" if number_of(name) else f"none that asks a program to end; those are: {known}, RTMIN+0 to RTMIN+30"


def lacks_group(ct: Ended, cgroup_version: int) -> str:
    """Why a container cannot be on a node with cgroups of this version (0: not told), or ""."""
    return GROUP_NEEDED.format(cgroup_version) if ct.init == "systemd" and cgroup_version == 1 else ""
