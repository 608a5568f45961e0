from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from forge.base.errors import UsageError
from forge.shell.state import SHELL_VERBS, Choice, ShellSession

if TYPE_CHECKING:
    from pathlib import Path


def test_every_choice_can_be_undone_and_made_again(shell: ShellSession, project: Path, empty: Path) -> None:
    start = shell.choice
    choices = [
        Choice(str(project), str(project), "tiny"),
        Choice(str(project), str(project), "tiny", ("mode=slow",)),
        Choice(str(empty)),
    ]
    for choice in choices:
        shell.choose(choice)
    assert os.getcwd() == str(empty)
    seen = [shell.choice]
    for _ in choices:
        shell.undo()
        seen.append(shell.choice)
    assert seen == [*reversed(choices), start]
    assert os.getcwd() == str(project)
    with pytest.raises(UsageError, match="nothing to undo"):
        shell.undo()
    for choice in choices:
        shell.redo()
        assert shell.choice == choice
    with pytest.raises(UsageError, match="nothing to redo"):
        shell.redo()


def test_the_same_choice_again_is_no_step_and_another_one_ends_redo(shell: ShellSession) -> None:
    shell.choose(shell.choice)
    assert shell.past == []
    shell.choose(shell.choice._replace(config="tiny"))
    shell.undo()
    shell.choose(shell.choice._replace(config="other"))
    assert shell.future == []


def test_a_folder_that_is_gone_leaves_the_choice_as_it_is(shell: ShellSession, empty: Path) -> None:
    here = shell.choice
    shell.choose(Choice(str(empty)))
    shell.choose(here)
    empty.rmdir()
    with pytest.raises(FileNotFoundError):
        shell.undo()
    assert shell.choice == here
    assert len(shell.past) == 2


def test_the_prompt_names_what_was_chosen(shell: ShellSession, empty: Path) -> None:
    assert shell.prompt == "forge:demo> "
    shell.config = "large/1gpu_default"
    assert shell.prompt == "forge:demo [large/1gpu_default.yaml]> "
    (empty / "project.yaml").write_text("- broken")
    os.chdir(empty)
    shell.config = None
    assert shell.prompt == "forge> "
    assert "project.yaml" in shell.where


def test_the_shell_has_the_verbs_of_the_command_line_and_its_own() -> None:
    names = {verb.name for verb in SHELL_VERBS.all}
    assert {"show", "train", "cd", "set", "undo"} <= names
    assert SHELL_VERBS.find("quit") is SHELL_VERBS.find("exit")
