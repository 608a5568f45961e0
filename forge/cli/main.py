"""The command line ``forge``: global flags, then one verb, then what belongs to the verb.

Exit codes: 0 success, 1 a failed job or a found difference, 2 the user's mistake, 130 Ctrl-C, 141 a closed pipe.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NamedTuple

from forge.base.errors import ForgeError, ToolError, UsageError
from forge.cli.output import drop_stream, standard_output
from forge.cli.session import Session, execute

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["CLOSED_PIPE", "FAILED", "INTERRUPTED", "MISTAKE", "OK", "Asked", "main", "read_global_flags", "run_line"]

OK = 0
FAILED = 1
MISTAKE = 2
INTERRUPTED = 130
CLOSED_PIPE = 141

_VALUED = {
    "-p": "project",
    "--project": "project",
    "-t": "config",
    "--config": "config",
    "-c": "commands",
    "--commands": "commands",
}
_SWITCHES = ("-h", "--help", "--version", "--debug", "-i", "--interactive")


class Asked(NamedTuple):
    """What stands on a line behind the flags: a verb with its words, or a text that is all that was asked for."""

    words: tuple[str, ...] = ()
    answer: str | None = None
    interactive: bool = False
    commands: str | None = None


def main(argv: Sequence[str], shell: Callable[[Session, str | None], int] | None = None) -> int:
    """Run one command line and return its exit code; ``shell`` is what ``-i``, or no verb on a terminal, starts."""
    session = Session(debug=os.environ.get("FORGE_DEBUG", "") not in {"", "0"}, output=standard_output())
    try:
        return _guarded(session, argv, shell)
    except BrokenPipeError:
        drop_stream(session.output.stream)
        return CLOSED_PIPE


def _guarded(session: Session, argv: Sequence[str], shell: Callable[[Session, str | None], int] | None) -> int:
    try:
        line = read_global_flags(session, argv)
        if line.answer is not None:
            session.output.write(line.answer)
            session.output.flush()
            return OK
        if line.words and (line.interactive or line.commands is not None):
            raise UsageError(
                f"the shell takes no verb behind it: {line.words[0]}", hint=f"forge -i -c '{' '.join(line.words)}'"
            )
    except ForgeError as error:
        session.output.error(error)
        return MISTAKE
    if line.words:
        return run_line(session, line.words)
    if shell is not None and (line.interactive or line.commands is not None or _at_a_terminal()):
        return shell(session, line.commands)
    session.output.note(_overview())
    return MISTAKE


def _at_a_terminal() -> bool:
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout))


def run_line(session: Session, words: Sequence[str]) -> int:
    """Run a verb with its words; show what goes wrong in place of raising it, except for a closed pipe."""
    try:
        code = execute(session, words)
        session.output.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except ForgeError as error:
        _show_traceback(session, error)
        session.output.error(error)
        return FAILED if isinstance(error, ToolError) else MISTAKE
    except Exception as error:  # noqa: BLE001 - the last resort: a mistake of forge's own is a line, not a traceback
        if not _show_traceback(session, error):
            text = f"{type(error).__name__}: {error}".splitlines()[0]
            session.output.note(f"internal error: {text} (run again with --debug to see where)")
        return FAILED
    return code


def read_global_flags(session: Session, argv: Sequence[str]) -> Asked:
    """Take the project, the config and --debug into the session, and return what the rest of the line asks for."""
    words = list(argv)
    interactive, commands = False, None
    while words and words[0].startswith("-"):
        word = words.pop(0)
        name, equals, attached = word.partition("=")
        if name in _VALUED:
            value = attached if equals else words.pop(0) if words and not words[0].startswith("-") else ""
            if not value:
                hint = (
                    "forge -c 'ls; show'"
                    if name in {"-c", "--commands"}
                    else f"forge {name} {_VALUED[name].upper()} VERB ..."
                )
                raise UsageError(f"{name} needs a value", hint=hint)
            if _VALUED[name] == "commands":
                commands = value
            else:
                setattr(session, _VALUED[name], value)
        elif equals and name in _SWITCHES:
            raise UsageError(f"{name} takes no value", hint=f"write {name} alone")
        elif word in {"-h", "--help"}:
            return Asked(answer=_overview())
        elif word == "--version":
            from forge import __version__  # only with --version

            return Asked(answer=f"forge {__version__}")
        elif word in {"-i", "--interactive"}:
            interactive = True
        elif word == "--debug":
            session.debug = True
        else:
            raise UsageError(f"forge has no flag {name!r}", hint=_flag_hint(name))
    return Asked(tuple(words), None, interactive, commands)


def _flag_hint(name: str) -> str:
    from forge.base.spelling import did_you_mean  # only after a mistake

    return did_you_mean(name, [*_VALUED, *_SWITCHES]) or "a verb's own flags stand behind the verb: forge VERB --flag"


def _overview() -> str:
    from forge.cli.help import overview  # only with --help

    return overview()


def _show_traceback(session: Session, error: BaseException) -> bool:
    if session.debug:
        import traceback  # only with --debug

        session.output.note("".join(traceback.format_exception(error)).rstrip())
    return session.debug
