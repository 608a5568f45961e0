from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Say


def test_a_change_is_made_again(say: Say) -> None:
    assert say("set mode=slow; undo; redo; show --path mode")[1] == "slow\n"
    assert say("redo") == (2, "", "error: there is nothing to redo\n")
