from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prompt_toolkit.enums import EditingMode
from prompt_toolkit.formatted_text import fragment_list_to_text
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from forge.base.places import user_settings
from forge.cli.output import standard_output
from forge.shell.history import LineHistory
from forge.shell.prompt import Prompt, make_prompt, read_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forge.shell.state import ShellSession
    from forge.shell.suggest import Suggestion

ROOT = Path(__file__).resolve().parents[2]


class Typed:
    """A prompt and the keys that are pressed at it."""

    def __init__(self, prompt: Prompt, pipe: Any) -> None:
        self.prompt = prompt
        self.pipe = pipe

    def line(self, keys: str) -> str:
        self.pipe.send_text(keys)
        return read_line(self.prompt)

    def after_list(self, before: str, after: str) -> str:
        """Press the second keys once the first ones have brought the list of completions."""
        session = self.prompt.session
        assert session is not None
        buffer = session.default_buffer
        sent: list[str] = []

        def listed(_: object) -> None:
            state = buffer.complete_state
            if state is not None and state.completions and not sent and session.app.is_running:
                sent.append(after)
                self.pipe.send_text(after)

        buffer.on_completions_changed += listed
        try:
            return self.line(before)
        finally:
            buffer.on_completions_changed -= listed


@contextmanager
def typed(shell: ShellSession) -> Iterator[Typed]:
    with create_pipe_input() as pipe, make_prompt(shell, pipe, DummyOutput()) as prompt:
        yield Typed(prompt, pipe)


@pytest.fixture
def at(shell: ShellSession) -> Iterator[Typed]:
    with typed(shell) as made:
        yield made


def test_a_line_is_read(at: Typed) -> None:
    assert at.line("show a=1\r") == "show a=1"
    assert at.line("\r") == ""


def test_ctrl_c_gives_the_line_up_and_ctrl_d_leaves(at: Typed) -> None:
    with pytest.raises(KeyboardInterrupt):
        at.line("show\x03")
    with pytest.raises(EOFError):
        at.line("\x04")


def test_enter_takes_the_chosen_completion_and_only_the_next_one_runs_the_line(at: Typed) -> None:
    assert at.after_list("show trainer.", "\t\r7\r") == "show trainer.max_steps=7"
    assert at.after_list("config ", "\t\t\r\r") == "config tiny"


def test_tab_takes_the_only_completion_and_enter_does_not_run_a_key_without_a_value(at: Typed) -> None:
    assert at.after_list("config oth", "\t\r") == "config other"
    assert at.after_list("show trainer.max", "\t\r7\r") == "show trainer.max_steps=7"
    assert at.line("show mode=\r") == "show mode="  # typed so, it is meant so


def test_a_completer_that_fails_stops_nobody(at: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    session = at.prompt.session
    assert session is not None

    def fail(text: str, cursor: int) -> list[Suggestion]:
        raise RuntimeError(f"boom at {cursor} of {len(text)}")

    monkeypatch.setattr(session.completer, "_ask", fail)
    told: list[str] = []

    def add(what: str, error: BaseException) -> None:
        told.append(f"{what}: {error}")
        at.pipe.send_text(" x\r")

    monkeypatch.setattr(at.prompt.complaints, "add", add)
    assert at.line("show") == "show x"
    assert told[0].startswith("completion failed: boom")


def test_a_completer_that_hangs_stops_nobody(at: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    session = at.prompt.session
    assert session is not None
    never = threading.Event()

    def hang(*_: object) -> list[Suggestion]:
        at.pipe.send_text(" x\r")
        never.wait(20)
        return []

    monkeypatch.setattr(session.completer, "_ask", hang)
    assert at.line("show").startswith("show x")
    never.set()


def test_a_complaint_is_shown_at_one_prompt(at: Typed) -> None:
    at.prompt.complaints.add("completion failed", "boom")
    assert "completion failed: boom" in fragment_list_to_text(at.prompt.toolbar())
    at.line("show\r")
    assert "boom" not in fragment_list_to_text(at.prompt.toolbar())


def test_a_toolbar_that_fails_is_left_out(at: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(at.prompt, "refresher", None, raising=True)
    assert at.prompt.toolbar() == []
    assert at.prompt.complaints.text.startswith("the toolbar failed")
    monkeypatch.undo()


def test_the_toolbar_tells_what_is_worked_on(at: Typed, shell: ShellSession) -> None:
    shell.overrides = ("mode=slow",)
    at.line("x\r")
    assert fragment_list_to_text(at.prompt.toolbar()).startswith(" demo · tiny · 1 pending")


def test_lines_are_kept_and_come_back_in_another_shell(at: Typed, shell: ShellSession, project: Path) -> None:
    at.line("show a=1\r")
    at.line(" show b=1\r")
    at.line("set hub.api_key=abc\r")
    LineHistory(lambda: str(project)).add("graph")
    with typed(shell) as other:
        assert other.line("\x10\r") == "graph"  # Ctrl-P
        assert other.line("\x10\x10\r") == "show a=1"
    assert at.line("sh\x05\r") == "sh"


def test_the_end_of_an_earlier_line_is_suggested(at: Typed) -> None:
    at.line("show trainer.max_steps=7\r")
    session = at.prompt.session
    assert session is not None
    buffer = session.default_buffer

    def take(_: object) -> None:
        if buffer.suggestion and buffer.text == "show tr":
            at.pipe.send_text("\x05\r")  # Ctrl-E

    buffer.on_suggestion_set += take
    assert at.line("show tr") == "show trainer.max_steps=7"


def test_the_keys_are_the_users_and_f4_changes_them(shell: ShellSession, at: Typed) -> None:
    os.makedirs(os.path.dirname(user_settings()), exist_ok=True)
    with open(user_settings(), "w") as file:
        file.write("shell: {keys: vi}\n")
    with typed(shell) as made:
        session = made.prompt.session
        assert session is not None
        assert session.editing_mode == EditingMode.VI
        assert made.line("showw\x1bxa x\r") == "show x"
        assert "F4: vi" in fragment_list_to_text(made.prompt.toolbar())
        made.line("\x1bOS\r")
        assert session.editing_mode == EditingMode.EMACS
    assert at.prompt.session is not None
    assert at.prompt.session.editing_mode == EditingMode.EMACS


def test_a_mistake_in_the_settings_is_told_and_the_prompt_is_there(
    shell: ShellSession, capsys: pytest.CaptureFixture[str]
) -> None:
    os.makedirs(os.path.dirname(user_settings()), exist_ok=True)
    with open(user_settings(), "w") as file:
        file.write("shell: {keys: vim}\n")
    shell.output = standard_output()
    with typed(shell) as made:
        assert made.line("show\r") == "show"
    assert "'keys' cannot be 'vim'" in capsys.readouterr().err


def test_the_line_is_edited_in_the_editor(at: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "editor"
    program.write_text('#!/bin/sh\nprintf "show b=2\\n" > "$1"\n')
    program.chmod(0o755)
    monkeypatch.setenv("VISUAL", str(program))
    assert at.line("show a=1\x18\x05") == "show b=2"


@pytest.mark.parametrize("term", ["dumb", ""])
def test_a_terminal_that_can_only_print_gets_plain_lines(project: Path, environment: dict[str, str], term: str) -> None:
    ours, theirs = pty.openpty()
    program = "from forge.shell.prompt import *; from forge.shell.state import *\nwith make_prompt(ShellSession()) as p: print([read_line(p)])"
    started = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=project,
        env={**environment, "TERM": term},
    )
    os.close(theirs)
    os.write(ours, b"show a=1\n")
    assert started.wait(timeout=30) == 0
    shown = os.read(ours, 10_000).decode()
    os.close(ours)
    assert "['show a=1']" in shown
    assert "forge:demo> " in shown
    assert "\x1b" not in shown


def test_the_prompt_appears_without_torch_and_hydra(project: Path, environment: dict[str, str]) -> None:
    program = "import sys, json, forge.shell.prompt; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=project, env=environment, capture_output=True, text=True, check=True
    )
    loaded = set(json.loads(done.stdout))
    assert not loaded & {
        "torch",
        "transformers",
        "numpy",
        "hydra",
        "omegaconf",
        "yaml",
        "pygments",
        "forge.api.project",
    }
