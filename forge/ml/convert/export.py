"""`forge export`: the chosen checkpoint of a run as a model folder that stands on its own."""

from __future__ import annotations

import math
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from forge.base.errors import CheckpointError, ModelError
from forge.base.origin import shown_path
from forge.ml.checkpoint.manifest import MANIFEST
from forge.ml.checkpoint.place import is_checkpoint, store_of
from forge.ml.checkpoint.store import open_checkpoint
from forge.ml.convert.assembly import as_assembly, as_known
from forge.ml.convert.card import CardFacts, card
from forge.ml.convert.convert import Converted, counted_tokens, finished, narrowed, renamed
from forge.ml.convert.merge import merged, read_adapter
from forge.ml.convert.settings import as_json, carried_files, generation_config, tokenizer_files, turn_end
from forge.ml.convert.source import embedding_names, empty_model, open_source
from forge.ml.data.tokenizer import pretrained
from forge.ml.models.adapter_folder import holds_adapter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from transformers import PreTrainedTokenizerBase

    from forge.ml.checkpoint.store import Checkpoint
    from forge.ml.convert.merge import Adapter
    from forge.ml.convert.source import SourceModel

__all__ = ["Chosen", "chosen", "exported"]

_GENERATION: Final = "generation_config.json"
_RUN_FILE: Final = "run.json"


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is exported: a checkpoint that is whole, or a folder with an adapter or a model, and the run that made it."""

    folder: str
    checkpoint: Checkpoint | None = None
    run_folder: str | None = None


def chosen(
    run: str, *, checkpoint: str | None = None, best: bool = False, say: Callable[[str], None] | None = None
) -> Chosen:
    """The checkpoint to export: the newest that is whole, the best, or the one that is named by its path or its step."""
    if best and (checkpoint is not None or is_checkpoint(run)):
        raise CheckpointError("--best chooses a checkpoint, and one is named already", hint="leave one of them out")
    if not best and checkpoint is None and is_checkpoint(run) and os.path.exists(os.path.join(run, MANIFEST)):
        return _of_run(open_checkpoint(run))
    if os.path.isdir(run) and not os.path.isdir(os.path.join(run, "checkpoints")) and holds_adapter(run):
        return Chosen(run)
    store = store_of(run)
    if checkpoint is not None:
        path = os.path.join(store.folder, f"checkpoint-{checkpoint}") if checkpoint.isdecimal() else checkpoint
        return _of_run(open_checkpoint(path))
    found = next((one for one in store.list() if one.best), None) if best else store.newest(say=say)
    if found is None:
        what = "no checkpoint has a score" if best else "there are no checkpoints"
        raise CheckpointError(f"{what} in {shown_path(store.folder)}", hint="`forge ckpt ls` lists what is there")
    return _of_run(open_checkpoint(found.path) if best else found)


@contextmanager
def exported(
    what: Chosen, *, name: str, base: str | None = None, template: str | None = None, dtype: str | None = None
) -> Iterator[Converted]:
    """The model as it will be written, as long as the files that it is read from stay open.

    An adapter is merged into its base model, which is the one its config names unless ``base`` says where that is now.
    """
    adapter = read_adapter(what.folder) if holds_adapter(what.folder) else None
    if adapter is None and base is not None:
        raise ModelError(
            f"{shown_path(what.folder)} is a whole model and no adapter: there is nothing to merge into {base}",
            hint="leave out --base",
        )
    origin = what.folder if adapter is None else _base(adapter, base)
    with open_source(origin) as source:
        made = renamed(source, None) if adapter is None else _with_adapter(source, adapter)
        made.source = source
        made.files |= dict(carried_files(source.folder, tokenizer=False))
        tokenizer = pretrained(_texts(what.folder, origin), chat_template=template)
        counted_tokens(what.folder, tokenizer, _rows(made))
        made.tokenizer = tokenizer
        made.files |= tokenizer_files(tokenizer)
        made.files[_GENERATION] = as_json(generation_config(origin, made.plain, tokenizer))
        if dtype is not None:
            made.tensors = {key: narrowed(stored, dtype) for key, stored in made.tensors.items()}
        made = finished(made)
        made.files["README.md"] = card(_facts(what, made, adapter, origin, name, tokenizer)).encode()
        yield made


def _texts(folder: str, origin: str) -> str:
    """The folder with the tokenizer: that of an adapter may have none, which is then its base model's."""
    own = any(os.path.isfile(os.path.join(folder, name)) for name in ("tokenizer.json", "tokenizer_config.json"))
    return folder if own or not holds_adapter(folder) else origin


def _of_run(found: Checkpoint) -> Chosen:
    output = os.path.dirname(os.path.dirname(os.path.abspath(found.path)))
    # Where the run's folder was, or, when the whole has been moved since, where it is now.
    said = found.facts.get("run")
    places = [said, os.path.join(output, "runs", os.path.basename(said))] if isinstance(said, str) else []
    here = [place for place in places if os.path.isfile(os.path.join(place, _RUN_FILE))]
    return Chosen(found.path, found, here[0] if here else _last_run(output))


def _last_run(output: str) -> str | None:
    """The newest run's folder, which the time in its name tells."""
    runs = os.path.join(output, "runs")
    names = os.listdir(runs) if os.path.isdir(runs) else []
    found = [name for name in names if os.path.isfile(os.path.join(runs, name, _RUN_FILE))]
    return os.path.join(runs, max(found)) if found else None


def _base(adapter: Adapter, given: str | None) -> str:
    folder = given or adapter.base
    if folder is None:
        raise ModelError(
            f"{shown_path(adapter.folder)} holds an adapter, and does not say for which model",
            hint="name the folder of that model with --base",
        )
    if not os.path.isdir(folder):
        raise ModelError(
            f"{shown_path(adapter.folder)} holds an adapter for {folder}, which is no folder here",
            hint="name the folder where that model is now with --base; `forge download` gets one from the Hub",
        )
    return folder


def _with_adapter(source: SourceModel, adapter: Adapter) -> Converted:
    made = renamed(source, None)
    config = made.config
    if config.model_type == "gpt2" and adapter.in_assembly:
        # The run had it as a decoder from parts, whose names an adapter's are.
        from forge.ml.convert.assembly import assembled_config

        parts = merged(empty_model(assembled_config(config)), as_assembly(config, made.tensors), adapter)
        made.tensors = as_known(config, parts)
    else:
        made.tensors = merged(empty_model(config), made.tensors, adapter)
    made.plain["vocab_size"] = _rows(made)
    return made


def _rows(made: Converted) -> int:
    return made.tensors[embedding_names(empty_model(made.config), made.tensors)[0]].shape[0]


def _facts(
    what: Chosen, made: Converted, adapter: Adapter | None, origin: str, name: str, tokenizer: PreTrainedTokenizerBase
) -> CardFacts:
    found = what.checkpoint
    return CardFacts(
        name=name,
        architecture=str(next(iter(made.plain.get("architectures") or ["decoder"]))),
        dtype=str(made.plain["dtype"]),
        parameters=sum(math.prod(stored.shape) for stored in made.tensors.values()),
        step=None if found is None else found.step,
        facts={} if found is None else found.facts,
        score=(found.score.name, found.score.value) if found is not None and found.score is not None else None,
        base=origin if adapter is not None else _model_path(what.run_folder),
        run_folder=what.run_folder,
        adapter=("DoRA" if adapter.config.get("use_dora") else "LoRA") if adapter is not None else None,
        stop=turn_end(tokenizer).token,
    )


def _model_path(run_folder: str | None) -> str | None:
    """The folder that the run's model began as, if it did not begin from scratch."""
    if run_folder is None or not os.path.isfile(os.path.join(run_folder, "config.yaml")):
        return None
    import yaml

    from forge.base.files import read_bounded

    try:
        config: Any = yaml.safe_load(read_bounded(os.path.join(run_folder, "config.yaml"), 16 << 20))
        path = config["model"]["path"]
    except (yaml.YAMLError, LookupError, TypeError):
        return None
    return path if isinstance(path, str) else None
