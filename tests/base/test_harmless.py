"""What would command a terminal is shown; what only colours is left."""

from __future__ import annotations

import pytest

from forge.base.harmless import harmless


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, of one\tline\nand another: ä €", "plain, of one\tline\nand another: ä €"),
        ("\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\x1b]52;c;aGk=\x07", "\\x1b]52;c;aGk=\\x07"),
        ("over\rwritten\x08", "over\\x0dwritten\\x08"),
        ("\x9b2J\x7f", "\\x9b2J\\x7f"),
    ],
)
def test_commands_are_written_out(text: str, shown: str) -> None:
    assert harmless(text) == shown
