"""``forge trust``: allow the code of a project to be imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forge.cli.options import Option, Positional
from forge.cli.registry import Verb
from forge.cli.session import project_of

if TYPE_CHECKING:
    from forge.api.project import ProjectHandle
    from forge.cli.session import Context

__all__ = ["VERB"]


def _run(context: Context) -> int:
    project = project_of(context.session, context.words[0]) if context.words else context.project
    revoked = context.options.revoke
    found = project.distrust() if revoked else [*project.trust(), *_launch(context, project)]
    done = "no longer trusted" if revoked else "trusted"
    context.output.write("\n".join(f"{done}: {one}" for one in found) or f"{project.name} has no code of its own")
    return 0


def _launch(context: Context, project: ProjectHandle) -> list[str]:
    """What the files say that the chosen config is started with; its origins and values are shown."""
    from forge.launch.consent import trust_launch

    if context.session.config is None:
        return []
    return list(map(str, trust_launch(project.config(context.session.config).graph.root, project.folder)))


VERB = Verb(
    name="trust",
    summary="allow the project's own code to be imported",
    help="""\
A project can bring Python code of its own. Looking at its configs never runs that code; building them does, and only
once you have said here that you trust it. With a config, -t, what its files say it is started with (launch.setup, python, env,
sbatch, image) is trusted too, as it stands now; what you type yourself needs no trust.

  forge trust
  forge trust projects/pydoc
  forge -t chat/full trust
  forge trust --revoke
""",
    run=_run,
    options=(Option(("--revoke",), "take the trust back"),),
    positionals=(Positional("PROJECT", "a project's folder or name", least=0, completes="project"),),
)
