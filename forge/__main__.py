"""``python -m forge`` and the console script: the command ``forge``, or its shell."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn

from forge.base.collector import leave
from forge.cli.main import main

if TYPE_CHECKING:
    from forge.cli.session import Session

__all__ = ["entry"]


def entry() -> NoReturn:
    """The console script."""
    leave(main(sys.argv[1:], _shell))


def _shell(session: Session, script: str | None) -> int:
    from forge.shell.app import run_shell  # only the shell needs what it is made of

    return run_shell(session, script)


if __name__ == "__main__":
    entry()
