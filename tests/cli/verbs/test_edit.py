from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from forge.cli.main import run_line
from forge.cli.output import standard_output
from forge.cli.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conftest import Editor, Run

    from forge.cli.menu import MenuItem


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


@pytest.mark.parametrize(
    "words",
    [
        ["nosuch"],
        ["nosuch.py"],
        ["configs"],
        ["9"],
        ["1-9"],
        ["s"],
        ["tiny", "--all"],
        ["../nosuch"],
        ["/nosuch/x.yaml"],
        ["--create", "../nosuch"],
        ["--json"],
        ["-o", "x"],
        ["nosuch=1"],
    ],
)
def test_a_mistake_opens_nothing(run: Run, editor: Editor, words: list[str]) -> None:
    done = run("edit", *words)
    assert (done.code, done.out) == (2, "")
    assert not editor.named.exists()


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["3"], ["configs/size/large.yaml"]),
        (["1-2,3"], ["configs/other.yaml", "configs/tiny.yaml", "configs/size/large.yaml"]),
        (["2", "1"], ["configs/tiny.yaml", "configs/other.yaml"]),
        (["tiny"], ["configs/tiny.yaml"]),
        (["configs/tiny.yaml", "README.md"], ["configs/tiny.yaml", "README.md"]),
        (["size/small", "large"], ["configs/size/small.yaml", "configs/size/large.yaml"]),
    ],
)
def test_files_are_named_by_number_path_or_name(
    run: Run, project: Path, editor: Editor, words: list[str], names: list[str]
) -> None:
    assert run("-t", "other", "edit", *words) == (0, "", "")
    assert editor.names == [str(project / name) for name in names]
    listed = run("-t", "other", "edit", "--list", *words).out.splitlines()
    assert listed == editor.names


def test_a_choice_of_the_library_and_a_template_are_found_by_their_names(run: Run, project: Path) -> None:
    (project / "configs" / "tuned.yaml").write_text("defaults: [/tokenizer: bpe, _self_]\n")
    found = run("-t", "tuned", "edit", "--list", "chatml", "bpe", "optimizer/adamw").out.splitlines()
    assert [Path(one).name for one in found] == ["chatml.jinja", "bpe.yaml", "adamw.yaml"]


def test_a_broken_config_can_be_opened_by_its_name(run: Run, project: Path, editor: Editor) -> None:
    (project / "configs" / "tiny.yaml").write_text("a: [\n")
    assert run("edit", "tiny") == (0, "", "")
    assert editor.names == [str(project / "configs" / "tiny.yaml")]


def test_a_name_that_means_several_files_is_asked_for_again(run: Run, project: Path) -> None:
    (project / "configs" / "size" / "deep").mkdir()
    (project / "configs" / "size" / "deep" / "small.yaml").write_text("a: 1\n")
    (project / "configs" / "tiny.yaml").write_text("defaults: [size: small, size/deep: small, _self_]\n")
    done = run("edit", "small")
    assert done.code == 2
    assert "may be configs/size/deep/small.yaml or configs/size/small.yaml" in done.errors


def test_a_file_that_is_not_there_is_made_on_request(run: Run, project: Path, editor: Editor) -> None:
    done = run("edit", "exp/new")
    assert done.code == 2
    assert "--create makes configs/exp/new.yaml" in done.errors
    assert run("-t", "other", "edit", "exp/new", "--create").code == 0
    assert editor.names == [str(project / "configs" / "exp" / "new.yaml")]
    assert "- /other\n" in editor.text
    assert run("edit", "configs/size/huge.yaml", "--create").code == 0
    assert run("show", "size=huge", "--path", "size").code == 0


# ---- on a terminal


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Somebody at the terminal, who types these lines."""

    def types(text: str) -> None:
        keyboard = io.StringIO(text)
        monkeypatch.setattr(keyboard, "isatty", lambda: True, raising=False)
        monkeypatch.setattr("sys.stdin", keyboard)
        monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)

    return types


def test_a_person_chooses_from_the_list(run: Run, project: Path, editor: Editor, person: Callable[[str], None]) -> None:
    person("2-3\n")
    done = run("-t", "other", "edit")
    assert (done.code, done.errors) == (0, "")
    assert done.out == (
        "project\n  1  configs/other.yaml\n  2  configs/tiny.yaml\n  3  configs/size/large.yaml\n\n"
        "files of other to open (like 1-3,7; a for all; Enter for none): "
    )
    assert editor.names == [str(project / "configs" / name) for name in ("tiny.yaml", "size/large.yaml")]


def test_a_person_may_choose_nothing(run: Run, editor: Editor, person: Callable[[str], None]) -> None:
    person("\n")
    assert run("edit").code == 0
    assert not editor.named.exists()


def test_a_single_file_is_opened_unasked(
    run: Run, project: Path, editor: Editor, person: Callable[[str], None]
) -> None:
    (project / "configs" / "alone.yaml").write_text("a: 1\n")
    person("")
    assert run("-t", "alone", "edit") == (0, "", "")
    assert editor.names == [str(project / "configs" / "alone.yaml")]


def test_a_person_is_asked_before_a_file_is_made(
    run: Run, project: Path, editor: Editor, person: Callable[[str], None]
) -> None:
    person("n\n")
    done = run("edit", "fresh")
    assert done.code == 2
    assert "there is no configs/fresh.yaml; make it? [y/N] " in done.out
    assert not (project / "configs" / "fresh.yaml").exists()
    person("y\n")
    assert run("edit", "fresh").code == 0
    assert editor.names == [str(project / "configs" / "fresh.yaml")]


def test_a_session_may_have_a_picker_of_its_own(
    project: Path, editor: Editor, person: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    person("")
    asked: list[object] = []

    def pick(title: str, items: Sequence[MenuItem]) -> list[int]:
        asked.extend([title, *items])
        return [1]

    session = Session(config="tiny", pick=pick, output=standard_output())
    assert run_line(session, ["edit"]) == 0
    assert asked == [
        "files of tiny to open",
        ("project", "configs/tiny.yaml"),
        ("project", "configs/size/small.yaml"),
    ]
    assert editor.names == [str(project / "configs" / "size" / "small.yaml")]


def test_outside_of_every_project_the_files_of_forges_own_are_listed(run: Run, empty: Path) -> None:
    done = run("edit", "--list", cwd=empty)
    assert done.code == 0
    assert done.out.splitlines()[0].endswith("projects/pydoc/configs/pretrain/tiny.yaml")
