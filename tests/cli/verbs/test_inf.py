from __future__ import annotations

import io
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Run


class _Server(HTTPServer):
    models: tuple[str, ...] = ("small",)
    asked: dict[str, object]


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def log_message(self, *_: object) -> None:
        return

    def do_GET(self) -> None:
        self._answer(json.dumps({"data": [{"id": name} for name in self.server.models]}))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.asked = {"key": self.headers["authorization"], **json.loads(body)}
        choices = [{"delta": {"content": text}, "text": text} for text in ("Hi! ", "I am Small.")]
        self._answer("".join(f"data: {json.dumps({'choices': [choice]})}\n\n" for choice in choices))

    def _answer(self, text: str) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())


@pytest.fixture
def spoken() -> Iterator[_Server]:
    with _Server(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def url(spoken: _Server) -> str:
    return f"http://127.0.0.1:{spoken.server_port}/v1"


def test_the_server_is_another_process(run: Run, started: list[Any], tmp_path: Path) -> None:
    words = ["-c", "-m", str(tmp_path), "--port", "8123", "--chat-template=chatml", "--follow", "30"]
    assert run("inf", "server", *words).code == 3
    module, *arguments = started[0]
    assert module == "forge.ml.serve"
    assert arguments == [
        f"--model={tmp_path}",
        "--from-checkpoint",
        "--follow=30.0",
        "--port=8123",
        "--chat-template=chatml",
    ]


def test_any_free_port_may_be_asked_for(run: Run, started: list[Any], tmp_path: Path) -> None:
    assert run("inf", "server", "-m", str(tmp_path), "--port", "0").code == 3
    assert "--port=0" in started[0]


def test_every_flag_of_the_server_is_one_of_its_process(run: Run, started: list[Any], tmp_path: Path) -> None:
    from forge.cli.verbs.inf import _BOTH, _SERVER
    from forge.ml.serve.__main__ import _parser

    words = []
    for option in (*_BOTH, *_SERVER):
        value = str(tmp_path) if option.value in {"MODEL", "FOLDER"} else option.choices[-1] if option.choices else "1"
        words += [option.names[-1], value] if option.value else [option.names[-1]]
    assert run("inf", "server", *words).code == 3
    options = _parser().parse_args(started[0][1:])
    assert all(value not in (None, False) for value in vars(options).values())


def test_a_question_is_answered(run: Run, url: str, spoken: _Server, tmp_path: Path) -> None:
    key = tmp_path / "key.txt"
    key.write_text("a-key\n")
    asked = ["--message", "Hello, what is your name?", "--system", "S", "--max-tokens", "9", "--api-key-file", str(key)]
    for stream in ([], ["--stream"]):
        done = run("inf", "client", "--url", url, *asked, *stream)
        assert (done.code, done.out, done.errors) == (0, "Hi! I am Small.\n", "")
    assert spoken.asked["messages"][0] == {"role": "system", "content": "S"}  # type: ignore[index]
    assert (spoken.asked["max_tokens"], spoken.asked["model"], spoken.asked["key"]) == (9, "small", "Bearer a-key")


def test_every_setting_is_sent(run: Run, url: str, spoken: _Server) -> None:
    words = ["--temperature", "0.5", "--top-p", "0.9", "--top-k", "7", "--seed", "3", "--stop", "END"]
    assert run("inf", "client", "--url", url, "--message", "x", *words).code == 0
    wanted = {"temperature": 0.5, "top_p": 0.9, "top_k": 7, "seed": 3, "stop": "END"}
    assert wanted.items() <= spoken.asked.items()
    assert "max_tokens" not in spoken.asked


def test_a_text_goes_on(run: Run, url: str, spoken: _Server) -> None:
    done = run("inf", "client", "--url", url, "--completion", "Once upon ", "--max-tokens", "50", "-m", "other")
    assert done.out == "Once upon Hi! I am Small.\n"
    assert (spoken.asked["prompt"], spoken.asked["model"]) == ("Once upon ", "other")


def test_a_talk_from_a_pipe(run: Run, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("hi\n/undo\nquit\n"))
    done = run("inf", "client", "--url", url)
    assert done.code == 0
    assert "Chatting with small" in done.out
    assert "taken back: hi" in done.out


def test_models_are_listed_and_one_of_several_is_named(run: Run, url: str, spoken: _Server) -> None:
    spoken.models = ("a", "b")
    assert run("inf", "client", "--url", url, "--list-models").out == "a\nb\n"
    done = run("inf", "client", "--url", url, "--message", "x")
    assert (done.code, "--model" in done.errors) == (2, True)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["server"], "needs a model"),
        (["server", "-m", "nosuch"], "no folder 'nosuch'"),
        (["server", "-m", ".", "--message", "x"], "no flag '--message'"),
        (["server", "-m", ".", "--follow", "3"], "for checkpoints"),
        (["server", "-c", "-m", ".", "--follow", "0"], "--follow is a number from 1 to"),
        (["server", "-c", "-m", ".", "--follow", "nan"], "--follow is a number from 1 to"),
        (["server", "-m", ".", "--port", "99999"], "--port is a number from 0 to 65535, not 99999"),
        (["server", "-m", ".", "--max-num-seqs", "0"], "--max-num-seqs is a number from 1 to"),
        (["server", "-m", ".", "--max-waiting", "0"], "--max-waiting is a number from 1 to"),
        (["server", "-m", ".", "--max-model-len", "-1"], "--max-model-len is a number from 1 to"),
        (["server", "-m", ".", "--seed", "0"], "no flag '--seed'"),
        (["client", "--port", "3"], "no flag '--port'"),
        (["client", "--message", "a", "--completion", "b"], "two questions"),
        (["client", "--url", "ftp://x", "--message", "a"], "no address"),
        (["client", "--api-key-file", "/dev/null", "--message", "a"], "/dev/null"),
        (["servr"], "did you mean 'server'"),
    ],
)
def test_a_mistake_is_told(run: Run, words: list[str], told: str) -> None:
    done = run("inf", *words)
    assert done.code == 2
    assert told in done.errors
