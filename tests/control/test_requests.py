from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from forge.base.errors import FileError
from forge.base.locks import claim
from forge.control.requests import (
    ABORT_FILE,
    SAVE_FILE,
    STOP_FILE,
    SaveAnswer,
    ask_to_abort,
    ask_to_save,
    ask_to_stop,
    save_answer,
    write_answers,
)

if TYPE_CHECKING:
    from pathlib import Path


def test_stop_and_abort_are_files(tmp_path: Path) -> None:
    ask_to_stop(str(tmp_path))
    ask_to_abort(str(tmp_path))
    ask_to_stop(str(tmp_path))
    assert sorted(os.listdir(tmp_path)) == sorted([ABORT_FILE, STOP_FILE])


def test_a_run_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    for ask in (ask_to_stop, ask_to_abort, ask_to_save):
        with pytest.raises(FileError, match="cannot write"):
            ask(str(tmp_path / "gone"))


def test_who_asks_before_the_run_has_looked_joins(tmp_path: Path) -> None:
    folder = str(tmp_path)
    first = ask_to_save(folder)
    assert ask_to_save(folder) == first
    assert (tmp_path / SAVE_FILE).read_text() == first
    os.unlink(tmp_path / SAVE_FILE)
    assert ask_to_save(folder) != first


def test_a_file_made_by_hand_gets_a_token(tmp_path: Path) -> None:
    (tmp_path / SAVE_FILE).touch()
    token = ask_to_save(str(tmp_path))
    assert token
    assert (tmp_path / SAVE_FILE).read_text() == token


def test_an_answer_is_found_by_its_token(tmp_path: Path) -> None:
    folder = str(tmp_path)
    assert save_answer(folder, "a") is None
    given = [SaveAnswer(str(number), number, f"/c/{number}") for number in range(300)]
    write_answers(folder, given)
    assert save_answer(folder, "299") == given[-1]
    assert save_answer(folder, "200") == given[200]
    assert save_answer(folder, "199") is None  # nobody waits that long with reading
    (tmp_path / "saved.json").write_text("[")
    assert save_answer(folder, "299") is None


def test_no_request_is_lost_between_many_who_ask_and_one_who_takes(tmp_path: Path) -> None:
    """Every token that somebody holds was in the file when the run took it, however the two meet."""
    folder = str(tmp_path)
    asked: list[str] = []
    taken: set[str] = set()
    done = threading.Event()

    def ask() -> None:
        for _ in range(100):
            asked.append(ask_to_save(folder))

    def take() -> None:
        while True:
            last = done.is_set()
            try:
                os.replace(tmp_path / SAVE_FILE, tmp_path / "taken")
            except FileNotFoundError:
                if last:
                    return
                continue
            taken.add((tmp_path / "taken").read_text())

    askers = [threading.Thread(target=ask) for _ in range(4)]
    taker = threading.Thread(target=take)
    for thread in (taker, *askers):
        thread.start()
    for asker in askers:
        asker.join()
    done.set()
    taker.join()
    assert len(asked) == 400
    assert set(asked) == taken
    assert len(taken) > 1


def test_who_asks_does_not_wait_for_ever_for_others(tmp_path: Path) -> None:
    held = claim(tmp_path / ".save.lock")
    assert held is not None
    with pytest.raises(FileError, match="held by another process"):
        ask_to_save(str(tmp_path), patience=0.05)
    held.release()
