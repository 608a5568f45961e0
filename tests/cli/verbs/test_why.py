from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Run


def test_the_chain_of_values_is_printed_newest_last(run: Run) -> None:
    done = run("why", "trainer.max_steps", "-M", "5")
    assert (done.code, done.errors) == (0, "")
    assert [line.split() for line in done.out.splitlines()] == [
        ["trainer.max_steps", "=", "5"],
        ["configs/tiny.yaml:15", "project", "100"],
        ["flag", "'-M", "5'", "flag", "100", "→", "5"],
    ]


def test_a_config_on_top_of_another_names_both_files(run: Run) -> None:
    lines = run("-t", "other", "why", "trainer.max_steps").out.splitlines()
    assert lines[0] == "trainer.max_steps = 200"
    assert "configs/tiny.yaml:15" in lines[1]
    assert "configs/other.yaml:3" in lines[2]
    assert lines[2].endswith("100 → 200")


def test_the_chain_is_data_for_programs(run: Run, project: Path) -> None:
    found = json.loads(run("why", "--json", "mode", "mode=slow").out)
    assert (found["key"], found["value"]) == ("mode", "slow")
    old, new = found["steps"]
    assert (old["value"], old["file"], old["line"]) == ("fast", str(project / "configs" / "tiny.yaml"), 9)
    assert (new["value"], new["replaced"], new["layer"]) == ("slow", "fast", "override")


def test_the_result_goes_to_a_file(run: Run, project: Path) -> None:
    shown = run("why", "mode").out
    assert run("why", "mode", "-o", "why.txt") == (0, "", "")
    assert (project / "why.txt").read_text() == shown


def test_a_secret_is_masked(run: Run) -> None:
    for words in (["why", "api_key"], ["why", "api_key", "--json"], ["why", "api_key", "api_key=hunter2"]):
        done = run(*words)
        assert done.code == 0
        assert "hunter2" not in done.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "why needs KEY"),
        (["max_steps"], "trainer.max_steps"),
        (["nosuch"], "tiny has no value 'nosuch'"),
        (["trainer..size"], "'trainer..size' is not a dotted path"),
        (["["], "'[' is not a dotted path"),
        (["ключ"], "tiny has no value 'ключ'"),
        (["mode", "size"], "why does not know what to do with 'size'"),
        (["mode", "-x"], "why has no flag '-x'"),
        (["mode", "nosuch=1"], "the config has no key 'nosuch'"),
    ],
)
def test_a_mistake_is_named(run: Run, words: list[str], message: str) -> None:
    done = run("why", *words)
    assert (done.code, done.out) == (2, "")
    assert message in done.errors
    assert len(done.errors.splitlines()) <= 3


def test_outside_of_every_project_the_one_of_forge_is_asked(run: Run, empty: Path) -> None:
    done = run("why", "trainer.max_steps", cwd=empty)
    assert done.code == 0
    assert "configs/trainer/default.yaml" in done.out
