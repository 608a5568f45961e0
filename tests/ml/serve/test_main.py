from __future__ import annotations

import contextlib
import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from forge.ml.serve.__main__ import _engine, _parser, main

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


@pytest.mark.torch
def test_every_flag_of_the_engine_is_followed(whole_folder: Path) -> None:
    import torch

    from forge.ml.serve.batcher import BatcherLimits

    words = ["--served-model-name=other", "--chat-template=chatml", "--dtype=bfloat16", "--device=cpu"]
    words += ["--attn-implementation=eager", "--max-model-len=64", "--max-num-seqs=3", "--max-waiting=2"]
    folder = str(whole_folder.parent / "model")
    engine, model, follower = _engine(_parser().parse_args(["--model", folder, "--pooling=last", *words]))
    assert (model.name, follower, engine.pooling) == ("other", None, "last")
    assert model.template is not None
    assert "tool" not in model.template  # the folder's own has tools
    limits = engine._limits
    assert limits == BatcherLimits(slots=3, waiting=2, longest=64, cached=limits.cached)
    served = engine._steps._model
    assert (served.dtype, served.config._attn_implementation) == (torch.bfloat16, "eager")


@pytest.mark.torch
def test_a_newer_checkpoint_takes_over(whole_folder: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    from forge.ml.checkpoint.store import Store

    run = shutil.copytree(whole_folder, tmp_path / "run")
    engine, _, follower = _engine(_parser().parse_args(["--model", str(run), "--from-checkpoint", "--follow=600"]))
    assert follower is not None
    older = engine._steps._model.lm_head.weight
    with contextlib.closing(engine):
        engine.start()
        assert not follower.look()
        newer = run / "newer"
        shutil.copytree(run / "checkpoints" / "checkpoint-3", newer)
        weights = load_file(newer / "model.safetensors")
        save_file({name: tensor + 1 for name, tensor in weights.items()}, newer / "model.safetensors", {"format": "pt"})
        store = Store(run / "checkpoints")
        with store.begin(4) as stage:
            for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
                stage.write_bytes(name, (newer / name).read_bytes())
            stage.commit({})
        store.release()
        assert follower.look()
    assert torch.equal(engine._steps._model.lm_head.weight, older + 1)


def _post(server: RealServer, path: str, body: Any) -> Any:
    return json.loads(server.ask("POST", path, json.dumps(body).encode())[1])
