from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Say


def test_a_change_is_taken_back(say: Say) -> None:
    assert say("set mode=slow; undo; show --path mode") == (0, "fast\n", "project demo, config tiny\n")
    assert say("undo") == (2, "", "error: there is nothing to undo\n")
