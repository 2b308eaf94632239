"""What keeps the connections that a container's rules track from going with it, by what its source tells of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from migrator.model.facts import NodeFacts

CONNECTIONS_MAX = 16_384  # the kit's own bound, in connections.py
FEATURE = "conntrack"


def untracked(counts: Iterable[str], translates: bool, target: NodeFacts) -> Iterator[str]:
    """Every reason against the move, from the numbers of connections that the source tells of, and whether its rules
    translate. A target that cannot make them leaves it to CRIU, which forgets translations. ValueError says what no
    honest source tells.
    """
    able = FEATURE in target.features
    if translates and not able:
        yield (
            "its own nft rules translate addresses, and open connections through them would be lost: "
            f"{target.name} cannot make them; it needs Python 3.10 and a kernel with nf_conntrack_netlink"
        )
    for text in counts:
        if not (text.isascii() and text.isdigit() and len(text) <= 9):
            raise ValueError(f"it tells of {text[:40]!r} tracked connections")
        if able and int(text) > CONNECTIONS_MAX:
            yield (
                f"its own nft rules track {text} connections, and at most {CONNECTIONS_MAX} go with it; wait until "
                "there are fewer, or have those that are over end sooner (nf_conntrack_tcp_timeout_time_wait, inside)"
            )
