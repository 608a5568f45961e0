from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Say


def test_they_are_listed_as_a_one_liner_takes_them(say: Say) -> None:
    assert say("overrides") == (0, "", "nothing is set; `set a.b=1` changes a value for the lines that follow\n")
    assert say("set mode=slow +new=[1,2]; overrides")[1] == "mode=slow\n+new=[1,2]\n"
