"""The proof that a container's volumes are the same storage on both nodes: by a marker, never by name.

The source writes a file of a fresh random name into the volume, and the target has to find it, with the same word in
it, at its own path. NFS remembers for seconds that a name is not there: of this one no node can have heard before. Each
volume has a word of its own, so two that are exchanged on the target are found too.
"""

from __future__ import annotations

import secrets

from migrator.errors import MigratorError, Refused
from migrator.model.volume import Volume
from migrator.steps.base import Move

SAID_CHARS_MAX = 300  # of what a node says in words of its own


async def prove(move: Move) -> None:
    """Refused, with all that was found, unless each volume of the container is the same storage on both nodes."""
    if found := await findings(move):
        raise Refused(f"container {move.name} cannot move to {move.target.node.name}: {'; '.join(found)}")


async def findings(move: Move) -> list[str]:
    """A reason for each volume that is not known to be the same storage on both nodes. Nobody is asked without any."""
    there = move.target.facts.volumes
    asked = [volume for volume in move.descriptor.volumes if volume.name in there and not there[volume.name].fault]
    return [found for volume in asked if (found := await _finding(move, volume))]


async def _finding(move: Move, volume: Volume) -> str:
    source, target, name = move.source.node, move.target.node, volume.name
    path, word = move.target.facts.volumes[name].path, secrets.token_hex(16)
    try:
        # A second try writes nothing anew: the marker is there, and with its word.
        made = await source.call("mark-volume", move.name, name, word)
        seen = await target.call("see-mark", path, move.descriptor_there.id_base, word)
    finally:
        await _unmark(move, name, word)
    for answer in (made, seen):
        if fault := answer.get("fault"):
            return f"volume {name} on {answer.node}: {fault[:SAID_CHARS_MAX]}"
    if seen.get("mark") == word:
        return ""
    here = made.get("path")[:SAID_CHARS_MAX]
    return (
        f"volume {name} is not the same storage on {source.name} ({here}) and on {target.name} ({path}): a marker that "
        f"{source.name} wrote is not seen on {target.name}; mount the same export on both"
    )


async def _unmark(move: Move, name: str, word: str) -> None:
    """A marker that cannot be removed is of no harm, and removed with the next."""
    try:
        await move.source.node.call("unmark-volume", move.name, name, word, tries=1)
    except MigratorError:
        return
