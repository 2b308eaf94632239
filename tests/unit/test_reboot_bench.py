"""What is read of hroller, and what the page says of it."""

from __future__ import annotations

from migrator.demo.cost import Cost
from migrator.demo.reboot_bench import Groups, groups_of, section

SAID = "'Node Reboot Groups'\nn00000,n00001\nn00002\n"


def test_a_line_of_names_is_a_group_and_a_heading_is_none() -> None:
    assert groups_of(SAID) == 2
    assert groups_of("Error: no such file\n") == 0


def test_the_section_tells_both_numbers_and_what_no_plan_can_be_below() -> None:
    cost = Cost(24.9, 27.2, 300_000_000, 0)
    told = section([Groups(1000, True, 2, 2, cost, 2, cost), Groups(20, False, 3, 2, cost, None, None)])
    assert "| 1,000 nodes, 10,000 containers | given | 2 | 2 | 24.9 s | 300 MB | 2 | 24.9 s |" in told
    assert "| 20 nodes, 200 containers | made | 3 | 2 | 24.9 s | 300 MB | not here | - |" in told
