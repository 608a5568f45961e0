from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

import pytest

from forge.base.errors import ConfigError, FileError, ForgeError
from forge.cli.output import Output
from forge.cli.parse import UnknownFlagError
from forge.cli.registry import VERBS
from forge.cli.session import Context, Session, current_folder, execute, project_of, understand, write_result

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Editor, Forge, Run


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def context_of(words: list[str], session: Session | None = None) -> Context:
    """What a verb would run with."""
    session = session or Session(output=Output(io.StringIO(), io.StringIO()))
    verb = VERBS.find(words[0])
    return Context(session, verb, understand(session, verb, words[1:]))


@pytest.fixture(autouse=True)
def _here(project: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment
    monkeypatch.chdir(project)


def test_a_line_is_run_with_what_the_session_has_chosen() -> None:
    session = Session(config="other", overrides=("mode=slow",), output=Output(io.StringIO(), io.StringIO()))
    assert execute(session, ["show", "--path", "mode"]) == 0
    assert execute(session, ["show", "--path", "trainer.max_steps", "-M", "7"]) == 0
    assert isinstance(session.output.stream, io.StringIO)
    assert session.output.stream.getvalue() == "slow\n7\n"


def test_the_line_wins_over_what_the_session_has_chosen() -> None:
    session = Session(overrides=("mode=slow",))
    assert context_of(["show", "mode=fast"], session).config.composed.tree["mode"] == "fast"
    assert context_of(["show", "--mode", "fast"], session).config.composed.tree["mode"] == "fast"


def test_the_later_of_a_flag_and_an_override_wins() -> None:
    def steps(*words: str) -> object:
        return context_of(["show", *words]).config.data(path="trainer.max_steps")

    assert steps("trainer.max_steps=3", "-M", "4") == 4
    assert steps("-M", "4", "trainer.max_steps=3") == 3
    assert steps("-M", "4", "--max-steps=5") == 5


def test_a_flag_that_an_override_brings_is_understood(project: Path) -> None:
    (project / "configs" / "size" / "wide.yaml").write_text(
        "# @package _global_\nargs: {width: {key: size.dim, type: int}}\nsize: {_target_: builtins.dict, dim: 1}\n"
    )
    assert context_of(["show", "size=wide", "--width", "9"]).config.data(path="size.dim") == 9
    with pytest.raises(UnknownFlagError, match="show has no flag '--width'"):
        context_of(["show", "--width", "9"])


def test_a_project_and_its_config_are_found_only_when_they_are_asked_for(project: Path) -> None:
    (project / "project.yaml").write_text("nosuch: 1\n")
    context = context_of(["show"])
    with pytest.raises(ConfigError):
        _ = context.project


def test_another_project_is_named_by_its_folder_or_name(project: Path) -> None:
    assert project_of(Session()).folder == str(project)
    assert project_of(Session(project=str(project / "configs"))).name == "demo"
    assert project_of(Session(), "pydoc").name == "pydoc"


def test_the_current_folder_may_be_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    assert current_folder() == str(gone)
    gone.rmdir()
    with pytest.raises(FileError, match="the current folder cannot be read"):
        current_folder()


def test_a_result_for_a_file_is_not_for_the_terminal() -> None:
    assert not context_of(["show"]).to_terminal
    session = Session(output=Output(Terminal(), io.StringIO()))
    assert context_of(["show"], session).to_terminal
    assert not context_of(["show", "-o", "x"], session).to_terminal
    assert not context_of(["show", "-e"], session).to_terminal


def test_a_result_goes_to_the_terminal_a_file_the_editor_or_both(run: Run, project: Path, editor: Editor) -> None:
    shown = run("show").out
    assert shown
    assert run("show", "-o", "out.yaml") == (0, "", "")
    assert (project / "out.yaml").read_text() == shown
    assert not editor.named.exists()
    assert run("show", "-e") == (0, "", "")
    assert editor.text == shown
    assert editor.names[0].endswith("tiny.yaml")
    assert run("show", "-e", "-o", "kept.yaml").code == 0
    assert editor.names == ["kept.yaml"]
    assert (project / "kept.yaml").read_text() == shown


def test_the_last_of_two_files_counts(run: Run, project: Path) -> None:
    assert run("show", "-o", "a.yaml", "--output=b.yaml").code == 0
    assert not (project / "a.yaml").exists()
    assert (project / "b.yaml").exists()


def test_a_file_is_left_as_it_was_when_the_verb_fails(run: Run, project: Path) -> None:
    (project / "out.yaml").write_text("old\n")
    assert run("show", "nosuch=1", "-o", "out.yaml").code == 2
    assert (project / "out.yaml").read_text() == "old\n"


@pytest.mark.parametrize("name", ["ünï ©.yaml", "a b", "-", "a=b", "'", "\n", "x" * 255])
def test_a_file_may_have_any_name(name: str, project: Path) -> None:
    write_result(name, "a: 1\n")
    assert (project / name).read_text() == "a: 1\n"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("configs", "configs is a folder"),
        ("new/", "new/ is a folder"),
        ("nosuch/x", "create it first"),
        ("project.yaml/x", "Not a directory"),
        ("x" * 256, "choose a shorter name"),
        ("/dev/full", "No space left"),
        ("\0", "cannot write"),
    ],
)
def test_a_place_that_cannot_be_written_is_named(path: str, message: str, project: Path) -> None:
    before = sorted(project.rglob("*"))
    with pytest.raises(ForgeError, match=message):
        write_result(path, "a: 1\n")
    assert sorted(project.rglob("*")) == before


def test_a_device_is_written_and_not_replaced(forge: Forge) -> None:
    assert forge("show", "-o", "/dev/stdout").stdout == forge("show").stdout
    write_result("/dev/null", "text")
    assert not os.path.isfile("/dev/null")


def test_a_link_stays_a_link(project: Path) -> None:
    (project / "real.yaml").write_text("old\n")
    (project / "link.yaml").symlink_to("real.yaml")
    write_result("link.yaml", "new\n")
    assert (project / "link.yaml").is_symlink()
    assert (project / "real.yaml").read_text() == "new\n"
