from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Say


def test_it_says_where_the_shell_is(say: Say, project: Path) -> None:
    assert say("set mode=slow; pwd") == (0, f"{project}\n", "project demo, config tiny, 1 pending\n")
