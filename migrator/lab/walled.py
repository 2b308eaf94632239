"""A template for containers that have rules of their own: the `debian` one with iptables, as Debian has it, and nft."""

from __future__ import annotations

from migrator.lab.further import Further

WALLED = Further("walled", ("iptables", "nftables"), 1_000_000_000)
