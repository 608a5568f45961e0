"""Where the result of a run is found."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from forge.base.errors import FileError

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
store = pytest.importorskip("forge.ml.checkpoint.store")
finishing = pytest.importorskip("forge.ml.train.finish")

if TYPE_CHECKING:
    from pathlib import Path


class Said(list[str]):
    def say(self, text: str) -> None:
        self.append(text)


def _run(output: Path, *, model_path: str | None = None, saved: bool = True, strategy: str = "steps") -> Any:
    kept = store.Store(output / "checkpoints")
    path = None
    if saved:
        with kept.begin(7) as stage:
            stage.write_bytes("config.json", b'{"a": 1}')
            path = stage.commit({})
    saver = SimpleNamespace(store=kept, path=path)
    settings = SimpleNamespace(save_strategy=strategy, save_total_limit=None)
    best = SimpleNamespace(step=None)
    return SimpleNamespace(saver=saver, model_path=model_path, progress=Said(), settings=settings, best=best)


def test_what_a_run_saved_because_it_was_asked_to_is_not_shown_by_the_folder_above(tmp_path: Path) -> None:
    run = _run(tmp_path / "run", strategy="no")
    finishing.finish(run)
    assert run.progress == [f"saved: {tmp_path}/run/checkpoints/checkpoint-7"]
    assert not (tmp_path / "run" / "config.json").exists()


def test_the_output_folder_shows_the_newest_checkpoint(tmp_path: Path) -> None:
    run = _run(tmp_path / "out")
    finishing.finish(run)
    assert (tmp_path / "out" / "config.json").read_text() == '{"a": 1}'
    assert "is the trained model, from checkpoint-7" in run.progress[0]


def test_a_checkpoint_that_is_no_longer_shown_does_not_stay_beyond_the_limit(tmp_path: Path) -> None:
    run = _run(tmp_path / "out")
    run.settings.save_total_limit = 1
    finishing.finish(run)
    for step in (8, 9):
        with run.saver.store.begin(step) as stage:
            stage.write_bytes("config.json", b"{}")
            run.saver.path = stage.commit({})
    run.saver.store.prune(1)
    assert [one.step for one in run.saver.store.list()] == [7, 8, 9]  # 7 is linked
    finishing.finish(run)
    assert [(one.step, one.linked) for one in run.saver.store.list()] == [(8, False), (9, True)]


def test_an_old_checkpoint_that_cannot_be_removed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = _run(tmp_path / "out")

    def refuse(*_: Any) -> None:
        raise FileError("checkpoint-3 is held open")

    monkeypatch.setattr(run.saver.store, "prune", refuse)
    finishing.finish(run)
    assert run.progress[1:] == ["warning: what is older cannot be removed: checkpoint-3 is held open"]


def test_the_folder_of_the_tuned_model_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("the model's own")
    run = _run(tmp_path / "model", model_path=os.path.join(tmp_path, "model", ""))
    finishing.finish(run)
    assert (tmp_path / "model" / "config.json").read_text() == "the model's own"
    assert "saved:" in run.progress[0]
    assert "checkpoint-7" in run.progress[0]


def test_files_of_somebody_else_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.json").write_text("somebody else's")
    run = _run(tmp_path / "out")
    finishing.finish(run)
    assert (tmp_path / "out" / "config.json").read_text() == "somebody else's"
    assert "does not show it" in run.progress[0]


def test_a_run_that_saved_nothing_shows_nothing(tmp_path: Path) -> None:
    run = _run(tmp_path / "out", saved=False)
    finishing.finish(run)
    assert run.progress == []
    assert os.listdir(tmp_path) == []
