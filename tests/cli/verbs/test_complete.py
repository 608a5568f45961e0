from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.cli.registry import VERBS
from forge.cli.verbs.complete import split_line

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Run


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("forge sh", ["forge", "sh"]),
        ("forge show ", ["forge", "show", ""]),
        ("forge show 'a b", ["forge", "show", "a b"]),
        ('forge "a\\"b" c\\ d', ["forge", 'a"b', "c d"]),
        ("", [""]),
    ],
)
def test_a_line_in_the_making_is_split(line: str, words: list[str]) -> None:
    assert split_line(line) == words


@given(st.text(alphabet="ab =:'\"\\ ", max_size=20))
def test_every_line_has_a_word_at_the_cursor(line: str) -> None:
    assert split_line(line)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
@pytest.mark.parametrize(
    ("index", "words", "expected"),
    [
        (0, ["tre"], ["trefs"]),
        (0, [""], [verb.name for verb in VERBS.all if not verb.hidden]),
        (1, ["show", "size="], ["size=large", "size=small"]),
        (1, ["show", "trainer.max"], ["trainer.max_steps="]),
        (1, ["show", "--m"], ["--max-steps", "--mode"]),
        (2, ["show", "--mode", "s"], ["slow"]),
        (2, ["why", "mode", "mode=s"], ["mode=slow"]),
        (1, ["-t", "o"], ["other"]),
        (3, ["-t", "other", "why", "size.d"], ["size.dim"]),
        (1, ["diff", "t"], ["tiny", "trainer."]),
        (2, ["graph", "--target", ""], ["size", "trainer"]),
        (1, ["show", "ключ"], []),
        (1, ["nosuch", ""], []),
    ],
)
def test_zsh_and_fish_give_the_words(run: Run, shell: str, index: int, words: list[str], expected: list[str]) -> None:
    done = run("__complete", shell, "--", str(index), *words)
    assert (done.code, done.errors) == (0, "")
    found = [line.split("\t")[0] for line in done.out.splitlines()]
    assert found == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("forge tre", ["trefs"]),
        ("forge show size=", ["large", "small"]),
        ("forge show size=l", ["large"]),
        ("forge graph --format=sv", ["svg"]),
        ("forge show trainer.max", ["trainer.max_steps="]),
    ],
)
def test_bash_gives_the_line_and_gets_what_it_will_put_at_the_cursor(run: Run, line: str, expected: list[str]) -> None:
    done = run("__complete", "bash", "--", line, str(len(line.encode())), " \t\n=:")
    assert (done.code, done.errors) == (0, "")
    assert [one.split("\t")[0] for one in done.out.splitlines()] == expected


def test_a_meaning_stands_behind_a_tab_in_one_line(run: Run) -> None:
    assert "size=small\tnow, Two layers." in run("__complete", "zsh", "--", "1", "show", "size=").out.splitlines()


def test_a_file_is_left_to_the_shell(run: Run) -> None:
    assert run("__complete", "zsh", "--", "2", "show", "-o", "").out == "\ta file\n"


@pytest.mark.parametrize(
    "words",
    [
        ["zsh", "--", "x", "show"],
        ["zsh", "--", "-7", "show", ""],
        ["bash", "--", "forge sh"],
        ["bash", "--", "forge sh", "many", " "],
        ["bash", "--", "forge sh", "2", " "],
        ["bash", "--", "", "0", " "],
        ["zsh", "--", "3", "-p", "nosuch", "show", ""],
        ["zsh", "--", "3", "-t", "nosuch", "show", ""],
        ["zsh", "--", "2", "show", "nosuch=1", "--"],
    ],
    ids=" ".join,
)
def test_a_mistake_is_silent_in_the_middle_of_a_line(run: Run, words: list[str]) -> None:
    done = run("__complete", *words)
    assert (done.code, done.errors) == (0, "")


@pytest.mark.parametrize("name", ["project.yaml", "configs/tiny.yaml"])
def test_files_that_cannot_be_read_are_silent_too(run: Run, project: Path, name: str) -> None:
    (project / name).write_bytes(b"\xff\x00: [")
    for words in (["show", ""], ["show", "--"], ["show", "size="], ["why", "tr"], ["-t", ""]):
        done = run("__complete", "zsh", "--", "1", *words)
        assert (done.code, done.errors) == (0, "")


def test_outside_of_every_project_the_one_of_forge_is_completed(run: Run, empty: Path) -> None:
    done = run("__complete", "zsh", "--", "1", "show", "optimizer=adaf", cwd=empty)
    assert [line.split("\t")[0] for line in done.out.splitlines()] == ["optimizer=adafactor"]
