from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from forge.ml.serve.__main__ import main

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import RealServer


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--host", "0.0.0.0"], "no API key"),  # noqa: S104 - it is refused
        (["--host", "::"], "no API key"),
        (["--host", "192.0.2.1"], "no API key"),
        (["--api-key-file", "empty.txt"], "holds no key"),
        (["--api-key-file", "short.txt"], "16 characters"),
        (["--api-key-file", "nosuch.txt"], "nosuch.txt"),
        (["--host", "no.such.host.invalid", "--api-key-file", "key.txt"], "cannot listen"),
        (["--port", "0"], "no config.json"),
        (["--port", "0", "--from-checkpoint"], "no checkpoints"),
    ],
)
def test_a_mistake_is_told_before_anything_is_loaded(
    words: list[str], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("uvicorn")
    pytest.importorskip("fastapi")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FORGE_API_KEY", raising=False)
    (tmp_path / "empty.txt").write_text("\n \n")
    (tmp_path / "short.txt").write_text("hunter2\n")
    (tmp_path / "key.txt").write_text("a-key-of-enough-letters\n")
    (tmp_path / "model").mkdir()
    assert main(["--model", "model", *words]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert reason in said
    assert "hunter2" not in said


def test_a_port_that_is_taken_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import socket

    pytest.importorskip("fastapi")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["--model", str(tmp_path), "--host=127.0.0.1", f"--port={taken.getsockname()[1]}"]) == 2
    assert "choose another port" in capsys.readouterr().err


@pytest.mark.torch
@pytest.mark.slow
def test_the_newest_checkpoint_of_a_run_is_served(real_server: RealServer) -> None:
    chat = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 5, "temperature": 0, "ignore_eos": True}
    found = _post(real_server, "/v1/chat/completions", chat)
    assert found["model"] == "run"
    assert found["usage"]["completion_tokens"] == 5
    vector = _post(real_server, "/v1/embeddings", {"input": "abc"})["data"][0]["embedding"]
    assert sum(one * one for one in vector) == pytest.approx(1, abs=1e-4)


def _post(server: RealServer, path: str, body: Any) -> Any:
    return json.loads(server.ask("POST", path, json.dumps(body).encode())[1])
