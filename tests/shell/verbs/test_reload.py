from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Say


def test_the_files_are_read_now(say: Say, project: Path) -> None:
    assert say("reload") == (0, "", "project demo, config tiny, 2 files read\n")
    (project / "configs" / "size" / "small.yaml").write_text("dim: ${nosuch}\n")
    code, _, errors = say("reload")
    assert (code, "nosuch" in errors) == (2, True)
