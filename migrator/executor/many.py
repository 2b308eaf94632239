"""Many alike: what a person asks of one container, counted up."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

from migrator.errors import BadInput, quoted
from migrator.executor.wanted import Wanted
from migrator.model.address import canonical


def numbered(name: str, ips: tuple[str, ...], count: int, **given: Any) -> Iterator[Wanted]:
    """NAME-1 to NAME-count, each of whose addresses is the next one in its network after that of the one before."""
    for option, words in (("--nic", given.get("nics")), ("--publish", given.get("published"))):
        if words:
            raise BadInput(f"{option}: its addresses and ports are for one container alone; leave out --count")
    for number in range(count):
        yield Wanted.parse(name=f"{name}-{number + 1}", ips=tuple(_after(ip, number) for ip in ips), **given)


def _after(text: str, number: int) -> str:
    try:
        first = ipaddress.ip_interface(canonical(text))
    except ValueError as error:
        raise BadInput(f"--ip {quoted(text)}: {error}") from error
    address = first.ip + number
    if address not in first.network and first.network.num_addresses > 1:  # one alone says nothing of its neighbours
        raise BadInput(f"--ip {quoted(text)}: its network ends before --count does")
    return f"{address}/{first.network.prefixlen}"
