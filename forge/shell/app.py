"""The shell: reads a line, runs the commands in it as the command line would, and stays.

A terminal gets a prompt; with ``-c TEXT``, or lines on standard input, the commands run as a script, which the first failure
ends with its exit code.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Final

from forge import __version__
from forge.base.errors import ForgeError, UsageError
from forge.cli.main import INTERRUPTED, MISTAKE, OK, read_global_flags, run_line
from forge.cli.session import Session
from forge.shell.line import split_commands
from forge.shell.state import ShellSession
from forge.shell.wording import ShellOutput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forge.shell.line import Command

__all__ = ["run_shell", "run_text"]

_WELCOME: Final = f"forge {__version__}: `help` lists the verbs, Tab completes, Ctrl-D leaves."


def run_shell(session: Session, script: str | None = None) -> int:
    """Run the script, or what stands on standard input, or a prompt; return the exit code."""
    streams = session.output
    output = ShellOutput(streams.stream, streams.errors, streams.colour, streams.error_colour)
    shell = ShellSession(session.project, session.config, session.overrides, session.debug, output)
    try:
        shell.settle()
    except ForgeError as error:
        shell.output.error(error)
        return MISTAKE
    if script is None and not sys.stdin.isatty():
        script = sys.stdin.read()
    with ExitStack() as parts:
        parts.callback(shell.workbench.close)
        return run_text(shell, script) if script is not None else _converse(shell, parts)


def run_text(shell: ShellSession, text: str) -> int:
    """Run the commands of a text until one fails; return its exit code, or 0."""
    try:
        commands = split_commands(text)
    except ForgeError as error:
        shell.output.error(error)
        return MISTAKE
    for command in commands:
        code = _run(shell, command)
        if code != OK or shell.leaving:
            return code
    return OK


def _converse(shell: ShellSession, parts: ExitStack) -> int:
    """Read lines from the terminal until its end, and tell meanwhile which trainings have ended."""
    from prompt_toolkit.patch_stdout import patch_stdout  # a script needs no prompt

    from forge.shell.announce import Announcer
    from forge.shell.pager import paged
    from forge.shell.prompt import make_prompt, read_line

    shell.output.note(_WELCOME)
    prompt = parts.enter_context(make_prompt(shell))
    if prompt.session is not None:
        from forge.shell.pick import pick  # a terminal that can only print gets the numbered menu

        shell.pick = pick
    announcer = Announcer(lambda text: print(text, flush=True))  # noqa: T201 - above the prompt, by patch_stdout
    parts.callback(announcer.close)
    announcer.hold()
    output = shell.output
    while not shell.leaving:
        try:
            with patch_stdout(raw=True):
                announcer.look()
                try:
                    text = read_line(prompt)
                finally:
                    announcer.hold()
        except KeyboardInterrupt:
            continue
        except EOFError:
            break
        with paged(output) as shell.output:
            code = run_text(shell, text)
        shell.output = output
        if code == INTERRUPTED:
            output.note("")  # the terminal has written ^C, and the prompt begins a line
    return OK


def _run(shell: ShellSession, command: Command) -> int:
    try:
        return _system(shell, command.system) if command.system else _run_words(shell, command)
    except ForgeError as error:
        shell.output.error(error)
        return MISTAKE
    except KeyboardInterrupt:
        return INTERRUPTED


def _run_words(shell: ShellSession, command: Command) -> int:
    """Run a verb on the shell, or, behind flags of its own, on what those choose for this one line."""
    once = Session(**{each.name: getattr(shell, each.name) for each in fields(Session)})
    line = read_global_flags(once, command.words)
    if line.answer is not None:
        shell.output.write(line.answer)
        return OK
    if line.interactive or line.commands is not None:
        raise UsageError("this is the shell already", hint="write the commands as they are")
    if not line.words:
        raise UsageError("a verb is missing behind the flags", hint="for one line on another config: -t CONFIG VERB")
    words = _in_background(line.words) if command.background else line.words
    if len(line.words) == len(command.words):
        return run_line(shell, words)
    if (once.project, once.config) != (shell.project, shell.config):
        once = replace(once, overrides=())  # they were made for another config
    return run_line(once, words)


def _in_background(words: Sequence[str]) -> list[str]:
    if words[0] != "train":
        raise UsageError(f"{words[0]} cannot run in the background", hint="only a training can: train ... &")
    return [words[0], "--detach", *words[1:]]


def _system(shell: ShellSession, command: str) -> int:
    """Give a line to the system's own shell."""
    shell.output.flush()
    program = [os.environ.get("SHELL") or "/bin/sh", "-c", command]
    code = subprocess.run(program, check=False).returncode  # noqa: S603 - what the user typed is what runs
    return code if code >= 0 else 128 - code
