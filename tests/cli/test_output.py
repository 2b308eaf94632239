"""Tables as they are printed: for no terminal by hand, exactly as the one for terminals would be."""

from __future__ import annotations

import pytest

from migrator.cli.output import WIDTH_MAX, _print_rich, print_table

TABLES = [
    [["A", "BB", "CCC"], ["1", "22", "3"], ["long text", "x", ""], ["", "", "zzzzzz"]],
    [["ONE"], ["a [b] :smile: \\ c"], [""]],
    [["NONE", "AT ALL"]],
]


@pytest.mark.parametrize("cells", TABLES)
def test_a_table_for_no_terminal_is_as_rich_would_have_it(cells, capsys):
    print_table(cells[0], cells[1:])
    ours = capsys.readouterr().out
    _print_rich(cells, WIDTH_MAX)
    assert ours == capsys.readouterr().out


def test_text_that_is_wider_than_its_characters_is_still_aligned(capsys):
    print_table(["A", "B"], [["\u6f22\u5b57", "x"], ["abcd", "y"]])
    assert capsys.readouterr().out == "A     B\n\u6f22\u5b57  x\nabcd  y\n"
