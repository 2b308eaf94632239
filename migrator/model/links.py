"""Links: those that a move takes, how fast the shared ones are, and whether a set of these can be a tree."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from migrator.model.facts import SharedLink


def taken(source: str, target: str, shared: Iterable[SharedLink]) -> tuple[str, ...]:
    """The links that a move takes, in words, sorted; up and down are two, for cables carry both ways at one time."""
    over = [link for link in shared if link.crossed(source, target)]
    ways = (f"link {link.name} {'up' if source in link.nodes else 'down'}" for link in over)
    return tuple(sorted((f"node {source} up", f"node {target} down", *ways)))


class Crossings:
    """Which of the links that nodes share a move crosses; known by node, so that it is not asked of each link."""

    def __init__(self, shared: Iterable[SharedLink] = ()) -> None:
        behind: dict[str, list[SharedLink]] = {}
        for link in shared:
            for node in link.nodes:
                behind.setdefault(node, []).append(link)
        self._behind = {node: tuple(links) for node, links in behind.items()}

    def behind(self, node: str) -> tuple[SharedLink, ...]:
        """The links that this node shares with others."""
        return self._behind.get(node, ())

    def speeds(self, source: str, target: str) -> tuple[int, ...]:
        """Bytes a second of those that are crossed between two nodes, where they are declared."""
        mine, theirs = self.behind(source), self.behind(target)
        if mine == theirs:
            return ()
        up = [link.up_bytes_per_s for link in mine if link not in theirs]
        down = [link.down_bytes_per_s for link in theirs if link not in mine]
        return tuple(speed for speed in (*up, *down) if speed)


NONE_SHARED = Crossings()


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
