from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from forge.ml.checkpoint.__main__ import main

if TYPE_CHECKING:
    from collections.abc import Callable

    from forge.ml.checkpoint.store import Store


@pytest.fixture
def model(store: Store, add: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The output folder of a run with two checkpoints."""
    add(50, score=2.5, loss=3.0)
    add(100, score=3.5)
    monkeypatch.chdir(Path(store.folder).parent)
    return Path(store.folder).parent


def test_the_list_is_a_table_with_marks_and_reasons(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.unlink(model / "checkpoints" / "checkpoint-100" / "config.json")
    assert main(["ls"]) == 0
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["checkpoint", "saved", "size", "score", "state"]
    assert first.startswith("checkpoint-50")
    assert "eval_loss 2.5000  newest, best  valid" in first
    assert second.endswith("config.json is missing")


def test_the_list_for_programs(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", str(model), "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert first["path"] == str(model / "checkpoints" / "checkpoint-50")
    assert (first["step"], first["score"], first["facts"]) == (50, {"name": "eval_loss", "value": 2.5}, {"loss": 3.0})
    assert (first["best"], first["newest"], first["valid"], first["linked"]) == (True, False, True, False)
    assert second["newest"]


@pytest.mark.parametrize("place", [".", "checkpoints", "runs/now", "checkpoints/checkpoint-50"])
def test_the_checkpoints_are_found_from_each_of_their_folders(
    model: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    (model / "runs" / "now").mkdir(parents=True)
    assert main(["ls", place]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_a_folder_may_have_none(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (model / "other" / "checkpoints").mkdir(parents=True)
    assert main(["ls", "other"]) == 0
    assert capsys.readouterr().out == "no checkpoints in other/checkpoints\n"
    assert main(["verify", "other"]) == 0
    assert capsys.readouterr().out == "no checkpoints in other\n"


def test_one_that_was_given_another_name_is_verified(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (model / "checkpoints" / "checkpoint-50").rename(model / "best")
    assert main(["verify", "best"]) == 0
    assert capsys.readouterr().out == "best: whole\n"
    (model / "best" / "config.json").unlink()
    assert main(["verify", "best"]) == 1


def test_verify_reads_every_byte_and_says_what_is_wrong(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify"]) == 0
    assert capsys.readouterr().out == "checkpoints/checkpoint-50: whole\ncheckpoints/checkpoint-100: whole\n"
    path = model / "checkpoints" / "checkpoint-50" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert main(["verify", "--quick"]) == 0
    capsys.readouterr()
    assert main(["verify", "checkpoints/checkpoint-50"]) == 1
    assert capsys.readouterr().out == (
        "checkpoints/checkpoint-50:\n  model.safetensors is not as it was written: its hash differs\n"
    )
    assert main(["verify", "--json"]) == 1
    assert [one["valid"] for one in json.loads(capsys.readouterr().out)] == [False, True]


def test_link_takes_the_newest_or_the_named_one(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["link"]) == 0
    assert capsys.readouterr().out == f"{model} now loads as checkpoint-100\n"
    assert (model / "config.json").read_text() == '{"step": 100}'
    assert main(["link", "checkpoints/checkpoint-50", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["linked"].endswith("checkpoint-50")
    assert (model / "config.json").read_text() == '{"step": 50}'


def test_rm_removes_what_is_named_but_not_the_last(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rm", "checkpoints/checkpoint-50"]) == 0
    assert capsys.readouterr().out == "removed checkpoints/checkpoint-50\n"
    assert main(["rm", "checkpoints/checkpoint-100"]) == 2
    assert capsys.readouterr().err == (
        "error: it is the last valid checkpoint\n  add --force to remove it nevertheless\n"
    )
    assert main(["rm", "checkpoints/checkpoint-100", "--force", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["removed"]) == 1
    assert [path for path in (model / "checkpoints").iterdir() if not path.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ls", "nosuch"], "there is no folder nosuch"),
        (["ls", "empty"], "there are no checkpoints in empty"),
        (["ls", "a", "b"], "ckpt ls takes one folder, not 2"),
        (["rm"], "name the checkpoints to remove"),
        (["rm", "."], ". is not a checkpoint"),
        (["rm", "checkpoints/checkpoint-50", "other/checkpoint-1"], "of different runs"),
        (["link", "checkpoints/checkpoint-9"], "there is no folder"),
    ],
)
def test_a_mistake_is_named(model: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    (model / "empty").mkdir()
    (model / "other" / "checkpoint-1").mkdir(parents=True)
    assert main(words) == 2
    seen = capsys.readouterr()
    assert seen.out == ""
    assert message in seen.err
    assert len(seen.err.splitlines()) <= 3


def test_looking_at_checkpoints_takes_no_time(model: Path) -> None:
    began = time.process_time()
    assert main(["ls", str(model)]) == 0
    assert time.process_time() - began < 0.5
