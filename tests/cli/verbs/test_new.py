from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from forge.base.places import shipped_projects

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Editor, Run


def test_a_new_project_checks_clean_and_its_values_build(run: Run, project: Path, empty: Path) -> None:
    assert run("new", "project", "tale", cwd=empty) == (0, "tale\n", "")
    assert run("check", cwd=empty / "tale") == (0, "train: nothing wrong\n", "")
    assert run("build", "--target", "dataset.train", cwd=empty / "tale").code == 0
    assert run("-p", "tale", "ls", cwd=empty).code == 0
    assert not (project / "tale").exists()


def test_a_new_config_stands_on_the_default_one(run: Run, project: Path) -> None:
    assert run("new", "config", "mine") == (0, "configs/mine.yaml\n", "")
    assert "- /tiny\n" in (project / "configs" / "mine.yaml").read_text()
    assert run("diff", "tiny", "mine").code == 0
    assert run("-t", "mine", "check").code == 0


def test_a_new_config_stands_on_the_one_that_is_named(run: Run) -> None:
    assert run("new", "config", "deep/longer.yaml", "--from", "other").out == "configs/deep/longer.yaml\n"
    assert run("diff", "other", "deep/longer").code == 0


def test_what_was_made_is_opened_when_asked(run: Run, project: Path, editor: Editor) -> None:
    assert run("new", "config", "mine", "-e").code == 0
    assert editor.names == [str(project / "configs" / "mine.yaml")]
    assert "/tiny" in editor.text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "new needs KIND"),
        (["config"], "new needs NAME"),
        (["porject", "x"], "did you mean 'project'?"),
        (["project", "x", "--from", "tiny"], "--from belongs to `forge new config`"),
        (["project", "1x"], "cannot be the name of a project"),
        (["project", "configs"], "configs is there already"),
        (["project", "é"], "cannot be the name of a project"),
        (["project", ""], "new was given an empty word"),
        (["project", "x", "y"], "new does not know what to do with 'y'"),
        (["config", "tiny"], "the config 'tiny' is there already"),
        (["config", "../x"], "cannot be the name of a config"),
        (["config", "size/huge"], "'size' is a config group"),
        (["config", "x", "--from", "nosuch"], "has no config 'nosuch'"),
        (["config", "x", "--from"], "--from needs CONFIG"),
        (["config", "x", "--json"], "new has no flag '--json'"),
    ],
)
def test_a_mistake_is_named_and_nothing_is_made(run: Run, project: Path, words: list[str], message: str) -> None:
    before = sorted(project.rglob("*"))
    done = run("new", *words)
    assert (done.code, done.out) == (2, "")
    assert message in done.errors
    assert len(done.errors.splitlines()) <= 3
    assert sorted(project.rglob("*")) == before


def test_no_config_is_written_into_the_project_that_is_part_of_forge(run: Run, empty: Path) -> None:
    done = run("new", "config", "mine", cwd=empty)
    assert (done.code, done.out) == (2, "")
    assert "there is no project here" in done.errors
    assert not os.path.exists(os.path.join(shipped_projects(), "pydoc", "configs", "mine.yaml"))


def test_a_config_on_a_default_that_is_gone_is_a_mistake(run: Run, project: Path) -> None:
    (project / "configs" / "tiny.yaml").unlink()
    done = run("new", "config", "mine")
    assert done.code == 2
    assert "has no config 'tiny'" in done.errors
    assert not (project / "configs" / "mine.yaml").exists()
