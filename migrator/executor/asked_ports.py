"""What a person asks of published ports, checked: each fault names its option."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migrator.errors import BadInput, Refused, quoted
from migrator.model import ports
from migrator.model.container import Descriptor

if TYPE_CHECKING:
    from migrator.model.facts import NodeFacts
    from migrator.transport.base import Node


def asked_ports(given: tuple[str, ...], addresses: tuple[str, ...]) -> tuple[ports.Port, ...]:
    """Ports of a container whose first card has these addresses. BadInput says what is wrong with which."""
    found = []
    for text in given:
        try:
            found.append(ports.parse(text))
        except ValueError as error:
            raise BadInput(f"--publish {quoted(text)}: {error}") from error
    if wrong := ports.fault(tuple(found), addresses):
        raise BadInput(f"--publish: {wrong}")
    return tuple(found)


async def refuse_ports(node: Node, facts: NodeFacts, ct: Descriptor) -> None:
    """Refuses ports that the node cannot publish: another container's, in use, or with no way back from it."""
    if not ct.published:
        return
    from migrator.steps.ports import findings  # noqa: PLC0415   (with it come all steps of a migration)

    for why in (*ports.lacking(ct.name, ct.published, facts.containers), *await findings(node, ct)):
        raise Refused(f"--publish: on node {node.name}: {why}")
