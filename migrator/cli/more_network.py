"""Options for network cards beside the first, and for published ports, for all commands that make a container."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

Command = Callable[..., Any]

_OPTIONS = (
    click.option(
        "--nic",
        "nics",
        multiple=True,
        metavar="NAME=BRIDGE,IP[,IP...][,mac=MAC]",
        help="A card beside eth0, as eth1=br1,10.1.0.7/24, on a bridge that its nodes have; may be repeated.",
    ),
    click.option(
        "--publish",
        "published",
        multiple=True,
        metavar="[HOSTIP:]PORT:CTPORT[/udp]",
        help="A port of its node that leads to one of its own, where it has no network of its own; may be repeated.",
    ),
)


def more_network(command: Command) -> Command:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
