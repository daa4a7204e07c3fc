"""What comes out of a message is text for the terminal, never a command to it."""

from __future__ import annotations

from celeriac.cli.tables import harmless


def test_control_characters_are_shown() -> None:
    assert harmless("\x1b[31mred\x07") == "\\x1b[31mred\\x07"


def test_text_of_any_script_lines_and_tabs_stay() -> None:
    assert harmless("订单\t12\nпривет") == "订单\t12\nпривет"
