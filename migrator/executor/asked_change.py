"""What a person asks to be changed of a container, checked: each fault names its option."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from migrator.errors import BadInput, quoted
from migrator.executor.limit_words import parse_change
from migrator.executor.surroundings import NONE
from migrator.executor.wanted import parse_addresses, parse_gateways, parse_pairs
from migrator.model import ports
from migrator.model.limits import Change

Words = tuple[str, ...]


def parse_asked(
    *,
    ips: Words = (),
    gateways: Words = (),
    published: Words = (),
    env: Words = (),
    labels: Words = (),
    restart: Literal["no", "always"] | None = None,
    **words: Any,
) -> Change:
    """All that `ct set` was given; `words` are limits and surroundings, as `parse_change` takes them.

    Addresses, gateways and ports are the new list, of which "none" takes all gateways or ports away; of the environment
    and of labels KEY=none takes one away.
    """
    change = parse_change(**words)
    around = replace(
        change.around,
        addresses=parse_addresses(ips) if ips else None,
        gateways=_listed_gateways(gateways),
        published=_listed_ports(published),
        env=_pairs("--env", env),
        labels=_pairs("--label", labels),
        restart=restart,
    )
    return replace(change, around=around)


def _listed_gateways(words: Words) -> Words | None:
    if not words:
        return None
    return () if words == NONE else tuple(filter(None, parse_gateways(words)))


def _listed_ports(words: Words) -> tuple[ports.Port, ...] | None:
    """Each by itself; what they have to do with each other and with addresses is known with the container."""
    if not words:
        return None
    found = []
    for text in words if words != NONE else ():
        try:
            found.append(ports.parse(text))
        except ValueError as error:
            raise BadInput(f"--publish {quoted(text)}: {error}") from error
    return tuple(found)


def _pairs(option: str, words: Words) -> dict[str, str | None]:
    return {key: None if value == "none" else value for key, value in parse_pairs(option, words).items()}
