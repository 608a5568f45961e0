"""``forge lsp``: the language server for configs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from forge.base.errors import ToolError, UsageError
from forge.cli.registry import Verb

if TYPE_CHECKING:
    from forge.cli.session import Context

__all__ = ["VERB"]


def _run(context: Context) -> int:
    from importlib.util import find_spec  # `forge --help` starts nothing

    if find_spec("pygls") is None:
        raise ToolError("the language server needs pygls, which is not installed", hint="pip install 'forge[lsp]'")
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError(
            "the language server speaks to an editor, not to a terminal",
            hint="let your editor start it: docs/editors.md says how",
        )
    from forge.lsp.server import serve_editor

    context.output.flush()
    serve_editor()
    return 0


VERB = Verb(
    name="lsp",
    summary="the language server for configs; an editor starts it",
    help="""\
Speak the language server protocol on stdin and stdout. Editors then go from a defaults list to the file it names, from
${a.b} to the line that sets it and from a _target_ to its Python; they show signatures, docstrings and where a value
comes from, complete groups, choices, keys, targets and references, and mark what `forge check` finds, also in text that
is not saved yet. Nothing that a config names is imported. It needs the extra lsp: pip install 'forge[lsp]'.

  forge lsp
""",
    run=_run,
)
