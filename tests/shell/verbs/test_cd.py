from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Say

    from forge.shell.state import ShellSession


def test_a_folder_brings_its_project(say: Say, shell: ShellSession, project: Path, empty: Path) -> None:
    assert say("config other; set mode=slow")[0] == 0
    left, where = say(f"cd {empty}")[2].splitlines()
    assert left == "1 pending change stayed behind; `undo` brings them back"
    assert where == "project pydoc, config pretrain/tiny"  # the one that comes with forge
    assert (os.getcwd(), shell.config, shell.overrides) == (str(empty), None, ())
    assert say(f"cd '{project}/configs'")[2] == "project demo, config tiny\n"
    assert say("cd -")[0] == 0
    assert os.getcwd() == str(empty)
    assert say("undo; undo; undo")[2].endswith("project demo, config other, 1 pending\n")
    assert os.getcwd() == str(project)


def test_home_and_a_folder_that_is_not_there(say: Say, project: Path, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    assert say("cd")[0] == 0
    assert os.getcwd() == str(tmp_path / "home")
    code, _, errors = say("cd nowhere")
    assert (code, errors.splitlines()[0]) == (2, "error: there is no folder nowhere")
    assert project.is_dir()


def test_what_is_set_comes_along_inside_one_project(say: Say, shell: ShellSession, project: Path) -> None:
    say("config other; set mode=slow")
    steps = len(shell.past)
    assert say("cd configs")[2] == "project demo, config other, 1 pending\n"
    assert say("cd .")[2] == "project demo, config other, 1 pending\n"
    assert len(shell.past) == steps + 1  # nothing changed by the second
    say("undo")
    assert (os.getcwd(), shell.config, shell.overrides) == (str(project), "other", ("mode=slow",))


def test_what_is_set_comes_along_where_forges_own_project_is_the_one(say: Say, empty: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    say(f"cd {empty}; set trainer.max_steps=3")
    assert say(f"cd {tmp_path / 'elsewhere'}")[2] == "project pydoc, config pretrain/tiny, 1 pending\n"
