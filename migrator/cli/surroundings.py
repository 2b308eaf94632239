"""Options for a container's confinement and network, for all commands that make or change one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

Command = Callable[..., Any]

_OPTIONS = (
    click.option("--hostname", help="What it calls itself (default: its name)."),
    click.option("--nameserver", "nameservers", multiple=True, help="An address that it asks for names; up to 3."),
    click.option("--search", multiple=True, metavar="DOMAIN", help="Where it looks for short names; up to 6."),
    click.option(
        "--route", "routes", multiple=True, metavar="NETWORK=GATEWAY", help="A further route; may be repeated."
    ),
    click.option(
        "--sysctl", "sysctls", multiple=True, metavar="NAME=VALUE", help="One of its own network; may be repeated."
    ),
    click.option("--firewall", metavar="FILE", help="Rules for nft in its network, loaded before it is reached."),
    click.option("--device", "devices", multiple=True, help="A device by request: fuse, tun; may be repeated."),
    click.option(
        "--cap-add", multiple=True, metavar="NAME", help="A capability that containers do not have by default."
    ),
    click.option("--cap-drop", multiple=True, metavar="NAME", help="One that they have, or ALL."),
    click.option(
        "--seccomp",
        type=click.Choice(("default", "off")),
        default="default",
        show_default=True,
        help="Whether dangerous system calls, and those that no move carries, are denied.",
    ),
    click.option("--new-privileges", is_flag=True, help="Let programs gain privileges, as sudo, su and ping do."),
)


_CHANGES = (
    click.option("--hostname", metavar="NAME|none", help="What it calls itself; none for its own name."),
    click.option("--nameserver", "nameservers", multiple=True, metavar="IP|none", help="All that it asks for names."),
    click.option("--search", multiple=True, metavar="DOMAIN|none", help="All where it looks for short names."),
    click.option(
        "--route", "routes", multiple=True, metavar="NETWORK=GATEWAY|none", help="A further route; others stay."
    ),
    click.option("--sysctl", "sysctls", multiple=True, metavar="NAME=VALUE|none", help="One of its own network."),
    click.option("--firewall", metavar="FILE|none", help="Rules for nft in its network, in place of all there are."),
    click.option("--device", "devices", multiple=True, metavar="NAME|none", help="All its devices by request."),
    click.option("--label", "labels", multiple=True, metavar="KEY=VALUE|none", help="For rules; others stay."),
    click.option(
        "--restart", type=click.Choice(("no", "always")), help="Whether its node starts it again, and at boot."
    ),
    click.option("--ip", "ips", multiple=True, help="All addresses of its first card; only while it is stopped."),
    click.option("--gateway", "gateways", multiple=True, metavar="IP|none", help="Its default routes; as --ip."),
    click.option(
        "--publish", "published", multiple=True, metavar="PORT:CTPORT|none", help="All ports it publishes; as --ip."
    ),
    click.option("--env", multiple=True, metavar="KEY=VALUE|none", help="Environment, others stay; as --ip."),
)


def changing_options(command: Command) -> Command:
    """Of those the ones that a container can be given later."""
    for option in reversed(_CHANGES):
        command = option(command)
    return command


def surroundings_options(command: Command) -> Command:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
