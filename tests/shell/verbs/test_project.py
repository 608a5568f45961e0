from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Say

    from forge.shell.state import ShellSession


def test_a_project_is_chosen_by_name_without_going_there(say: Say, shell: ShellSession, project: Path) -> None:
    left = "1 pending change stayed behind; `undo` brings them back\n"
    assert say("set mode=slow; project pydoc") == (0, "", f"{left}project pydoc, config pretrain/tiny\n")
    assert os.getcwd() == str(project)
    assert shell.prompt == "forge:pydoc> "
    assert "nosuch" in say("project nosuch")[2]
    assert say("undo; pwd")[2].endswith("project demo, config tiny, 1 pending\n")


def test_without_a_name_they_are_listed(say: Say) -> None:
    lines = say("project")[1].splitlines()
    assert any(re.fullmatch(r" \* demo +A small project\.", line) for line in lines)
    assert any(line.startswith("   pydoc   ") for line in lines)


def test_a_project_stays_chosen_when_the_folder_changes(
    say: Say, shell: ShellSession, project: Path, empty: Path
) -> None:
    say(f"cd {empty}; project ../demo")
    assert shell.project == str(project)
