"""Links: those that a move takes, and whether a set of shared ones can be a tree."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from migrator.model.facts import SharedLink


def taken(source: str, target: str, shared: Iterable[SharedLink]) -> tuple[str, ...]:
    """The links that a move takes, in words, sorted; up and down are two, for cables carry both ways at one time."""
    over = [link for link in shared if link.crossed(source, target)]
    ways = (f"link {link.name} {'up' if source in link.nodes else 'down'}" for link in over)
    return tuple(sorted((f"node {source} up", f"node {target} down", *ways)))


def tangled(links: Sequence[SharedLink]) -> str:
    """What is wrong with these links together, or "": of any two, one has all nodes of the other or none."""
    names = [link.name for link in links]
    for place, link in enumerate(links):
        if link.name in names[:place]:
            return f"{link.name!r} is the name of two links"
        if any(speed is not None and speed <= 0 for speed in (link.up_bytes_per_s, link.down_bytes_per_s)):
            return f"{link.name!r} has no speed"
        mine = set(link.nodes)
        for other in links[:place]:
            theirs = set(other.nodes)
            if mine == theirs:
                return f"{link.name!r} and {other.name!r} are of the same nodes"
            if mine & theirs and not (mine < theirs or theirs < mine):
                shared = min(mine & theirs)
                return f"{shared} is behind {other.name!r} and behind {link.name!r}, and neither is behind the other"
    return ""
