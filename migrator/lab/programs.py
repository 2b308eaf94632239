"""A second template for containers: the `debian` one and servers that real migrations are tried with."""

from __future__ import annotations

from migrator.lab.further import Further

PROGRAMS = Further("programs", ("etcd-server", "nginx-light", "postgresql", "python3-lmdb"), 1_500_000_000)
