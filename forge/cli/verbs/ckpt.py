"""``forge ckpt``: the checkpoints of a run: list, check, show as a model, finalize, remove."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from forge.base.errors import UsageError
from forge.cli.options import JSON, Option, Positional
from forge.cli.registry import Verb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forge.cli.session import Context

__all__ = ["VERB"]

_MODULE: Final = "forge.ml.checkpoint"
_CHECKPOINTS: Final = "checkpoints"
_FLAGS: Final = {
    "json": ("ls", "verify", "link", "rm"),
    "quick": ("verify",),
    "force": ("link", "rm"),
    "best": ("finalize",),
}


def _run(context: Context) -> int:
    from forge.launch.process import run_module  # `forge --help` starts nothing

    action, *paths = context.words
    if action == "finalize":
        return _finalize(context, paths)
    flags = _flags(context, action)
    if paths:
        _check_paths(context, action, paths)
    elif action == "rm":
        raise UsageError("name the checkpoints to remove", hint="forge ckpt rm OUTPUT/checkpoints/checkpoint-100")
    else:
        folder = _folder(context)
        if action in {"ls", "verify"} and not os.path.isdir(os.path.join(folder, _CHECKPOINTS)):
            return _nothing(context, folder)
        paths = [folder]
    context.output.flush()
    # A name that begins with a dash is no flag.
    return run_module(
        _MODULE, [action, *flags, *(os.path.join(os.curdir, path) if path[0] == "-" else path for path in paths)]
    )


def _finalize(context: Context, paths: Sequence[str]) -> int:
    """As `forge export`, for the run that is named or that the config describes."""
    from forge.launch.process import run_module  # as in _run

    if not paths or len(paths) > 2:  # noqa: PLR2004 - a run and a new folder
        raise UsageError("ckpt finalize takes a run and the folder to make", hint="forge ckpt finalize RUN NEW_MODEL")
    *run, target = paths
    if run:
        _check_paths(context, "finalize", run)
    if os.path.lexists(target):
        raise UsageError(f"{target} is there already", hint="name a new folder, or move that one away")
    flags = _flags(context, "finalize")
    context.output.note("importing torch and transformers")  # which takes seconds
    context.output.flush()
    return run_module("forge.ml.convert", ["export", *flags, "--", *(run or [_folder(context)]), target])


def _flags(context: Context, action: str) -> list[str]:
    given = [name for name in _FLAGS if getattr(context.options, name)]
    for name in given:
        if action not in _FLAGS[name]:
            raise UsageError(f"ckpt {action} has no flag --{name}", hint=f"it belongs to {' and '.join(_FLAGS[name])}")
    return [f"--{name}" for name in given]


def _check_paths(context: Context, action: str, paths: Sequence[str]) -> None:
    if action != "rm" and len(paths) > 1:
        raise UsageError(f"ckpt {action} takes one folder, not {len(paths)}")
    changes = [item.flag or item.text for item in context.items if item.kind != "word"]
    if changes:
        raise UsageError(
            f"{changes[0]} changes a config, and {paths[0]} is a folder",
            hint="name the folder, or choose a config with -t",
        )
    for path in paths:
        if not os.path.isdir(path):
            raise UsageError(
                f"there is no folder {path!r}", hint="name a run's output folder, or one of its checkpoints"
            )


def _folder(context: Context) -> str:
    """The current folder when it has checkpoints and no config is chosen, otherwise where the config's runs write."""
    changed = any(item.kind != "word" for item in context.items)
    chosen = context.session.project or context.session.config or changed
    if not chosen and os.path.isdir(_CHECKPOINTS):
        return os.curdir

    if context.config.main is None:
        raise UsageError(
            f"{context.config.name} describes no run", hint="name the folder of a run: forge ckpt ls FOLDER"
        )
    return context.config.with_output()[1]


def _nothing(context: Context, folder: str) -> int:
    """A config that has not been trained yet has no checkpoints, which is no mistake."""
    if context.options.json:
        context.emit_json([], "checkpoints")
    else:
        context.output.write(f"no checkpoints in {folder}")
    return 0


VERB = Verb(
    name="ckpt",
    summary="list, check, link, finalize or remove the checkpoints of a run",
    help="""\
Work on the checkpoints of a run. FOLDER is its output folder, a run's folder in that, or one checkpoint; without it, the
current folder or the output folder of the chosen config is meant.

ls lists them: step, time, size, score, which is the newest, the best and the linked one, and whether each is valid by the
names and sizes of its files. verify reads every byte of them (--quick: names and sizes), and its exit code is 1 when one is
not whole. link shows the files of the newest whole checkpoint, or of the one that is named, at the root of the model folder, so that
the folder itself loads as a model; files of its own are replaced with --force only, and kept. rm removes those that are named;
the last valid one and the linked one with --force only. finalize makes a model folder that stands on its own of the newest whole
checkpoint (--best: of the best one), as `forge export` does.

  forge ckpt ls output/pydoc/pretrain/tiny
  forge -p projects/pydoc -t pretrain/tiny ckpt verify
  forge ckpt link MODEL_FOLDER
  forge ckpt rm MODEL_FOLDER/checkpoints/checkpoint-100
  forge ckpt finalize MODEL_FOLDER NEW_MODEL --best
""",
    run=_run,
    options=(
        JSON,
        Option(("--quick",), "verify: look at names and sizes only"),
        Option(("--force",), "link: replace the folder's own files; rm: remove the last one too"),
        Option(("--best",), "finalize: take the checkpoint with the best score"),
    ),
    positionals=(
        Positional("ACTION", "what to do", choices=("ls", "verify", "link", "finalize", "rm")),
        Positional(
            "FOLDER",
            "an output folder, or a checkpoint; finalize: and the folder to make",
            least=0,
            most=None,
            completes="file",
        ),
    ),
    takes_config=True,
)
