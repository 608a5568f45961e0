"""Asking the workbench about the config of a line."""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from forge.base.errors import ConfigError, UsageError
from forge.cli.output import Output
from forge.cli.parse import Parsed
from forge.cli.registry import VERBS
from forge.cli.session import Context, Session
from forge.cli.workbench import _Telling, ask, require_run, show_answer
from forge.launch.workbench import Answer

if TYPE_CHECKING:
    from collections.abc import Callable


class Bench:
    """Keeps what it is asked."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.request: Any = None
        self.files: list[str] = []

    def start(self, source_folders: Any) -> None:
        self.events.append(f"start {list(source_folders)}")

    def ask(self, request: Any, listener: Any) -> Answer:
        self.events.append("ask")
        self.request, self.files = request, sorted(os.listdir(request.arguments["run"]))
        listener.note("a note")
        if request.arguments.get("fails"):
            raise KeyboardInterrupt
        return Answer(0, "result")

    def end(self) -> None:
        self.events.append("end")


@pytest.fixture
def context(project: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Context]:
    assert environment
    monkeypatch.chdir(project)

    def make(config: str | None = None, **options: Any) -> Context:
        session = Session(config=config, output=Output(io.StringIO(), io.StringIO()), workbench=Bench())
        return Context(session, VERBS.find("build"), Parsed({"json": False, "output": None, "edit": False, **options}))

    return make


def test_the_config_is_frozen_asked_about_and_removed(context: Callable[..., Context], project: Path) -> None:
    line = context()
    assert ask(line, "step", {"count": 2}) == Answer(0, "result")
    bench = line.session.workbench
    assert bench.events == ["start []", "ask", "end"]
    assert bench.files == ["graph.json", "run.json"]
    assert (bench.request.action, bench.request.folder, bench.request.debug) == ("step", str(project), False)
    assert not Path(bench.request.arguments["run"]).exists()
    assert line.output.errors.getvalue() == "a note\n"


def test_nothing_is_left_of_a_request_that_was_interrupted(context: Callable[..., Context]) -> None:
    line = context()
    with pytest.raises(KeyboardInterrupt):
        ask(line, "step", {"fails": True})
    assert line.session.workbench.events[-1] == "end"
    assert not Path(line.session.workbench.request.arguments["run"]).exists()


def test_what_is_wrong_with_the_config_shows_before_anything_is_started(
    context: Callable[..., Context], project: Path
) -> None:
    (project / "configs" / "broken.yaml").write_text("defaults: [{size: smal}]\n")
    line = context("broken")
    with pytest.raises(ConfigError):
        ask(line, "step", {})
    assert line.session.workbench.events == []


def test_a_config_without_a_run_is_refused(context: Callable[..., Context], project: Path) -> None:
    (project / "configs" / "bare.yaml").write_text("size: {_target_: builtins.dict}\n")
    require_run(context())
    with pytest.raises(UsageError, match="bare describes no run"):
        require_run(context("bare"))


def test_an_answer_is_shown(context: Callable[..., Context], project: Path) -> None:
    line = context()
    assert show_answer(line, Answer(1, "result", "printed\n", "wrong\n  do this")) == 1
    assert line.output.stream.getvalue() == "printed\nresult\n"
    assert line.output.errors.getvalue() == "error: wrong\n  do this\n"
    line = context(output="o.txt")
    assert show_answer(line, Answer(0, "result")) == 0
    assert (project / "o.txt").read_text() == "result\n"


def test_progress_is_for_a_terminal() -> None:
    terminal = SimpleNamespace(isatty=lambda: True, flush=lambda: None, said=[])
    terminal.write = terminal.said.append
    telling = _Telling(Output(io.StringIO(), terminal))
    telling.progress("1 of 2")
    telling.note("a line")
    telling.progress("")
    assert "".join(terminal.said) == "\r\x1b[K1 of 2\r\x1b[Ka line\n"
    errors = io.StringIO()
    telling = _Telling(Output(io.StringIO(), errors))
    telling.progress("1 of 2")
    telling.note("a line")
    assert errors.getvalue() == "a line\n"


@pytest.mark.slow
def test_a_single_line_has_a_process_of_its_own(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    done = run("step")
    assert done.code == 2
    assert "tiny builds dict, and a run is made by a Trainer" in done.errors or "pip install" in done.errors
    assert not list(temporary.iterdir())
