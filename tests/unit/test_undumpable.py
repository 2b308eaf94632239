"""What a source tells of what CRIU cannot dump, in words; and what no honest source tells."""

from __future__ import annotations

import pytest

from migrator.protocol.undumpable import LISTED_MAX, reasons


def test_a_reason_names_the_process_what_it_is_and_what_helps() -> None:
    told = reasons(["handle 12 python3 io_uring", "multicast 1 dnsmasq 030201EF"], python_at_target=True)
    assert told[0].startswith("process 12 (python3) uses io_uring, which CRIU cannot dump; have it run without")
    assert "multicast group 239.1.2.3" in told[1]


def test_locks_are_a_reason_only_where_nobody_can_take_them_again() -> None:
    line = "locks 7 python3 /srv/lock.mdb"
    assert reasons([line], python_at_target=True) == []
    assert "install python3 on the target" in reasons([line], python_at_target=False)[0]


def test_many_of_a_kind_are_told_in_short() -> None:
    told = reasons([f"traced {pid} sh -" for pid in range(1, 60)], python_at_target=True)
    assert (len(told), told[-1]) == (LISTED_MAX + 1, f"and {59 - LISTED_MAX} more of the kind")


@pytest.mark.parametrize(
    "line", ["", "handle", "what 1 sh -", "handle x sh -", "handle 1 a b\x1b", "handle 1 sh " + "x" * 201]
)
def test_what_no_honest_node_tells_is_an_error(line: str) -> None:
    with pytest.raises(ValueError, match="where something that CRIU cannot dump should be"):
        reasons([line], python_at_target=True)
