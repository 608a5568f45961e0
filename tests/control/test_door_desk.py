from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from forge.base.errors import FileError
from forge.base.locks import claim
from forge.control import door_desk
from forge.control.door_desk import DoorDesk
from forge.control.progress import RunProgress, write_progress
from forge.control.requests import SaveAnswer, write_answers

if TYPE_CHECKING:
    from pathlib import Path

    from forge.control.heartbeat import Heart


def test_a_save_waits_for_its_answer(tmp_path: Path) -> None:
    task = DoorDesk(str(tmp_path)).task({"do": "save"})
    token = next(task)["token"]
    assert (tmp_path / "SAVE").read_text() == token
    assert [next(task) for _ in range(3)] == [None, None, None]
    write_answers(str(tmp_path), [SaveAnswer(token, 7, "/c")])
    assert list(task) == [{"answer": {"token": token, "step": 7, "path": "/c", "error": ""}}]


def test_who_holds_the_lock_delays_only_those_who_ask_for_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = claim(tmp_path / ".save.lock")
    desk = DoorDesk(str(tmp_path))
    save, change = desk.task({"do": "save"}), desk.task({"do": "set", "values": {"lr_scale": 0.5}})
    assert (next(save), next(save)) == (None, None)
    assert "token" in next(change)
    monkeypatch.setattr(door_desk, "_LOCKED", -1.0)
    with pytest.raises(FileError, match="held by another process"):
        next(desk.task({"do": "save"}))
    held.release()
    assert "token" in next(save)


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ({}, "'None' is not known here"),
        ({"do": "x" * 100}, f"'{'x' * 40}' is not known here"),
        ({"do": ["save"]}, "is not known here"),
        ({"do": "set"}, "set needs values"),
        ({"do": "set", "values": [1]}, "set needs values"),
        ({"do": "set", "values": {"lr_scale": float("nan")}}, "a factor above 0"),
        ({"do": "set", "values": {"save_steps": 1e400}}, "a whole number"),
    ],
)
def test_what_cannot_be_is_an_error_and_leaves_no_file(tmp_path: Path, message: dict[str, object], says: str) -> None:
    (answer,) = DoorDesk(str(tmp_path)).task(message)
    assert says in answer["error"]
    assert os.listdir(tmp_path) == []


def test_a_status_has_the_ranks_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from forge.control import heartbeat

    beats = tmp_path / "beats"
    beats.mkdir()
    monkeypatch.setenv("FORGE_HEARTBEATS", str(beats))
    heartbeat.own_heart.cache_clear()
    heart: Heart = heartbeat.own_heart()
    heart.mark("backward", 12)
    write_progress(str(tmp_path), RunProgress(12, 300, 2.5, 9.0))
    (status,) = DoorDesk(str(tmp_path)).task({"do": "status"})
    heartbeat.own_heart.cache_clear()
    assert status["status"]["ranks"] == [{"rank": 0, "step": 12, "phase": "backward"}]
    assert status["status"]["step"] == 12
