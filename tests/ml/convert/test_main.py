from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.torch
pytest.importorskip("transformers")
main = pytest.importorskip("forge.ml.convert.__main__").main


@pytest.fixture(autouse=True)
def _no_debug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORGE_DEBUG", raising=False)


def test_a_dry_run_says_what_would_be_done(
    model_folder: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, tokens = str(model_folder()), tmp_path / "tokens.yaml"
    tokens.write_text("special_tokens: [<|im_start|>, {token: <|im_end|>, init: </s>}, {token: z, init: [a, b]}]")
    before = sorted(os.listdir(tmp_path))
    words = ["convert", "--template=chatml", f"--add-tokens={tokens}", "--max-shard-size=20kB", "--dry-run"]
    assert main([*words, "--", source, str(tmp_path / "new")]) == 0
    said = capsys.readouterr().out
    for line in (
        "llama (hf), 21 tensors",
        "becomes: llama, float32, ",
        "token 259: <|im_start|>, which begins as the mean of all",
        "token 260: <|im_end|>, which begins as token 2",
        "generation stops at <|im_end|>",
        "nothing was written",
    ):
        assert line in said
    assert sorted(os.listdir(tmp_path)) == before


def test_a_conversion_is_checked_and_written(
    model_folder: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = str(model_folder())
    assert main(["convert", "--check", "--template=llama3", "--to=assembled", source, str(tmp_path / "new")]) == 0
    said = capsys.readouterr()
    assert "check: logits differ by" in said.out
    assert (
        "note: the chat template ends a turn with '<|eot_id|>', which is no token: add it with --add-tokens" in said.out
    )
    assert (tmp_path / "new" / "config.json").is_file()
    assert main(["export", source, str(tmp_path / "other")]) == 2
    assert "there are no checkpoints in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--max-shard-size=much"], "'much' is no size of a file"),
        (["--max-shard-size=0"], "'0' is no size of a file"),
        (["--template=nothing"], "there is no chat template nothing"),
    ],
)
def test_a_mistake_is_two_lines_and_no_traceback(
    model_folder: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    folder = model_folder()
    capsys.readouterr()  # transformers' own progress, as the model is made
    assert main(["convert", *words, str(folder), str(tmp_path / "new")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert message in said
    assert len(said.splitlines()) <= 3
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_nothing_and_no_traceback(
    model_folder: Callable[..., Path], tmp_path: Path, sent: signal.Signals
) -> None:
    source, room = model_folder(), tmp_path / "room"
    room.mkdir()
    slow = """
import time
from forge.ml.convert import convert
from forge.base.ending import run_program
from forge.ml.convert.__main__ import main

def writes_for_long(folder, *_):
    with folder.file("model.safetensors") as file:
        file.write(b"half")
        print("writing", flush=True)
        time.sleep(60)

convert.write_shards = writes_for_long
run_program(main)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", slow, "convert", str(source), str(room / "new")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert any(line == "writing\n" for line in process.stdout)
    assert len(os.listdir(room)) == 1
    process.send_signal(sent)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (128 + sent, "")
    assert os.listdir(room) == []
