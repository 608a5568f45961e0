from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from forge.ml.serve.__main__ import main

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


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


@pytest.fixture(scope="module")
def whole_folder(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model with weights, as the newest checkpoint of a run."""
    torch = pytest.importorskip("torch")
    from tiny_sizes import TINY
    from transformers import LlamaConfig, LlamaForCausalLM

    from forge.ml.checkpoint.store import Store

    path = shutil.copytree(folder, tmp_path_factory.mktemp("whole") / "model")
    torch.manual_seed(1)
    LlamaForCausalLM(LlamaConfig(**{**TINY, "vocab_size": 261})).save_pretrained(path)
    store = Store(path.parent / "run" / "checkpoints")
    stage = store.begin(3)
    for entry in path.iterdir():
        stage.write_bytes(entry.name, entry.read_bytes())
    stage.commit({})
    store.release()
    return path.parent / "run"


@contextlib.contextmanager
def _served(words: list[str], environment: dict[str, str]) -> Iterator[str]:
    command = [sys.executable, "-m", "forge.ml.serve", "--host=127.0.0.1", "--port=0", *words]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1", **environment}
    ) as process:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        address = next((line.split()[3] for line in lines if line.startswith("serving ")), "")
        try:
            assert address, "the server did not come up"
            yield address
        finally:
            process.send_signal(signal.SIGINT)
            rest = process.stderr.read()
            assert process.wait(30) in (0, 130, -signal.SIGINT)
            assert "Traceback" not in rest


def _post(address: str, path: str, body: Any, key: str) -> Any:
    headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
    request = urllib.request.Request(address + path, json.dumps(body).encode(), headers)  # noqa: S310 - our own
    end = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - as above
                return json.load(answer)
        except (ConnectionError, urllib.error.URLError):
            assert time.monotonic() < end
            time.sleep(0.1)


@pytest.mark.torch
@pytest.mark.slow
def test_the_newest_checkpoint_of_a_run_is_served(whole_folder: Path) -> None:
    pytest.importorskip("fastapi")
    key = "a-key-of-enough-letters"
    words = ["--model", str(whole_folder), "--from-checkpoint", "--pooling=mean", "--max-model-len=128"]
    with _served(words, {"FORGE_API_KEY": key}) as address:
        chat = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 5, "temperature": 0, "ignore_eos": True}
        found = _post(address, "/v1/chat/completions", chat, key)
        assert found["model"] == "run"
        assert found["usage"]["completion_tokens"] == 5
        vector = _post(address, "/v1/embeddings", {"input": "abc"}, key)["data"][0]["embedding"]
        assert sum(one * one for one in vector) == pytest.approx(1, abs=1e-4)
