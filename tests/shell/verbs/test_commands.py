from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Say


def test_only_what_the_command_line_has_is_listed(say: Say) -> None:
    out = say("commands")[1]
    assert "\n  show, pp" in out
    assert "\n  undo" not in out
    assert "\n  undo" in say("help")[1]
