from __future__ import annotations

from typing import TYPE_CHECKING

from forge.base.errors import ModelError
from forge.ml.checkpoint.store import Store
from forge.ml.serve.following import Follower

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest


def _commit(folder: Path, step: int) -> str:
    store = Store(folder)
    stage = store.begin(step)
    stage.write_json("config.json", {"step": step})
    path = stage.commit({})
    store.release()
    return path


def test_each_newer_checkpoint_is_taken_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    taken: list[str] = []
    follower = Follower(Store(tmp_path), None, 1, taken.append)
    assert not follower.look()
    first = _commit(tmp_path, 1)
    assert follower.look()
    assert not follower.look()
    second = _commit(tmp_path, 2)
    assert follower.look()
    assert taken == [first, second]
    again = _commit(tmp_path, 2)  # a run that went back saves the same step anew
    assert follower.look()
    assert taken == [first, second, again]
    assert follower.current == "checkpoint-2-2"
    assert "serving checkpoint-2-2 now" in caplog.text


def test_one_that_cannot_be_served_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _commit(tmp_path, 1)
    for reason in (ModelError("it is another model"), RuntimeError("out of memory")):

        def refuse(_path: str, reason: Exception = reason) -> None:
            raise reason

        follower = Follower(Store(tmp_path), "checkpoint-0", 1, refuse)
        assert not follower.look()
        assert follower.current == "checkpoint-0"
        assert str(reason) in caplog.text


def test_it_looks_by_itself(tmp_path: Path, until: Callable[..., None]) -> None:
    taken: list[str] = []
    follower = Follower(Store(tmp_path), None, 0.02, taken.append)
    follower.start()
    _commit(tmp_path, 1)
    until(lambda: taken)
    follower.close()
    follower._thread.join(10)
    assert not follower._thread.is_alive()
