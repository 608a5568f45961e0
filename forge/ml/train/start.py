"""Where a run begins: from nothing, or from a checkpoint that is whole and fits."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from forge.base.errors import ResumeError
from forge.base.old_checkpoints import would_mix
from forge.base.paths import dotted
from forge.graph.change import Retarget
from forge.graph.diff import diff
from forge.graph.stored import from_json
from forge.ml.checkpoint.store import open_checkpoint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from forge.graph.change import Change
    from forge.graph.node import Graph
    from forge.ml.checkpoint.store import Checkpoint, Store
    from forge.ml.train.trainer import Trainer

__all__ = ["Start", "choose_start", "make_room"]

_GRAPH: Final = "graph.json"
# What the weights, or the meaning of a token, depend on.
_FIXED: Final = (("model", "config"), ("model", "adapter"), ("tokenizer",))
_FREE: Final = (("tokenizer", "chat_template"), ("model", "config", "use_cache"))
_LONGEST: Final = 80


@dataclass(frozen=True, slots=True)
class Start:
    """The checkpoint that a run continues from."""

    path: str
    step: int
    epoch: float


def choose_start(
    settings: Trainer, graph: Graph, store: Store, console: Console, own: Store | None = None
) -> Start | None:
    """The checkpoint to continue from, every byte of it verified; None to begin from nothing.

    Those in the run's ``own`` store come before the ones in that of the output folder.
    What the config says otherwise than when the checkpoint was made is told, and refused where nothing could go on from it.
    """
    asked = settings.resume_from_checkpoint
    if asked is None:
        _refuse_mixing(settings, store, None, console)
        return None
    found = _newest([own or store, store], console) if asked == "auto" else open_checkpoint(asked)
    if found is None:
        console.print(f"there is no checkpoint in {store.folder} yet: beginning from nothing")
        return None
    start = Start(found.path, found.step, found.manifest.facts.get("epoch", 0.0) if found.manifest else 0.0)
    _refuse_mixing(settings, store, start, console)
    console.print(f"continuing from {start.path}")
    _compare(start.path, graph, console)
    return start


def _newest(stores: Sequence[Store], console: Console) -> Checkpoint | None:
    return next(filter(None, (store.newest(say=console.print) for store in stores)), None)


def make_room(settings: Trainer, store: Store, start: Start | None) -> None:
    """Remove the checkpoints of another run, where that is asked for; a run that saves none would leave nothing in their place."""
    old = _of_another_run(store, start) if _overwrites(settings) else []
    if old:
        store.claim()
        store.remove([one.path for one in old], force=True)


def _overwrites(settings: Trainer) -> bool:
    return settings.overwrite_output_dir and settings.save_strategy != "no"


def _refuse_mixing(settings: Trainer, store: Store, start: Start | None, console: Console) -> None:
    """A new run never mixes its checkpoints with those of another; one that saves none has nothing to mix."""
    old = _of_another_run(store, start)
    if not old or _overwrites(settings):
        return
    newest = max(one.step for one in old)
    if settings.save_strategy != "no":
        raise would_mix(settings.output_dir, newest)
    what = f"{settings.output_dir} holds checkpoints up to step {newest}"
    console.print(f"{what} of another run: they stay, for this run saves none")


def _of_another_run(store: Store, start: Start | None) -> Sequence[Checkpoint]:
    """The checkpoints in the folder, unless the one that the run continues from is among them."""
    if start is not None and os.path.realpath(os.path.dirname(start.path)) == os.path.realpath(store.folder):
        return []
    return store.list()


def _compare(path: str, graph: Graph, console: Console) -> None:
    stored = os.path.join(path, "state", _GRAPH)
    if not os.path.exists(stored):
        raise ResumeError(
            f"the checkpoint {path} was not saved by a run: it has no state/{_GRAPH}",
            hint="begin a new run from its weights: model.path=FOLDER (-M), with another --output-dir",
        )
    with open(stored, encoding="utf-8") as file:
        changes = diff(from_json(file.read()), graph)
    changes = [change for change in changes if not _is_about_the_run(change)]
    refused = [change for change in changes if _is_fixed(change)]
    if refused:
        raise ResumeError(
            f"the checkpoint {path} was made by another config: {'; '.join(map(_text, refused))}",
            hint="undo these changes, or begin a new run in another --output-dir",
        )
    for change in changes:
        console.print(f"  changed since: {_text(change)}")


def _is_about_the_run(change: Change) -> bool:
    return change.path[-1:] in {("resume_from_checkpoint",), ("overwrite_output_dir",), ("output_dir",)}


def _is_fixed(change: Change) -> bool:
    if any(change.path[: len(free)] == free for free in _FREE):
        return False
    if change.path == ("optimizer",):
        return isinstance(change, Retarget)
    return any(change.path[: len(fixed)] == fixed for fixed in _FIXED)


def _text(change: Change) -> str:
    """``optimizer.lr: 0.001 -> 0.002``."""
    values = [_shown(getattr(change, name)) for name in ("old", "new", "value") if hasattr(change, name)]
    return f"{dotted(change.path)}: {' -> '.join(values) or type(change).__name__.lower()}"


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
