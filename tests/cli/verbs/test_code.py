from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Editor, Run


def test_the_program_builds_the_main_object(run: Run) -> None:
    done = run("code")
    assert (done.code, done.errors) == (0, "")
    assert _built(done.out, "trainer") == {"size": {"dim": 8, "layers": 2}, "max_steps": 100, "title": "run-fast"}


def test_a_part_is_built_alone(run: Run) -> None:
    assert _built(run("code", "--target", "size", "size=large").out, "size") == {"dim": 800, "layers": 20}


def test_each_line_says_where_it_comes_from(run: Run) -> None:
    assert "dim=8,  # configs/size/small.yaml:3" in run("code", "--origins").out
    assert "configs/" not in run("code").out


def test_the_result_goes_to_a_file_or_to_the_editor(run: Run, project: Path, editor: Editor) -> None:
    shown = run("code").out
    assert run("code", "-o", "train.py") == (0, "", "")
    assert (project / "train.py").read_text() == shown
    assert run("code", "-e").code == 0
    assert editor.text == shown
    assert editor.names[0].endswith("tiny.py")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--target", "nosuch"], "there is no 'nosuch'"),
        (["--target", ""], "--target needs KEY"),
        (["--target", "a..b"], "is not a dotted path"),
        (["--json"], "code has no flag '--json'"),
        (["mode=???"], "'mode' is still ???"),
    ],
)
def test_a_mistake_is_named(run: Run, words: list[str], message: str) -> None:
    done = run("code", *words)
    assert (done.code, done.out) == (2, "")
    assert message in done.errors


def test_outside_of_every_project_the_program_is_that_of_forges_own(run: Run, empty: Path) -> None:
    done = run("code", "--target", "optimizer", cwd=empty)
    assert done.code == 0
    ast.parse(done.out)
    assert "AdamW" in done.out


def _built(program: str, name: str) -> object:
    made: dict[str, object] = {"__name__": "program"}
    exec(program, made)  # noqa: S102 - running it is what the program is for
    return made[name]
