from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from forge.base.errors import ToolError, UsageError
from forge.chatting.chat_server import ChatServer

if TYPE_CHECKING:
    from conftest import SpokenServer


def test_a_chat_comes_piece_by_piece(spoken: SpokenServer) -> None:
    server = ChatServer(spoken.url, "secret-key")
    said = list(server.chat("small", [{"role": "user", "content": "hi"}], {"temperature": 0.5}))
    assert [piece for piece in said if piece] == spoken.words
    path, body, key = spoken.asked[0]
    assert (path, key) == ("/v1/chat/completions", "Bearer secret-key")
    assert body == {
        "temperature": 0.5,
        "model": "small",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
    }
    assert "secret-key" not in repr(vars(server))


def test_a_text_goes_on(spoken: SpokenServer) -> None:
    server = ChatServer(spoken.url.removeprefix("http://"))
    assert "".join(server.complete("small", "Once", {})) == "".join(spoken.words)
    assert spoken.asked[0][1]["prompt"] == "Once"
    assert spoken.asked[0][2] is None
    assert server.models() == ["small"]


@pytest.mark.parametrize(
    ("status", "found", "told"),
    [
        (400, {"error": {"message": "too\nlong"}}, "refuses (400): too long"),
        (422, {"detail": "no"}, "refuses (422): no"),
        (500, b"<html>", "refuses (500): it does not say why"),
        (401, {"error": "who?"}, "--api-key-file"),
    ],
)
def test_a_refusal_is_told(spoken: SpokenServer, status: int, found: Any, told: str) -> None:
    spoken.refusal = (status, found)
    with pytest.raises(ToolError) as error:
        list(ChatServer(spoken.url).chat("small", [], {}))
    assert told in str(error.value)


def test_a_stream_that_breaks_is_told(spoken: SpokenServer) -> None:
    spoken.extra = ["data: no JSON", "data: [1]", {"error": {"message": "it broke"}}]
    with pytest.raises(ToolError, match="could not finish: it broke"):
        list(ChatServer(spoken.url).chat("small", [], {}))


def test_a_server_that_is_not_there_is_told() -> None:
    with pytest.raises(ToolError, match=r"(?s)does not answer.*forge inf server"):
        ChatServer("http://127.0.0.1:9/v1", timeout=5).models()


@pytest.mark.parametrize("url", ["ftp://x", "http://", "file:///etc/passwd", "http://x:99999", "http://x:y"])
def test_an_address_that_is_none_is_a_mistake(url: str) -> None:
    with pytest.raises(UsageError, match=r"address|port"):
        ChatServer(url)
