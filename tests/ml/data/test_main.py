"""``python -m forge.ml.data``: what `forge data` starts."""

from __future__ import annotations

import json
import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from forge.base.errors import TrustError
from forge.ml.data import __main__ as program
from forge.ml.data.corpus import TextCorpus

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def run(
    byte_tokenizer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Any]:
    built = {"dataset": TextCorpus(train=("abc", "defg"), held_out=("hi",)), "tokenizer": byte_tokenizer()}

    def build(key: str) -> Any:
        if isinstance(built[key], Exception):
            raise built[key]
        return built[key]

    monkeypatch.setattr("forge.build.frozen.thaw", lambda _folder: SimpleNamespace(build=build))

    def start(*arguments: str, **replaced: Any) -> tuple[int, str, str]:
        built.update(replaced)
        code = program.main([arguments[0], "folder", *arguments[1:]])
        return code, *capsys.readouterr()

    return start


def test_rows_are_shown(run: Callable[..., Any]) -> None:
    code, out, errors = run("show", "-n", "1", "--index", "1")
    assert (code, errors) == (0, "")
    assert "train, row 1 · 5 tokens" in out
    assert "d⟦efg<|im_end|>⟧" in out  # nothing comes before the first token
    assert run("show", "--split", "held_out")[1].count("row 0") == 1


def test_raw_rows_are_lines_of_json(run: Callable[..., Any]) -> None:
    assert run("show", "--format", "raw")[1] == '"abc"\n"defg"\n'


def test_programs_get_json(run: Callable[..., Any]) -> None:
    assert [found["row"] for found in json.loads(run("show", "--format", "json")[1])] == [0, 1]
    assert [found["name"] for found in json.loads(run("stats", "--format", "json")[1])] == ["train", "held_out"]


def test_figures_are_printed_or_written(run: Callable[..., Any], tmp_path: Path) -> None:
    assert run("stats")[1].startswith("train\n  rows      2, 2 used, 0 not used\n")
    assert run("stats", "--format", "svg", "--output", str(tmp_path / "f.svg")) == (0, "", "")
    assert (tmp_path / "f.svg").read_text().startswith("<svg ")


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        (TrustError("not trusted", hint="forge trust"), "error: not trusted\n  forge trust\n"),
        (FileNotFoundError("there is no model folder x"), "error: there is no model folder x\n"),
    ],
)
def test_what_is_wrong_is_said_in_one_message(run: Callable[..., Any], problem: Exception, message: str) -> None:
    assert run("show", dataset=problem) == (2, "", message)


def test_the_cache_is_listed_and_pruned(run: Callable[..., Any], own_cache: Path) -> None:
    assert run("cache")[1].startswith(f"{own_cache}: 0 entries, 0 B; kept for 30 days")
    (own_cache / ("ab" * 16)).mkdir(parents=True)
    os.utime(own_cache / ("ab" * 16), (0, 0))
    code, out, _ = run("cache")
    assert (code, out.splitlines()[1]) == (0, f"{'ab' * 16}        0 B  1970-01-01 00:00")
    found = json.loads(run("cache", "--prune", "--format", "json")[1])
    assert [one["key"] for one in found["removed"]] == ["ab" * 16]
    assert found["entries"] == []
    assert "removed: 0 entries, 0 B" in run("cache", "--prune")[1]


def test_a_set_that_is_not_there_is_refused(run: Callable[..., Any]) -> None:
    code, _, errors = run("show", "--split", "nothing")
    assert code == 2
    assert "there is no set 'nothing'" in errors
