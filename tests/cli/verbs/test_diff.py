from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

import pytest

from forge.api.project import open_project
from forge.cli.main import run_line
from forge.cli.output import standard_output
from forge.cli.session import Session

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Editor, Run


def test_two_configs_differ_line_by_line_and_the_exit_code_says_so(run: Run) -> None:
    done = run("diff", "tiny", "other")
    assert (done.code, done.errors) == (1, "")
    assert [line.split() for line in done.out.splitlines() if line] == [
        ["~", "size.dim", "8", "→", "800", "configs/size/large.yaml:3"],
        ["~", "size.layers", "2", "→", "20", "configs/size/large.yaml:4"],
        ["~", "trainer.max_steps", "100", "→", "200", "configs/other.yaml:3"],
    ]


@pytest.mark.parametrize(
    "words",
    [
        ["tiny", "tiny"],
        ["tiny"],
        ["tiny.yaml", "tiny"],
        ["tiny", "mode=slow", "tiny", "mode=slow"],
        ["mode=fast"],
        ["--no-quiet"],
    ],
    ids=" ".join,
)
def test_without_a_difference_nothing_is_printed(run: Run, words: list[str]) -> None:
    assert run("diff", *words) == (0, "", "")


@pytest.mark.parametrize(
    "words",
    [
        ["diff", "tiny", "other"],
        ["-t", "tiny", "diff", "other"],
        ["diff", "other"],
        ["diff", "tiny", "tiny", "size=large", "-M", "200"],
        ["diff", "size=large", "--max-steps=200"],
    ],
    ids=" ".join,
)
def test_the_sides_are_named_in_several_ways(run: Run, words: list[str]) -> None:
    done = run(*words, "--format", "overrides")
    assert (done.code, done.out) == (1, "size=large trainer.max_steps=200\n")


def test_the_printed_overrides_lead_from_one_to_the_other(run: Run) -> None:
    line = shlex.split(run("diff", "tiny", "other", "--format", "overrides").out)
    assert run("diff", "tiny", *line, "other").code == 0


def test_overrides_with_blanks_are_quoted_for_the_shell(run: Run) -> None:
    line = run("diff", "mode='a b'", "--format", "overrides").out
    (word,) = shlex.split(line)
    assert run("diff", word, "--format", "overrides").out == line


def test_the_difference_is_data_for_programs(run: Run) -> None:
    first, _, third = json.loads(run("diff", "tiny", "other", "--json").out)
    assert (first["change"], first["path"], first["old"], first["new"]) == ("set", "size.dim", 8, 800)
    assert third["origins"][-1]["line"] == 3
    assert run("diff", "tiny", "tiny", "--json") == (0, "[]\n", "")


def test_the_difference_is_a_picture(run: Run) -> None:
    done = run("diff", "tiny", "other", "--format", "svg")
    assert done.code == 1
    assert done.out.startswith("<svg")


def test_the_result_goes_to_a_file_or_to_the_editor(run: Run, project: Path, editor: Editor) -> None:
    shown = run("diff", "tiny", "other").out
    assert run("diff", "tiny", "other", "-o", "diff.txt") == (1, "", "")
    assert (project / "diff.txt").read_text() == shown
    assert run("diff", "tiny", "other", "-e").code == 1
    assert editor.text == shown


def test_a_file_is_written_also_when_nothing_differs(run: Run, project: Path) -> None:
    assert run("diff", "tiny", "tiny", "-o", "diff.txt").code == 0
    assert not (project / "diff.txt").read_text().strip()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "diff needs something to compare with"),
        (["tiny", "other", "tiny"], "diff does not know what to do with 'tiny'"),
        (["mode=slow", "tiny", "other"], "an override stands before both configs"),
        (["nosuch"], "has no config 'nosuch'"),
        ([""], "diff was given an empty word"),
        (["tiny", "nosuch=1", "other"], "the config has no key 'nosuch'"),
        (["tiny", "other", "--format", "html"], "--format cannot be 'html'"),
        (["tiny", "mode=???"], "'mode' is still ???"),
    ],
)
def test_a_mistake_is_named(run: Run, words: list[str], message: str) -> None:
    done = run("diff", *words)
    assert (done.code, done.out) == (2, "")
    assert message in done.errors


def test_outside_of_every_project_the_one_of_forge_is_compared(run: Run, empty: Path) -> None:
    done = run("diff", "optimizer=adafactor", "--format", "overrides", cwd=empty)
    assert (done.code, done.out) == (1, "optimizer=adafactor\n")


def a_run(project: Path, name: str, *overrides: str) -> Path:
    """The folder of a run that was frozen, in the output folder of the config."""
    folder = project / "output" / "demo" / "tiny" / "runs" / name
    open_project(project).config("tiny", "++trainer.output_dir=output/demo/tiny", *overrides).freeze(folder)
    return folder


@pytest.mark.parametrize("pending", [(), ("mode=slow",)])
def test_the_newest_run_is_compared_with_the_config(run: Run, project: Path, pending: tuple[str, ...]) -> None:
    a_run(project, "20240101-000000-tiny", "size=large")
    a_run(project, "20240201-000000-tiny", "trainer.max_steps=50")
    (project / "output/demo/tiny/runs/20240301-000000-tiny").mkdir()  # it never got so far
    done = run("diff", "--last-run", *pending)
    assert done.code == 1
    assert done.errors == "compared with output/demo/tiny/runs/20240201-000000-tiny\n"
    found = [line.split()[:5] for line in done.out.splitlines() if "max_steps" in line]
    assert found == [["~", "trainer.max_steps", "50", "→", "100"]]
    assert ("slow" in done.out) is bool(pending)
    assert "size" not in done.out


def test_a_run_that_would_be_the_same_differs_in_nothing(run: Run, project: Path) -> None:
    a_run(project, "20240101-000000-tiny")
    done = run("diff", "--last-run")
    assert (done.code, done.out) == (0, "")
    assert run("diff", "--last-run", "--json").out == "[]\n"


def test_the_overrides_of_a_run_make_the_config_that_run_again(run: Run, project: Path) -> None:
    folder = a_run(project, "20240101-000000-tiny", "trainer.max_steps=50", "mode=slow", "+trainer.more=1")
    line = shlex.split(run("diff", "--run", str(folder), "--format", "overrides").out)
    assert sorted(line) == ["+trainer.more=1", "mode=slow", "trainer.max_steps=50"]
    assert run("diff", "--run", str(folder), *line) == (0, "", "")


def test_a_run_has_every_form(run: Run, project: Path) -> None:
    folder = str(a_run(project, "20240101-000000-tiny", "size=large"))
    assert run("diff", "--run", folder, "--format", "svg").out.startswith("<svg")
    assert json.loads(run("diff", "--run", folder, "--json").out)[0]["new"] == 8
    assert run("diff", "--run", folder, "-o", "x.txt").code == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--last-run"], "there is no run in output/demo/tiny yet"),
        (["--last-run", "other"], "other is one side too many"),
        (["--run", "nosuch"], "there is no folder 'nosuch'"),
        (["--run", "configs"], "cannot read configs/graph.json"),
        (["--run", "configs", "--last-run"], "name two runs"),
        (["--last-run", "+meta.main=nothing"], "tiny describes no run"),
    ],
)
def test_a_mistake_about_runs_is_named(run: Run, words: list[str], message: str) -> None:
    done = run("diff", *words)
    assert (done.code, done.out) == (2, "")
    assert message in done.errors


def test_in_a_session_the_pending_overrides_are_compared(
    project: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert environment
    monkeypatch.chdir(project)
    session = Session(config="tiny", overrides=("size=large",), output=standard_output())
    for words in (["diff"], ["diff", "other"], ["diff", "tiny", "other"]):
        assert run_line(session, [*words, "--format", "overrides"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "size=large",
        "trainer.max_steps=200",
        "size=large trainer.max_steps=200",
    ]
