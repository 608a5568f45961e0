"""A small project on disk, forge as its user starts it, and places of its own: no test touches what belongs to its user."""

from __future__ import annotations

import faulthandler
import gc
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import hypothesis
import pytest

from forge.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Test modules and what they import stay: half of the time of a collection went into walking them again and again.
gc.disable()
# A shell that starts the tests in the background, and nohup, have them ignore signals that some of them are about.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# How long one example takes says more about the machine than about forge.
hypothesis.settings.register_profile("forge", deadline=None)
hypothesis.settings.load_profile("forge")

# What is installed apart is there for the tests themselves, and not for the processes that they start.
if apart := os.environ.get("FORGE_TEST_APART"):
    sys.path.append(apart)

ROOT = Path(__file__).resolve().parents[1]
FILES = {
    "project.yaml": """\
name: demo
description: A small project.
default_config: tiny
groups: [size]
""",
    "README.md": "# demo\n\nWhat the demo is about.\n\n## More\n\nDetails.\n",
    "configs/tiny.yaml": """\
defaults:
  - size: small
  - _self_
meta: {name: Tiny, description: A tiny config.}
args:
  max_steps: {key: trainer.max_steps, aliases: [-M], type: int, min: 1, help: Stop after this many steps.}
  mode: {key: mode, choices: [fast, slow], help: How to run.}
  quiet: {key: quiet, type: bool, help: Say less.}
mode: fast
quiet: false
api_key: hunter2
trainer:
  _target_: builtins.dict
  size: ${size}
  max_steps: 100
  title: run-${mode}
""",
    "configs/other.yaml": """\
defaults: [tiny, {override size: large}, _self_]
meta: {description: Another config.}
trainer: {max_steps: 200}
""",
    "configs/size/small.yaml": "# Two layers.\n_target_: builtins.dict\ndim: 8\nlayers: 2\n",
    "configs/size/large.yaml": "# Twenty layers.\n_target_: builtins.dict\ndim: 800\nlayers: 20\n",
}

EDITORS = ("VISUAL", "EDITOR", "VSCODE_IPC_HOOK_CLI", "TERM_PROGRAM", "VIM_SERVERNAME")
PYTHON = ("PYTHONUNBUFFERED", "PYTHONIOENCODING", "PYTHONUTF8", "PYTHONDEVMODE")


class Done(NamedTuple):
    """What one line of forge came to."""

    code: int
    out: str
    errors: str


Run: TypeAlias = "Callable[..., Done]"
Forge: TypeAlias = "Callable[..., subprocess.CompletedProcess[str]]"


class Editor(NamedTuple):
    """A program that keeps what it was asked to open."""

    program: Path
    seen: Path
    named: Path

    @property
    def text(self) -> str:
        """What stood in the first file."""
        return self.seen.read_text()

    @property
    def names(self) -> list[str]:
        """The files, in the order they were given."""
        return self.named.read_text().splitlines()


STDERR = pytest.StashKey[int]()
SPARE = 60  # seconds that pytest-timeout has to end a test, and the test to take down what it has set up


def pytest_configure(config: pytest.Config) -> None:
    """Keep where errors go: what a test prints is caught, also of C."""
    config.stash[STDERR] = os.dup(2)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """A test that waits in C never sees what pytest-timeout raises: it prints where each thread stands and ends its process."""
    marker = item.get_closest_marker("timeout")
    limit = marker.args[0] if marker else float(item.config.getini("timeout"))
    faulthandler.dump_traceback_later(limit + SPARE, file=item.config.stash[STDERR], exit=True)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that wait for a cluster of their own come first: at the end nobody would have anything else to do meanwhile."""
    items.sort(key=lambda item: not item.path.name.startswith("test_real_"))


def pytest_collection_finish() -> None:
    """From the first test on the collector runs as ever, over what tests make."""
    gc.freeze()
    gc.enable()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with two configs and one group."""
    folder = tmp_path / "demo"
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A user with empty folders, no editor and no colours."""
    for name in (*EDITORS, *PYTHON, "FORGE_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for kind in ("CONFIG", "DATA", "CACHE"):
        monkeypatch.setenv(f"FORGE_{kind}_HOME", str(tmp_path / kind.lower()))
    return dict(os.environ)


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A folder that belongs to no project."""
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


@pytest.fixture
def run(
    project: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """``run("show", "a=1")`` runs a line in this process, in the project or in ``cwd``."""
    assert environment["NO_COLOR"]

    def start(*words: str, cwd: Path | None = None) -> Done:
        monkeypatch.chdir(cwd or project)
        capsys.readouterr()
        code = main(words)
        return Done(code, *capsys.readouterr())

    return start


@pytest.fixture
def editor(tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Editor:
    """The user's editor, which ends at once."""
    assert "VISUAL" not in environment
    made = Editor(tmp_path / "editor", tmp_path / "seen", tmp_path / "named")
    made.program.write_text(f'#!/bin/sh\ncp "$1" {made.seen}\nprintf "%s\\n" "$@" > {made.named}\n')
    made.program.chmod(0o755)
    monkeypatch.setenv("EDITOR", str(made.program))
    return made


@pytest.fixture
def forge(project: Path, environment: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """``forge("show", "a=1")`` runs the command in the project and returns the finished process."""

    def run(*words: str, cwd: Path | None = None, **changes: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "forge", *words],
            cwd=cwd or project,
            env={**environment, **changes},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture(autouse=True)
def _no_hydra_left_behind() -> Iterator[None]:
    """Hydra, which some tests ask for its own answer, keeps a global state that must not reach the next test."""
    yield
    hydra = sys.modules.get("hydra.core.global_hydra")
    if hydra is not None:
        hydra.GlobalHydra.instance().clear()


@pytest.fixture(scope="session", autouse=True)
def _own_places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Cache, data and settings of this test run, for forge itself and for every process the tests start."""
    names = ("FORGE_CACHE_HOME", "FORGE_DATA_HOME", "FORGE_CONFIG_HOME")
    before = {name: os.environ.get(name) for name in names}
    for name in names:
        os.environ[name] = str(tmp_path_factory.mktemp(name.lower()))
    yield
    for name, value in before.items():
        os.environ.pop(name)
        if value is not None:
            os.environ[name] = value
