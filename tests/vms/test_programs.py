"""A program of the namespace lab, by pre-copy: the same test, between machines whose kernels track what is written."""

from __future__ import annotations

import pytest

from tests.lab.programs.conftest import Actor, Make
from tests.lab.programs.test_servers import (
    test_threads_timers_pipes_events_signals_watches_and_socket_pairs_go_on as test_all_that_a_kernel_gives_goes_on,
)
from tests.lab.stage import Stage
from tests.vms.test_moves import BLACKOUT, LIMIT_BYTES

__all__ = ["test_all_that_a_kernel_gives_goes_on"]

PRE_COPY = ("--mode", "pre-copy", "--target-blackout", "60", *BLACKOUT)


@pytest.fixture
def make(vms: Stage) -> Make:
    """Makes a container on n1: make(name, *command)."""

    def made(name: str, *command: str) -> Actor:
        ip = vms.ip(1)
        options = ("--node", "n1", "--template", "debian", "--ip", ip, "--memory", str(2 * LIMIT_BYTES))
        vms.ok("ct", "create", name, *options, "--", *command)
        return Actor(vms, name, (ip,), PRE_COPY)

    return made
