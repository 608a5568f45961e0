"""``python -m forge.doctor.agent``: the doctor's hand on another host. It answers one question a line, and ends with its input.

Questions and answers are JSON; an answer begins with a mark, for a shell may greet before it lets us begin.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from typing import TYPE_CHECKING, Any, Final, TextIO

from forge.base.errors import ForgeError

if TYPE_CHECKING:
    from forge.doctor.link_speed import SpeedListener

__all__ = ["MARK", "DoctorsHand", "main"]

MARK: Final = "forge-doctor "
"""What an answer begins with."""


class DoctorsHand:
    """Does what it is asked on this host."""

    def __init__(self) -> None:
        self._listeners: list[SpeedListener] = []

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """The answer to one question; what goes wrong is an answer too."""
        what = str(question.get("do"))
        if what not in ("examine", "open", "reach", "clock", "leave", "sees", "take"):
            return {"error": f"{what} is not known here"}
        try:
            found: dict[str, Any] = getattr(self, f"_{what}")(question)
        except (ForgeError, OSError, ValueError, KeyError, TypeError) as error:
            return {"error": str(error) or type(error).__name__}
        return found

    def close(self) -> None:
        """Let go of all ports."""
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()

    def _examine(self, question: dict[str, Any]) -> dict[str, Any]:
        from forge.doctor.examine import DoctorsWish, examine_here, host_facts
        from forge.doctor.row import row_data

        wish = DoctorsWish(**question["wish"])
        return {"rows": [row_data(row) for row in examine_here(wish, alone=False)], "facts": host_facts()}

    def _open(self, question: dict[str, Any]) -> dict[str, Any]:
        from forge.doctor.link_speed import SpeedListener

        listener = SpeedListener(str(question["token"]), int(question["port"]))
        self._listeners.append(listener)
        return {"port": listener.port}

    def _reach(self, question: dict[str, Any]) -> dict[str, Any]:
        from forge.doctor.link_speed import measure_link
        from forge.launch.address import Endpoint

        endpoint = Endpoint(str(question["to"]), int(question["port"]))
        return measure_link(endpoint, str(question["token"]), bandwidth=bool(question.get("bandwidth")))._asdict()

    def _clock(self, _question: dict[str, Any]) -> dict[str, Any]:
        return {"now": time.time()}

    def _leave(self, question: dict[str, Any]) -> dict[str, Any]:
        from forge.doctor.storage import leave_token

        return {"path": leave_token(str(question["folder"]), str(question["token"]))}

    def _sees(self, question: dict[str, Any]) -> dict[str, Any]:
        from forge.doctor.storage import sees_token

        return {"sees": sees_token(str(question["path"]), str(question["token"]))}

    def _take(self, question: dict[str, Any]) -> dict[str, Any]:
        from forge.doctor.storage import take_token

        take_token(str(question["path"]))
        return {}


def main(questions: TextIO = sys.stdin, answers: TextIO = sys.stdout) -> int:
    """Answer until there are no more questions."""
    hand = DoctorsHand()
    _say(answers, {"number": 0, "name": socket.gethostname()})
    try:
        for line in questions:
            try:
                question = json.loads(line)
            except ValueError:
                question = {}
            asked = question if isinstance(question, dict) else {}
            _say(answers, {**hand.answer(asked), "number": asked.get("number")})
    finally:
        hand.close()
    return 0


def _say(answers: TextIO, answer: dict[str, Any]) -> None:
    answers.write(f"{MARK}{json.dumps(answer)}\n")
    answers.flush()


if __name__ == "__main__":
    sys.exit(main())
