"""``forge trust``: allow the code of a project to be imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forge.cli.options import Option, Positional
from forge.cli.registry import Verb
from forge.cli.session import project_of

if TYPE_CHECKING:
    from forge.cli.session import Context

__all__ = ["VERB"]


def _run(context: Context) -> int:
    project = project_of(context.session, context.words[0]) if context.words else context.project
    folders = project.distrust() if context.options.revoke else project.trust()
    done = "no longer trusted" if context.options.revoke else "trusted"
    context.output.write(
        "\n".join(f"{done}: {folder}" for folder in folders) or f"{project.name} has no code of its own"
    )
    return 0


VERB = Verb(
    name="trust",
    summary="allow the project's own code to be imported",
    help="""\
A project can bring Python code of its own. Looking at its configs never runs that code; building them does, and only
once you have said here that you trust it.

  forge trust
  forge trust projects/pydoc
  forge trust --revoke
""",
    run=_run,
    options=(Option(("--revoke",), "take the trust back"),),
    positionals=(Positional("PROJECT", "a project's folder or name", least=0, completes="project"),),
)
