"""``forge save-as``: a config with its overrides becomes a config file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forge.cli.options import EDIT, Option, Positional
from forge.cli.registry import Verb

if TYPE_CHECKING:
    from forge.cli.session import Context

__all__ = ["VERB"]


def _run(context: Context) -> int:
    from forge.base.origin import shown_path  # `forge --help` saves nothing

    (name,) = context.words
    options = context.options
    about = options.description or ""
    if options.dry_run:
        context.output.write(context.config.text_as(name.removesuffix(".yaml"), description=about), ".yaml")
        return 0
    context.own_project  # noqa: B018 - refused where no project was meant
    made = context.config.save_as(name, description=about, force=options.force)
    context.output.write(shown_path(made))
    if options.edit:
        from forge.cli.editor import open_files  # only with -e

        open_files([made])
    return 0


VERB = Verb(
    name="save-as",
    summary="write the config with its overrides as a config file of its own",
    help="""\
Write a config into the project that stands on the chosen one (-t) and holds exactly the changes of this line: choices of
groups in its defaults, then values. In the shell the pending overrides are part of it. The file is written only when it
composes to the same values and choices; what a file cannot say, a key that is taken away for example, is refused with its
reason.

  forge -t pretrain/tiny save-as pretrain/longer trainer.max_steps=5000 optimizer=adafactor
  forge -t pretrain/tiny save-as pretrain/longer --max-steps 5000 --description 'Five times as long.'
  forge -t pretrain/tiny save-as pretrain/longer --max-steps 5000 --dry-run
""",
    run=_run,
    options=(
        Option(("--description",), "what the config is, for `forge ls`", "TEXT"),
        Option(("--force",), "replace a config that is there already"),
        Option(("--dry-run",), "print the file, and write nothing"),
        EDIT,
    ),
    positionals=(Positional("NAME", "the new config, like tiny or pretrain/tiny"),),
    takes_config=True,
)
