from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

import pytest

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
