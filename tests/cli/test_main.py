"""The command as its user meets it: exit codes, the flags before the verb, signals."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

import forge.api.project
from forge import __version__
from forge.base.errors import UsageError
from forge.cli.main import FAILED, MISTAKE, OK, Asked, main, read_global_flags, run_line
from forge.cli.output import Output
from forge.cli.session import Session

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Forge, Run

LIGHT = {
    "ls": ["ls"],
    "ls -r": ["ls", "-r"],
    "show": ["show"],
    "show --resolve": ["show", "--resolve", "--origins"],
    "trefs": ["trefs"],
    "graph": ["graph"],
    "code": ["code"],
    "targets": ["targets"],
    "why": ["why", "trainer.max_steps"],
    "diff": ["diff", "tiny", "other"],
    "check": ["check"],
    "index": ["index"],
    "edit": ["edit", "--list"],
    "completion": ["completion", "bash"],
    "__complete": ["__complete", "zsh", "--", "1", "show", "trainer."],
    "trust": ["trust"],
    "help": ["help", "show"],
    "--help": ["--help"],
    "show --help": ["show", "--help"],
}


def test_the_command_is_started_by_its_name_and_by_the_package(forge: Forge, run: Run) -> None:
    done = forge("show", "--path", "mode")
    assert (done.returncode, done.stdout, done.stderr) == (0, "fast\n", "")
    assert run("show", "--path", "mode") == (0, "fast\n", "")


def test_without_a_verb_the_help_goes_to_the_errors(run: Run) -> None:
    done = run()
    assert (done.code, done.out) == (2, "")
    assert done.errors.startswith("usage: forge")


def test_the_version_is_the_packages(run: Run) -> None:
    assert run("--version") == (0, f"forge {__version__}\n", "")
    assert run("-t", "tiny", "--version").code == 0


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["-p", "x", "--help"], ["--help", "show"]], ids=" ".join)
def test_the_help_lists_the_verbs(run: Run, words: list[str]) -> None:
    done = run(*words)
    assert (done.code, done.errors) == (0, "")
    assert done.out.startswith("usage: forge [-p PROJECT] [-t CONFIG] VERB ...\n")


@pytest.mark.parametrize(
    ("words", "project", "config", "rest"),
    [
        (["-p", "a", "-t", "b", "show", "-p"], "a", "b", ["show", "-p"]),
        (["--project=a", "--config", "b", "ls"], "a", "b", ["ls"]),
        (["-t", "a", "-t", "b", "show"], None, "b", ["show"]),
        (["-t=a=b", "show"], None, "a=b", ["show"]),
        (["-t", "日本", "show"], None, "日本", ["show"]),
        (["show", "--debug"], None, None, ["show", "--debug"]),
    ],
    ids=str,
)
def test_the_flags_before_the_verb_are_taken(
    words: list[str], project: str | None, config: str | None, rest: list[str]
) -> None:
    session = Session(output=Output(io.StringIO(), io.StringIO()))
    assert read_global_flags(session, words) == Asked(tuple(rest))
    assert (session.project, session.config, session.debug) == (project, config, False)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-i"], Asked(interactive=True)),
        (["-t", "x", "--interactive"], Asked(interactive=True)),
        (["-c", "ls; show"], Asked(commands="ls; show")),
        (["-i", "--commands=ls"], Asked(interactive=True, commands="ls")),
    ],
    ids=str,
)
def test_the_shell_is_asked_for_before_a_verb(words: list[str], expected: Asked) -> None:
    assert read_global_flags(Session(output=Output(io.StringIO(), io.StringIO())), words) == expected


def test_the_shell_gets_the_session_and_the_commands(project: Path) -> None:
    asked = []

    def shell(session: Session, commands: str | None) -> int:
        asked.append((session.project, session.config, commands))
        return 7

    assert main(["-p", str(project), "-t", "tiny", "-i"], shell) == 7
    assert main(["-c", "ls"], shell) == 7
    assert asked == [(str(project), "tiny", None), (None, None, "ls")]


def test_a_verb_behind_the_flag_for_the_shell_is_a_mistake(run: Run) -> None:
    assert run("-i", "show") == (
        MISTAKE,
        "",
        "error: the shell takes no verb behind it: show\n  forge -i -c 'show'\n",
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-p"], "-p needs a value"),
        (["-c"], "-c needs a value"),
        (["-p", "-t", "x"], "-p needs a value"),
        (["-t", ""], "-t needs a value"),
        (["--config="], "--config needs a value"),
        (["--"], "forge has no flag '--'"),
        (["-"], "forge has no flag '-'"),
        (["-ptx", "ls"], "forge has no flag '-ptx'"),
        (["--prject", "x"], "did you mean '--project'?"),
        (["--help=x"], "--help takes no value"),
        (["--debug=1", "show"], "--debug takes no value"),
        (["--resolve", "show"], "a verb's own flags stand behind the verb"),
    ],
    ids=str,
)
def test_a_wrong_flag_before_the_verb_is_named(words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_global_flags(Session(output=Output(io.StringIO(), io.StringIO())), words)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["ls"], OK),
        (["diff", "tiny", "tiny"], OK),
        (["diff", "tiny", "other"], FAILED),
        (["edit"], FAILED),
        (["shwo"], MISTAKE),
        (["-p"], MISTAKE),
        (["-t", "nosuch", "show"], MISTAKE),
    ],
    ids=str,
)
def test_the_exit_code_says_whose_fault_it_is(run: Run, words: list[str], code: int) -> None:
    done = run(*words)
    assert done.code == code
    assert "Traceback" not in done.errors
    if code == MISTAKE:
        assert done.out == ""
        assert done.errors.startswith("error: ")


def test_debug_shows_the_traceback_of_a_mistake(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Traceback" not in run("-t", "nosuch", "show").errors
    done = run("--debug", "-t", "nosuch", "show")
    assert done.code == MISTAKE
    assert "Traceback" in done.errors
    for value, shown in (("1", True), ("0", False), ("", False)):
        monkeypatch.setenv("FORGE_DEBUG", value)
        assert ("Traceback" in run("-t", "nosuch", "show").errors) is shown


def test_a_bug_is_one_line_and_exit_code_1(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("first\nsecond")

    monkeypatch.setattr(forge.api.project, "open_project", broken)
    line = "internal error: ZeroDivisionError: first (run again with --debug to see where)\n"
    assert run("ls") == (FAILED, "", line)
    shown = run("--debug", "ls")
    assert shown.code == FAILED
    assert "Traceback" in shown.errors


def test_a_closed_pipe_is_left_to_the_caller_of_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    session = Session(output=Output(Closed(), io.StringIO()))
    with pytest.raises(BrokenPipeError):
        run_line(session, ["completion", "bash"])
    monkeypatch.setattr("sys.stdout", Closed())
    assert main(["completion", "bash"]) == 141


def test_ctrl_c_in_a_line_is_130(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(forge.api.project, "open_project", interrupted)
    assert run("ls") == (130, "", "")


@pytest.mark.parametrize("words", LIGHT.values(), ids=LIGHT)
def test_a_verb_that_only_looks_leaves_the_heavy_libraries_alone(
    project: Path, environment: dict[str, str], words: list[str]
) -> None:
    code = (
        "import sys; from forge.cli.main import main; code = main(sys.argv[1:]); "
        "print('MODULES', *sys.modules, file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=project, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode in ({1} if words[0] == "diff" else {0}), done.stderr[:500]
    modules = done.stderr.split("MODULES", 1)[1].split()
    assert not {"torch", "transformers", "rich", "pygments", "prompt_toolkit", "graphviz"} & set(modules)


def test_a_config_that_was_composed_before_is_shown_without_hydra(
    forge: Forge, project: Path, environment: dict[str, str]
) -> None:
    assert forge("show").returncode == 0
    code = "import sys; from forge.cli.main import main; main(['show']); sys.exit('hydra' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=project, env=environment, capture_output=True, check=False)
    assert done.returncode == 0


def test_ctrl_c_ends_a_running_verb_with_130(project: Path, environment: dict[str, str], tmp_path: Path) -> None:
    editor = tmp_path / "editor"
    editor.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\nexec sleep 30\n")
    editor.chmod(0o755)
    running = subprocess.Popen(
        [sys.executable, "-m", "forge", "edit"],
        cwd=project,
        env={**environment, "EDITOR": str(editor)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    for _ in range(400):
        if (tmp_path / "started").exists():
            break
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGINT)
    out, errors = running.communicate(timeout=20)
    assert running.returncode == 130
    assert (out, errors) == (b"", b"")


def test_words_that_are_no_text_are_a_mistake(project: Path, environment: dict[str, str]) -> None:
    for words in (
        [b"\xff"],
        [b"-t", b"\xff", b"show"],
        [b"show", b"a=\xff"],
        [b"why", b"\xff"],
        [b"show", b"--path", b"\xff"],
    ):
        command = [sys.executable.encode(), b"-m", b"forge", *words]
        done = subprocess.run(command, cwd=project, env=environment, capture_output=True, check=False)
        assert done.returncode == MISTAKE
        assert done.stdout == b""
        assert len(done.stderr.splitlines()) <= 3
        assert b"Traceback" not in done.stderr
