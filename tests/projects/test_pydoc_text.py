"""The text of the pydoc project."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from forge.base.places import shipped_projects

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = os.path.join(shipped_projects(), "pydoc", "src")
DIGEST = """
import hashlib, sys
import pydoc_text
rows = [*pydoc_text.documents(), *pydoc_text.documents("held_out"), *pydoc_text.question_answers()]
print(hashlib.sha256(repr(rows).encode()).hexdigest())
print(*sorted(name for name in ("torch", "turtle", "tkinter", "idlelib", "imaplib", "unittest", "ftplib") if name in sys.modules))
"""


@pytest.fixture(scope="module")
def text() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SOURCE)
        yield importlib.import_module("pydoc_text")


def _fresh_process(hash_seed: str) -> list[str]:
    environment = {**os.environ, "PYTHONPATH": SOURCE, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run([sys.executable, "-c", DIGEST], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_there_is_enough_to_learn_from(text: Any) -> None:
    assert len(text.documents()) > 1_000
    assert sum(map(len, text.documents())) > 1_000_000
    assert len(text.question_answers()) > 2_000


def test_one_name_in_twenty_is_held_out_and_nothing_is_in_both(text: Any) -> None:
    train, held_out = set(text.documents()), set(text.documents("held_out"))
    assert not train & held_out
    assert 0.03 < len(held_out) / len(train) < 0.09
    answers = [
        {row["messages"][1]["content"] for row in text.question_answers(split)} for split in ("train", "held_out")
    ]
    assert not answers[0] & answers[1]
    assert answers[1]


def test_the_text_is_the_same_in_every_process_and_the_library_is_read_not_imported() -> None:
    first, second = _fresh_process("1"), _fresh_process("2")
    assert first == second
    assert first[1:] == [""]


def test_a_well_known_function_is_asked_about(text: Any) -> None:
    rows = [row["messages"] for split in ("train", "held_out") for row in text.question_answers(split)]
    question, answer = next(turns for turns in rows if "os.path.join" in turns[0]["content"])
    assert (question["role"], answer["role"]) == ("user", "assistant")
    assert answer["content"].startswith("Join two or more pathname components")


def test_answers_are_prose_of_a_fitting_length(text: Any) -> None:
    for row in text.question_answers():
        answer = row["messages"][1]["content"]
        assert 30 <= len(answer) <= 1500
        assert not answer.startswith(">>>")


@pytest.mark.usefixtures("text")
def test_no_private_name_is_asked_about() -> None:
    entries = importlib.import_module("pydoc_text.docstrings").entries()
    assert not [entry.name for entry in entries if any(part.startswith("_") for part in entry.name.split("."))]


def test_a_method_stands_beside_its_class(text: Any) -> None:
    everything = [*text.documents(), *text.documents("held_out")]
    document = next(document for document in everything if document.startswith("textwrap.TextWrapper\n"))
    assert "textwrap.TextWrapper.wrap(text)" in document


def test_a_split_that_does_not_exist_is_refused(text: Any) -> None:
    with pytest.raises(ValueError, match="train or held_out, not 'test'"):
        text.documents("test")
