from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Editor, Run


def test_the_projects_own_files_are_opened(run: Run, project: Path, editor: Editor) -> None:
    assert run("-t", "other", "edit") == (0, "", "")
    names = ("other.yaml", "tiny.yaml", "size/large.yaml")
    assert sorted(editor.names) == sorted(str(project / "configs" / name) for name in names)
    assert editor.names[0].endswith("other.yaml")


def test_the_files_are_listed_in_place_of_opening_them(run: Run, project: Path) -> None:
    names = ("tiny.yaml", "size/small.yaml")
    assert run("edit", "--list") == (0, "".join(f"{project / 'configs' / name}\n" for name in names), "")


def test_the_files_of_the_library_are_there_when_asked_for(run: Run, project: Path) -> None:
    (project / "configs" / "tuned.yaml").write_text("defaults: [{optimizer: adamw}, _self_]\n")
    own = run("-t", "tuned", "edit", "--list").out.splitlines()
    every = run("-t", "tuned", "edit", "--list", "--all").out.splitlines()
    assert own == [str(project / "configs" / "tuned.yaml")]
    assert [one for one in every if one.endswith("configs/optimizer/adamw.yaml")]
    assert set(own) < set(every)


def test_an_override_brings_its_file(run: Run) -> None:
    assert "large.yaml" in run("edit", "--list", "size=large").out


def test_without_an_editor_it_says_what_to_do(run: Run) -> None:
    done = run("edit")
    assert (done.code, done.out) == (1, "")
    assert done.errors == "error: no editor is known\n  set EDITOR, for example: export EDITOR=vim\n"


def test_an_editor_that_fails_is_a_failed_job(run: Run, editor: Editor) -> None:
    editor.program.write_text("#!/bin/sh\nexit 3\n")
    done = run("edit")
    assert done.code == 1
    assert "exit code 3" in done.errors


@pytest.mark.parametrize("words", [["tiny"], ["--json"], ["-o", "x"], ["nosuch=1"]])
def test_a_mistake_opens_nothing(run: Run, editor: Editor, words: list[str]) -> None:
    done = run("edit", *words)
    assert (done.code, done.out) == (2, "")
    assert not editor.named.exists()


def test_outside_of_every_project_the_files_of_forges_own_are_listed(run: Run, empty: Path) -> None:
    done = run("edit", "--list", cwd=empty)
    assert done.code == 0
    assert done.out.splitlines()[0].endswith("projects/pydoc/configs/pretrain/tiny.yaml")
