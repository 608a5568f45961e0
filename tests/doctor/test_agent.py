from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

from forge.doctor.agent import MARK, DoctorsHand, main

if TYPE_CHECKING:
    from pathlib import Path


def answers(*questions: object) -> list[dict[str, Any]]:
    lines = [question if isinstance(question, str) else json.dumps(question) for question in questions]
    said = io.StringIO()
    assert main(io.StringIO("".join(f"{line}\n" for line in lines)), said) == 0
    assert all(line.startswith(MARK) for line in said.getvalue().splitlines())
    return [json.loads(line.removeprefix(MARK)) for line in said.getvalue().splitlines()]


def test_each_question_has_its_answer(tmp_path: Path) -> None:
    greeting, clock, unknown, junk, listed = answers(
        {"do": "clock", "number": 1}, {"do": "close", "number": 2}, "no JSON", "[]"
    )
    assert (greeting["number"], bool(greeting["name"])) == (0, True)
    assert (clock["number"], clock["now"] > 0) == (1, True)
    assert unknown == {"error": "close is not known here", "number": 2}
    assert junk == listed == {"error": "None is not known here", "number": None}
    left = answers({"do": "leave", "folder": str(tmp_path), "token": "a" * 32})[1]["path"]
    found = answers({"do": "sees", "path": left, "token": "a" * 32}, {"do": "take", "path": left})
    assert found[1] == {"sees": True, "number": None}
    assert list(tmp_path.iterdir()) == []


def test_ports_are_opened_and_reached() -> None:
    hand = DoctorsHand()
    try:
        port = hand.answer({"do": "open", "port": 0, "token": "t"})["port"]
        assert "in use" in hand.answer({"do": "open", "port": port, "token": "t"})["error"]
        found = hand.answer({"do": "reach", "to": "127.0.0.1", "port": port, "token": "t"})
        assert (found["answer"], found["known"], found["bandwidth"]) == ("open", True, None)
    finally:
        hand.close()
    assert hand.answer({"do": "reach", "to": "127.0.0.1", "port": port, "token": "t"})["answer"] == "closed"
    assert "token" in hand.answer({"do": "open", "port": 0})["error"]
