"""What keeps the connections that a container's rules track from going with it, by what its source tells of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from migrator.model.facts import NodeFacts

CONNECTIONS_MAX = 16_384  # the kit's own bound, in connections.py
FEATURE = "conntrack"


def untracked(told: Iterable[str], source: NodeFacts, target: NodeFacts) -> Iterator[str]:
    """Every reason against the move, from the numbers of connections that the source has `told` of: none where no rule
    asks for them. ValueError says what no honest source tells.
    """
    for text in told:
        if not (text.isascii() and text.isdigit() and len(text) <= 9):
            raise ValueError(f"it tells of {text[:40]!r} tracked connections")
        for node in (source, target):
            if FEATURE not in node.features:
                yield (
                    f"its own nft rules track connections, which would be lost: {node.name} cannot read or make them; "
                    "it needs Python 3.10 and a kernel with nf_conntrack_netlink"
                )
        if int(text) > CONNECTIONS_MAX:
            yield (
                f"its own nft rules track {text} connections, and at most {CONNECTIONS_MAX} go with it; wait until "
                "there are fewer, or have those that are over end sooner (nf_conntrack_tcp_timeout_time_wait, inside)"
            )
