from __future__ import annotations

import json
import os
import threading
from typing import TYPE_CHECKING

import pytest

from forge.base.errors import FileError, UsageError
from forge.base.locks import claim
from forge.control.settings import (
    CHANGEABLE,
    SET_FILE,
    SetAnswer,
    SetRequest,
    ask_to_set,
    problem_of_setting,
    read_settings,
    requests_in,
    set_answer,
    write_set_answers,
)

if TYPE_CHECKING:
    from pathlib import Path


def test_words_are_values_by_name() -> None:
    assert read_settings(["lr_scale=0.5", "save_steps=100"]) == {"lr_scale": 0.5, "save_steps": 100}
    assert read_settings(["lr_scale=2"]) == {"lr_scale": 2}


@pytest.mark.parametrize(
    ("word", "what"),
    [
        ("lr_scale", "sets nothing"),
        ("max_steps=5", "max_steps cannot change while a run goes on"),
        ("lr_scale=0", "a factor above 0"),
        ("lr_scale=-1", "a factor above 0"),
        ("lr_scale=nan", "a factor above 0"),
        ("lr_scale=inf", "a factor above 0"),
        ("lr_scale=half", "not 'half'"),
        ("lr_scale=", "not ''"),
        ("save_steps=0", "a whole number, at least 1"),
        ("save_steps=2.5", "a whole number, at least 1"),
        ("eval_steps=1e99", "a whole number, at least 1"),
    ],
)
def test_what_no_run_can_go_by_is_refused(word: str, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        read_settings([word])


def test_a_name_is_set_once() -> None:
    with pytest.raises(UsageError, match="set twice"):
        read_settings(["lr_scale=1", "lr_scale=2"])


@pytest.mark.parametrize("value", [True, None, "1", [1], {}, 10**12])
@pytest.mark.parametrize("name", CHANGEABLE)
def test_what_is_no_number_of_use_is_a_problem(name: str, value: object) -> None:
    assert problem_of_setting(name, value)
    assert problem_of_setting(name, 1) == ""


def test_requests_wait_in_their_order(tmp_path: Path) -> None:
    first = ask_to_set(str(tmp_path), {"lr_scale": 0.5})
    second = ask_to_set(str(tmp_path), {"save_steps": 3})
    found = requests_in((tmp_path / SET_FILE).read_bytes())
    assert found == [SetRequest(first, {"lr_scale": 0.5}), SetRequest(second, {"save_steps": 3})]


def test_a_file_written_by_hand_is_a_request_of_nobody(tmp_path: Path) -> None:
    (tmp_path / SET_FILE).write_text('{"lr_scale": 0.5}')
    token = ask_to_set(str(tmp_path), {"eval_steps": 4})
    found = requests_in((tmp_path / SET_FILE).read_bytes())
    assert found == [SetRequest("", {"lr_scale": 0.5}), SetRequest(token, {"eval_steps": 4})]


@pytest.mark.parametrize(
    "content", ["", "[", "[" * 100_000, "1", "[1]", '[{"token": "a"}]', '[{"values": 1}]'], ids=range(7)
)
def test_what_is_no_request_is_told_and_gives_way_to_one(tmp_path: Path, content: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        requests_in(content.encode())
    (tmp_path / SET_FILE).write_text(content)
    token = ask_to_set(str(tmp_path), {"lr_scale": 2})
    assert [one.token for one in requests_in((tmp_path / SET_FILE).read_bytes())] == [token]


def test_an_answer_is_found_by_its_token(tmp_path: Path) -> None:
    folder = str(tmp_path)
    assert set_answer(folder, "a") is None
    given = [SetAnswer(str(number), number, {"lr_scale": (1.0, 0.5)}) for number in range(150)]
    write_set_answers(folder, given)
    assert set_answer(folder, "149") == given[-1]
    assert set_answer(folder, "49") is None
    (tmp_path / "settings.json").write_text("[")
    assert set_answer(folder, "149") is None


def test_who_asks_does_not_wait_for_ever(tmp_path: Path) -> None:
    held = claim(tmp_path / ".set.lock")
    assert held is not None
    with pytest.raises(FileError, match="held by another process"):
        ask_to_set(str(tmp_path), {"lr_scale": 1}, patience=0.05)
    held.release()


def test_no_request_of_many_is_lost(tmp_path: Path) -> None:
    """Whatever the two do at the same time, each request is in a list that the run takes; one that comes twice has its token."""
    folder, asked, taken = str(tmp_path), [], []
    done = threading.Event()

    def ask() -> None:
        asked.extend(ask_to_set(folder, {"lr_scale": 1.5}) for _ in range(50))

    def take() -> None:
        while True:
            last = done.is_set()
            try:
                os.replace(tmp_path / SET_FILE, tmp_path / "taken")
            except FileNotFoundError:
                if last:
                    return
                continue
            taken.extend(one.token for one in requests_in((tmp_path / "taken").read_bytes()))

    askers = [threading.Thread(target=ask) for _ in range(4)]
    taker = threading.Thread(target=take)
    for thread in (taker, *askers):
        thread.start()
    for asker in askers:
        asker.join()
    done.set()
    taker.join()
    assert len(asked) == 200
    assert set(asked) == set(taken)
    assert json.loads((tmp_path / "taken").read_text())
