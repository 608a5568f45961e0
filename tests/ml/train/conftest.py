"""Small real runs: a project, its frozen configs, runs that are carried out in this process, and bad ones that are refused."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "resume"))

from small_run import CONFIG, carry_out, make_project

import forge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from forge.ml.train.callback import Callback
    from forge.ml.train.run import Run

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
CHAT = """
dataset:
  _target_: forge.ml.data.corpus.ChatCorpus
  train: {_target_: forge.ml.data.read.file_rows, paths: ["FOLDER/chat.jsonl"]}
  max_length: 32
  template: chatml
tokenizer:
  _target_: forge.ml.data.tokenizer.pretrained
  path: FOLDER/tokenizer
model:
"""


def turns(answer: str = "yes") -> dict[str, Any]:
    """A row with a conversation."""
    return {"messages": [{"role": "user", "content": "why"}, {"role": "assistant", "content": answer}]}


def write_rows(path: Path, *rows: Any) -> Path:
    """A file of JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _write_folders(folder: Path) -> None:
    """A tokenizer, and a model with its weights."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    from forge.ml.data.tokenizer import train_bpe

    texts = [path.read_text() for path in sorted((folder / "text").iterdir())]

    class Texts:
        def texts(self) -> Iterator[str]:
            return iter(texts)

    train_bpe(Texts(), 300).save_pretrained(folder / "tokenizer")
    torch.manual_seed(1)
    shape = {"vocab_size": 300, "n_positions": 32, "n_embd": 32, "n_layer": 2, "n_head": 2}
    GPT2LMHeadModel(GPT2Config(**shape, bos_token_id=1, eos_token_id=2)).save_pretrained(folder / "model")


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the configs ``run`` (documents) and ``chat`` (conversations), and the folders ``tokenizer`` and ``model``."""
    pytest.importorskip("transformers")
    folder = make_project(tmp_path_factory.mktemp("small"))
    _write_folders(folder)
    write_rows(folder / "chat.jsonl", *[turns(f"yes {number}") for number in range(20)])
    head, rest = CONFIG.split("dataset:\n")
    chat = head + CHAT + rest.split("model:\n")[1]
    (folder / "configs" / "chat.yaml").write_text(chat.replace("FOLDER", str(folder)))
    return folder


@pytest.fixture
def freeze(project: Path, tmp_path: Path) -> Callable[..., str]:
    """Freezes a config, by default ``run``, whose output is ``out``: four steps, without evaluations unless asked for."""
    numbers = count()

    def frozen(*overrides: str, config: str = "run") -> str:
        folder = str(tmp_path / "runs" / str(next(numbers)))
        first = ("trainer.max_steps=4", "trainer.eval_strategy=no", f"trainer.output_dir={tmp_path}/out")
        forge.open(project).config(config, *first, *overrides).freeze(folder)
        return folder

    return frozen


@pytest.fixture
def carried(freeze: Callable[..., str]) -> Callable[..., Run]:
    """Carries a run out in this process, to its end."""

    def carry(*overrides: str, callbacks: tuple[Callback, ...] = (), config: str = "run") -> Run:
        return carry_out(freeze(*overrides, config=config), *callbacks)

    return carry


@pytest.fixture
def made(freeze: Callable[..., str]) -> Iterator[Callable[..., Run]]:
    """Sets a run up, in which no step is taken, and gives back what it holds when the test is over."""
    from forge.ml.train.setup import set_up
    from forge.ml.train.stopping import Stopping

    with contextlib.ExitStack() as stack:

        def make(*overrides: str, config: str = "run") -> Run:
            run = set_up(freeze(*overrides, config=config), Stopping())
            stack.callback(run.close)
            return run

        yield make


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[str], Any]]:
    """Runs the main function on a run folder: its exit code and what it said."""
    from forge.ml.train.__main__ import main

    monkeypatch.delenv("FORGE_DEBUG", raising=False)
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def run(folder: str) -> tuple[int, str]:
        capsys.readouterr()
        code = main([folder])
        return code, capsys.readouterr().err

    yield run
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def refused(freeze: Callable[..., str], ended: Callable[[str], Any]) -> Callable[..., str]:
    """The one message with which a run is refused before its first step."""

    def message(*overrides: str, config: str = "run", folder: str | None = None) -> str:
        folder = folder or freeze(*overrides, config=config)
        code, said = ended(folder)
        assert code == 2, said
        assert "Traceback" not in said
        assert f"\n{said}".count("\nerror: ") == 1, said
        assert '"loss"' not in metrics_of(folder)
        found = said[said.index("error: ") :]
        assert 1 <= len(found.splitlines()) <= 4, found
        return found

    return message


def metrics_of(folder: str) -> str:
    """What a run has written of its figures."""
    path = Path(folder, "metrics.jsonl")
    return path.read_text() if path.exists() else ""


@pytest.fixture
def records() -> Callable[[Any], list[dict[str, Any]]]:
    """The lines of a run's figures."""
    return lambda run: [json.loads(line) for line in metrics_of(run.folder).splitlines()]


@pytest.fixture
def rows_file(tmp_path: Path) -> Callable[..., str]:
    """The override that lets the config ``chat`` learn from these rows."""
    return lambda *rows: f"dataset.train.paths=[{write_rows(tmp_path / 'rows.jsonl', *rows)}]"


@pytest.fixture
def turn() -> Callable[[str], dict[str, Any]]:
    """A row with a conversation."""
    return turns
