from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from forge.base.errors import ToolError
from forge.doctor.remote import RemoteHand, hand_command

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = str(Path.cwd())


def test_what_is_run_there_is_quoted() -> None:
    *before, host, line = hand_command("dave@hal", "/a b/python", "/it's here")
    assert (before[0], host) == ("ssh", "dave@hal")
    assert shlex.split(line)[:2] == ["cd", "/it's here"]
    assert shlex.split(line)[-3:] == ["/a b/python", "-m", "forge.doctor.agent"]


@pytest.fixture
def hand(ssh: Path) -> Iterator[RemoteHand]:
    assert ssh.exists()
    found = RemoteHand("hal", hand_command("hal", sys.executable, HERE))
    yield found
    found.close()


def test_a_hand_answers_in_order(hand: RemoteHand) -> None:
    hand.ask(do="clock")
    hand.ask(do="nonsense")
    assert hand.take(20)["name"]
    assert "now" in hand.take(20)
    assert hand.take(20)["error"] == "nonsense is not known here"


def test_a_late_answer_is_not_that_to_another_question(hand: RemoteHand) -> None:
    hand.take(20)
    hand._expected.append(98)  # asked, and never answered
    with pytest.raises(ToolError, match="hal gave no answer within 0 seconds"):
        hand.take(0)
    hand._answers.put({"number": 98})
    hand.ask(do="nonsense")
    assert "error" in hand.take(20)


@pytest.mark.parametrize(
    ("host", "says", "hint"),
    [
        ("gone", "ssh does not reach gone: ssh: no route to gone", "`ssh gone true` has to work without a password"),
        ("bare", "forge does not run on bare: .*No module named", "the same Python and the same folder"),
    ],
)
@pytest.mark.usefixtures("ssh")
def test_why_there_is_none(host: str, says: str, hint: str) -> None:
    hand = RemoteHand(host, hand_command(host, sys.executable, HERE))
    try:
        for _ in range(2):
            hand.ask(do="clock")
            with pytest.raises(ToolError, match=says) as caught:
                hand.take(20)
            assert hint in (caught.value.hint or "")
    finally:
        hand.close()
