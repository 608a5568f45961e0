from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from forge.chatting.chat_server import ChatServer
from forge.chatting.loop import Typed, interact, say_harmlessly, typed_lines
from forge.chatting.talk import Talk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import SpokenServer


def _typed(*lines: str | type[BaseException]) -> Typed:
    rest = iter(lines)

    def read(_prompt: str) -> str:
        line = next(rest, EOFError)
        if isinstance(line, str):
            return line
        raise line

    return Typed(read)


def _talk(spoken: SpokenServer, *lines: str | type[BaseException]) -> tuple[str, Talk]:
    said: list[str] = []
    talk = Talk()
    interact(ChatServer(spoken.url), "small", talk, _typed(*lines), said.append)
    return "".join(said), talk


def test_lines_become_messages() -> None:
    for lines, message in [
        (["hi "], "hi"),
        (["a\\", "b\\", "c"], "a\nb\nc"),
        (['"""', "a", "", "b", '"""'], "a\n\nb"),
        (['"""one"""'], "one"),
        (['"""one', 'two"""'], "one\ntwo"),
    ]:
        assert _typed(*lines).message() == message
    with pytest.raises(EOFError):
        _typed('"""', "a").message()


def test_a_talk_goes_on_from_what_was_said(spoken: SpokenServer) -> None:
    out, talk = _talk(spoken, "hi", "", "more", "quit", "never")
    assert out.count("Hello") == 2
    assert [message["role"] for message in talk.said] == ["user", "assistant"] * 2
    assert len(spoken.asked[1][1]["messages"]) == 3


@pytest.mark.parametrize("word", ["quit", "exit", "q", "/quit", EOFError])
def test_it_ends_when_the_user_says_so(spoken: SpokenServer, word: str | type[BaseException]) -> None:
    _talk(spoken, KeyboardInterrupt, word, "never")
    assert spoken.asked == []


def test_commands_and_mistakes_stay_here(spoken: SpokenServer) -> None:
    out, talk = _talk(spoken, "/set seed 5", "/sett", "/help", "/etc/passwd is a path", "/undo")
    assert "seed = 5" in out
    assert "there is no command /sett" in out
    assert len(spoken.asked) == 1
    assert spoken.asked[0][1]["seed"] == 5
    assert talk.said == []


def test_an_answer_can_be_had_anew(spoken: SpokenServer) -> None:
    _, talk = _talk(spoken, "hi", "/retry", "/undo", "/retry")
    assert len(spoken.asked) == 2
    assert spoken.asked[0] == spoken.asked[1]
    assert talk.said == []


def test_a_server_that_refuses_does_not_end_the_talk(spoken: SpokenServer) -> None:
    spoken.refusal = (400, {"error": {"message": "not now"}})
    out, talk = _talk(spoken, "hi", "again")
    assert out.count("not now") == 2
    assert talk.said == []


def test_ctrl_c_ends_the_answer_and_keeps_what_was_said() -> None:
    class Interrupted(ChatServer):
        def chat(self, *_: object) -> Iterator[str]:
            yield "half"
            raise KeyboardInterrupt

    talk = Talk()
    interact(Interrupted("http://x"), "small", talk, _typed("hi"), lambda _text: None)
    assert talk.said[-1] == {"role": "assistant", "content": "half"}


def test_a_text_cannot_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    say_harmlessly("a\x1b[2Jb\n\tc\r\x07ü")
    assert capsys.readouterr().out == "a[2Jb\n\tcü"


def test_a_pipe_is_read_line_by_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("one\ntwo\\\nthree\n"))
    typed: Callable[[], str] = typed_lines().message
    assert [typed(), typed()] == ["one", "two\nthree"]
    with pytest.raises(EOFError):
        typed()
