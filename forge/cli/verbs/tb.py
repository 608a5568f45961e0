"""``forge tb``: TensorBoard on the runs below a folder."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from forge.base.errors import ToolError, UsageError
from forge.cli.options import Option, Positional
from forge.cli.registry import Verb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forge.cli.session import Context

__all__ = ["VERB"]

_ALL_RUNS = "output"


def _run(context: Context) -> int:
    from importlib.util import find_spec  # `forge --help` starts nothing

    from forge.launch.process import module_command, run_command

    own = _own_arguments(context.words)
    folder = _folder(context)
    if find_spec("tensorboard") is None:
        raise ToolError("TensorBoard is not installed", hint="pip install 'forge[train]', or pip install tensorboard")
    if not _has_events(folder):
        context.output.note(f"nothing is written below {folder} yet; what a run writes will show by itself")
    context.output.flush()
    return run_command(module_command("tensorboard.main", ["--logdir", folder, *_host(own), *own]))


def _own_arguments(words: Sequence[str]) -> Sequence[str]:
    """The words behind ``--``."""
    if words and not words[0].startswith("-"):
        raise UsageError(
            f"tb does not know what to do with {words[0]!r}",
            hint=f"write forge tb --output-dir {words[0]}; TensorBoard's own arguments stand behind --",
        )
    return words


def _folder(context: Context) -> str:
    asked: str | None = context.options.output_dir
    if asked is None and context.session.config is not None:
        asked = context.config.with_output()[1]
    folder = asked or _ALL_RUNS
    if not os.path.isdir(folder):
        raise UsageError(
            f"there is no folder {folder} with runs in it",
            hint="train first, or name the folder that --output-dir named then: forge tb --output-dir FOLDER",
        )
    return folder


def _host(own: Sequence[str]) -> list[str]:
    """Only this machine may look, unless the user says otherwise: TensorBoard asks nobody for a password."""
    asked = any(word.partition("=")[0] in {"--host", "--bind_all"} for word in own)
    return [] if asked else ["--host", "localhost"]


def _has_events(folder: str) -> bool:
    return any(".tfevents." in name for _, _, names in os.walk(folder) for name in names)


VERB = Verb(
    name="tb",
    summary="look at runs in TensorBoard",
    help="""\
Start TensorBoard on the runs below a folder: --output-dir, or what the config given with -t writes to, or all of
./output. What stands behind -- is given to TensorBoard as it is. It can be reached from this machine alone, unless you
give it --bind_all or --host.

  forge tb
  forge -t pretrain/tiny tb
  forge tb --output-dir MODEL_FOLDER -- --port 6007 --bind_all
""",
    run=_run,
    options=(Option(("--output-dir",), "look at the runs below this folder", "FOLDER", completes="file"),),
    positionals=(Positional("-- ARGS", "arguments of TensorBoard itself", least=0, most=None),),
)
