from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Run

CONFIG = "dataset:\n  _target_: builtins.dict\n  size: 1\ntokenizer:\n  _target_: builtins.dict\n"


@pytest.fixture
def started(project: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the verb starts in place of the module, and what lay in the folder then."""
    (project / "configs" / "rows.yaml").write_text(CONFIG)
    calls: list[Any] = []

    def run_module(module: str, arguments: list[str], *, environment: Any = None) -> int:
        calls.append((module, arguments, sorted(os.listdir(arguments[1])), environment))
        return 5

    monkeypatch.setattr("forge.launch.process.run_module", run_module)
    return calls


def test_the_config_is_frozen_for_the_module_and_then_removed(run: Run, started: list[Any]) -> None:
    assert (
        run(
            "-t", "rows", "data", "show", "-n", "2", "--index", "7", "--split", "held_out", "--all", "dataset.size=2"
        ).code
        == 5
    )
    ((module, arguments, files, environment),) = started
    assert module == "forge.ml.data"
    assert arguments[2:] == ["--format", "text", "-n", "2", "--index", "7", "--split", "held_out", "--all"]
    assert files == ["graph.json", "run.json"]
    assert not Path(arguments[1]).exists()
    assert environment is None


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        (["stats"], ["--format", "text"]),
        (["stats", "--json"], ["--format", "json"]),
        (["show", "--json"], ["--format", "json"]),
        (["show", "--raw"], ["--format", "raw"]),
        (["stats", "--format", "svg"], ["--format", "svg"]),
    ],
)
def test_each_form_is_asked_for(run: Run, started: list[Any], words: list[str], arguments: list[str]) -> None:
    run("-t", "rows", "data", *words)
    assert started[0][1][2:] == arguments


def test_a_file_is_named_from_where_the_user_is(run: Run, started: list[Any], project: Path) -> None:
    run("-t", "rows", "data", "stats", "-o", "figures.txt")
    assert started[0][1][-2:] == ["--output", str(project / "figures.txt")]


def test_the_cache_needs_no_config(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[Any] = []
    monkeypatch.setattr("forge.launch.process.run_module", lambda *given: calls.append(given) or 0)
    monkeypatch.chdir(tmp_path)
    assert run("data", "cache", "--prune", "--json").code == 0
    assert calls == [("forge.ml.data", ["cache", "--prune", "--format", "json"])]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rows", "data", "show", "--format", "svg"], "`forge data show` makes no picture"),
        (["rows", "data", "stats", "--index", "1"], "--index is for `forge data show`"),
        (["rows", "data", "stats", "--raw"], "--raw is for `forge data show`"),
        (["rows", "data", "show", "-n", "0"], "-n cannot be 0"),
        (["tiny", "data", "show"], "tiny has no dataset and no tokenizer"),
        (["rows", "data", "show", "--prune"], "--prune is for `forge data cache`"),
        (["rows", "data", "cache", "--all"], "--all is not for `forge data cache`"),
    ],
)
def test_what_makes_no_sense_starts_nothing(run: Run, started: list[Any], words: list[str], message: str) -> None:
    done = run("-t", *words)
    assert done.code == 2
    assert message in done.errors
    assert started == []


@pytest.mark.torch
@pytest.mark.slow
def test_a_real_dataset_is_shown_as_the_model_gets_it(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    import subprocess
    import sys

    root = Path(__file__).parents[3]
    (tmp_path / "tmp").mkdir()
    environment = {
        **os.environ,
        "FORGE_CACHE_HOME": str(tmp_path / "cache"),
        "FORGE_DATA_HOME": str(tmp_path / "data"),
        "TMPDIR": str(tmp_path / "tmp"),
    }
    forge = [sys.executable, "-m", "forge", "-p", str(root / "projects" / "pydoc"), "-t", "chat/full"]
    changes = ["tokenizer=bpe", "tokenizer.vocab_size=1024"]

    def run(*words: str) -> Any:
        return subprocess.run([*forge, *words], env=environment, capture_output=True, text=True, check=False)

    done = run("data", "show", "-n", "1", *changes)
    assert done.returncode == 0, done.stderr
    assert "<|im_start|>assistant↵\n  ⟦" in done.stdout
    assert "<|im_end|>⟧↵" in done.stdout
    assert not list((tmp_path / "tmp").iterdir())
