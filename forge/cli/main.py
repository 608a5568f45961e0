"""The command line ``forge``: global flags, then one verb, then what belongs to the verb.

Exit codes: 0 success, 1 a failed job or a found difference, 2 the user's mistake, 130 Ctrl-C, 141 a closed pipe.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NoReturn

from forge.base.errors import ForgeError, ToolError, UsageError
from forge.cli.output import drop_stream, standard_output
from forge.cli.session import Session, execute

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["CLOSED_PIPE", "FAILED", "INTERRUPTED", "MISTAKE", "OK", "entry", "main", "read_global_flags", "run_line"]

OK = 0
FAILED = 1
MISTAKE = 2
INTERRUPTED = 130
CLOSED_PIPE = 141

_VALUED = {"-p": "project", "--project": "project", "-t": "config", "--config": "config"}
_SWITCHES = ("-h", "--help", "--version", "--debug")


def entry() -> NoReturn:
    """The console script."""
    sys.exit(main(sys.argv[1:]))


def main(argv: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    session = Session(debug=os.environ.get("FORGE_DEBUG", "") not in {"", "0"}, output=standard_output())
    try:
        return _guarded(session, argv)
    except BrokenPipeError:
        drop_stream(session.output.stream)
        return CLOSED_PIPE


def _guarded(session: Session, argv: Sequence[str]) -> int:
    try:
        words, done = read_global_flags(session, argv)
        if done is not None:
            session.output.write(done)
            session.output.flush()
            return OK
    except ForgeError as error:
        session.output.error(error)
        return MISTAKE
    if not words:
        session.output.note(_overview())
        return MISTAKE
    return run_line(session, words)


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


def read_global_flags(session: Session, argv: Sequence[str]) -> tuple[list[str], str | None]:
    """Take the flags before the verb into the session; return the rest, and a text when that is all that was asked."""
    words = list(argv)
    while words and words[0].startswith("-"):
        word = words.pop(0)
        name, equals, attached = word.partition("=")
        if name in _VALUED:
            value = attached if equals else words.pop(0) if words and not words[0].startswith("-") else ""
            if not value:
                raise UsageError(f"{name} needs a value", hint=f"forge {name} {_VALUED[name].upper()} VERB ...")
            setattr(session, _VALUED[name], value)
        elif equals and name in _SWITCHES:
            raise UsageError(f"{name} takes no value", hint=f"write {name} alone")
        elif word in {"-h", "--help"}:
            return [], _overview()
        elif word == "--version":
            from forge import __version__  # only with --version

            return [], f"forge {__version__}"
        elif word == "--debug":
            session.debug = True
        else:
            raise UsageError(f"forge has no flag {name!r}", hint=_flag_hint(name))
    return words, None


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
