from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from forge.cli.main import run_line
from forge.cli.output import standard_output
from forge.cli.session import Session

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Editor, Run


def test_the_changes_become_a_config_that_is_the_same(run: Run, project: Path) -> None:
    line = ("size=large", "mode=slow", "-M", "300", "+trainer.note='a: b'")
    assert run("save-as", "longer", *line) == (0, "configs/longer.yaml\n", "")
    assert run("diff", "tiny", *line, "longer") == (0, "", "")
    assert (project / "configs" / "longer.yaml").read_text() == (
        "defaults:\n  - /tiny\n  - override /size: large\n  - _self_\n\n"
        "meta:\n  name: Longer\n  description: \"tiny with size=large, mode=slow, -M 300, +trainer.note='a: b'.\"\n\n"
        'mode: slow\n\ntrainer:\n  max_steps: 300\n  note: "a: b"\n'
    )
    assert run("-t", "longer", "check").code == 0


def test_a_config_in_a_folder_speaks_for_the_whole(run: Run, project: Path) -> None:
    assert run("save-as", "exp/longer.yaml", "trainer.max_steps=300", "--description", "Thrice: as long.").code == 0
    assert (project / "configs" / "exp" / "longer.yaml").read_text().startswith("# @package _global_\n")
    assert "exp/longer  Thrice: as long." in run("ls").out
    assert run("diff", "tiny", "trainer.max_steps=300", "exp/longer").code == 0


def test_the_pending_overrides_of_a_session_are_part_of_it(
    project: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert environment
    monkeypatch.chdir(project)
    session = Session(config="tiny", overrides=("size=large",), output=standard_output())
    assert run_line(session, ["save-as", "longer", "mode=slow"]) == 0
    assert capsys.readouterr().err == ""
    text = (project / "configs" / "longer.yaml").read_text()
    assert "override /size: large" in text
    assert "mode: slow" in text


def test_a_dry_run_writes_nothing(run: Run, project: Path) -> None:
    done = run("save-as", "longer", "mode=slow", "--dry-run")
    assert (done.code, done.errors) == (0, "")
    assert not (project / "configs" / "longer.yaml").exists()
    assert run("save-as", "longer", "mode=slow").code == 0
    assert (project / "configs" / "longer.yaml").read_text() == done.out


def test_what_is_there_is_replaced_on_request_only(run: Run, project: Path) -> None:
    assert run("save-as", "other", "mode=slow").errors == (
        "error: the config 'other' is there already\n  --force replaces it\n"
    )
    assert run("save-as", "other", "mode=slow", "--force").code == 0
    assert "mode: slow" in (project / "configs" / "other.yaml").read_text()


def test_the_new_file_is_opened_on_request(run: Run, project: Path, editor: Editor) -> None:
    assert run("save-as", "longer", "mode=slow", "-e").code == 0
    assert editor.names == [str(project / "configs" / "longer.yaml")]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "save-as needs NAME"),
        (["../x"], "cannot be the name of a config"),
        (["/etc/x"], "cannot be the name of a config"),
        (["size/huge"], "'size' is a config group"),
        (["tiny", "--force", "mode=slow"], "tiny is made from tiny, which cannot stand on it"),
        (["x", "~trainer.title"], "a file can set a key, not take it away"),
        (["x", "mode=???"], "leaves the value that is there"),
        (["x", "api_key=abc"], "the value of a secret is not written into a file"),
        (["x", "nosuch=1"], "the config has no key 'nosuch'"),
        (["x", "y"], "save-as does not know what to do with 'y'"),
    ],
)
def test_a_mistake_writes_nothing(run: Run, project: Path, words: list[str], message: str) -> None:
    before = sorted(project.rglob("*"))
    done = run("save-as", *words)
    assert (done.code, done.out) == (2, "")
    assert message in done.errors
    assert len(done.errors.splitlines()) <= 3
    assert sorted(project.rglob("*")) == before


def test_nothing_is_written_where_no_project_was_meant(run: Run, empty: Path) -> None:
    done = run("save-as", "longer", cwd=empty)
    assert done.code == 2
    assert "there is no project here" in done.errors
    assert run("save-as", "longer", "--dry-run", cwd=empty).code == 0
