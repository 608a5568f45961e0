"""What is evaluated: the model of a config with the weights of a checkpoint, on the config's held-out data."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from forge.base.errors import DataError, RunError
from forge.base.spelling import did_you_mean
from forge.build.frozen import thaw
from forge.ml.checkpoint.manifest import MANIFEST
from forge.ml.checkpoint.state import STATE_FILE, read_state
from forge.ml.checkpoint.store import Store, open_checkpoint
from forge.ml.data.loader import evaluation_batches
from forge.ml.data.prepare import prepare
from forge.ml.evaluate.mode import evaluation_mode
from forge.ml.evaluate.perplexity import evaluate
from forge.ml.loss import CausalLoss
from forge.ml.memory.precision import choose_precision
from forge.ml.models.adapter_folder import holds_adapter
from forge.ml.models.attention import DOCUMENTS, attention_for, check_documents
from forge.ml.models.causal import deferred_weights, materialise
from forge.ml.models.vocabulary import check_vocabulary
from forge.ml.models.weights import load_weights
from forge.ml.train.base_weights import base_weights, check_base_weights
from forge.ml.train.feed import padding_token
from forge.ml.train.place import check_length, choose_device
from forge.ml.train.trainer import Trainer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import torch

    from forge.ml.data.split import Split

__all__ = ["evaluate_config"]

_AUTO: Final = "auto"


@dataclass(frozen=True, slots=True)
class _Weights:
    """Where the weights come from: a folder, or, without one, the config's own model."""

    folder: str | None
    described: str
    step: int | None = None


def evaluate_config(
    folder: str,
    *,
    checkpoint: str = _AUTO,
    dataset: str | None = None,
    tasks: Sequence[str] = (),
    task_folder: str | None = None,
    limit: int | None = None,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Evaluate the model of a frozen config: its held-out sets (or one of them), or, when there are `tasks`, those."""
    frozen = thaw(folder)
    with deferred_weights():
        settings = frozen.build()
    if not isinstance(settings, Trainer):
        raise RunError(
            f"{frozen.facts.config} builds {type(settings).__name__}, and a model is evaluated by its Trainer's settings"
        )
    check_vocabulary(settings.model, settings.tokenizer)
    weights = _weights(settings, checkpoint, say)
    say(f"weights: {weights.described}")
    device = choose_device()
    records, figures = [], {}
    if tasks:
        figures = _tasks(_model(settings, weights, device), settings, tasks, task_folder, limit)
    else:
        records = _held_out(settings, weights, device, dataset, say)
    return {"weights": weights.described, "step": weights.step, "datasets": records, "tasks": figures}


def _weights(settings: Trainer, checkpoint: str, say: Callable[[str], None]) -> _Weights:
    if checkpoint != _AUTO:
        if not os.path.isdir(checkpoint):
            raise RunError(f"there is no checkpoint {checkpoint}", hint="give the path of its folder, or auto")
        if settings.model.unfilled.adapter is not None and not holds_adapter(checkpoint):
            # It is no adapter of the config's that is asked for, but a whole model: it is measured as it is.
            settings.model.unfilled = replace(settings.model.unfilled, adapter=None)
            say(f"{checkpoint} holds a whole model and no adapter: the model is measured without the config's adapter")
        whole = os.path.exists(os.path.join(checkpoint, MANIFEST))  # a model folder of others has none
        return _Weights(checkpoint, checkpoint, open_checkpoint(checkpoint).step if whole else None)
    store = Store(os.path.join(settings.output_dir, "checkpoints"))
    found = store.newest(say=say)
    if found is not None:
        return _Weights(found.path, os.path.relpath(found.path), found.step)
    path = settings.model.unfilled.path
    if path is None:
        raise RunError(
            f"there is no checkpoint in {os.path.relpath(store.folder)}, and the config's own model has learned nothing yet",
            hint="train first, or name a checkpoint or a model folder with --checkpoint",
        )
    return _Weights(None, f"{path}, before any training")


def _model(settings: Trainer, weights: _Weights, device: torch.device) -> Any:
    model = materialise(settings.model, device)
    if weights.folder is not None:
        _check_base(model, weights.folder)
        load_weights(model, weights.folder)
    return model.eval()


def _check_base(model: Any, folder: str) -> None:
    """An adapter that a run has saved stands on the weights that it was trained on, and is worth nothing on others."""
    if hasattr(model, "peft_config") and os.path.exists(os.path.join(folder, STATE_FILE)):
        path = getattr(model.config, "name_or_path", None) or None
        saved = read_state(folder, checked=True).get("base", {})
        check_base_weights(saved, base_weights(path), path, hint="name the model that it was trained on with -M")


def _held_out(
    settings: Trainer, weights: _Weights, device: torch.device, dataset: str | None, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    check_length(settings)
    splits = _chosen(prepare(settings.dataset, settings.tokenizer).held_out, dataset)
    for name, split in splits.items():
        for line in split.report.lines():
            say(f"{name}: {line}")
    packed = settings.dataset.packing != "none"
    attention = attention_for(
        settings.model,
        getattr(settings.model, "requested_attention", "auto"),
        device,
        packed=packed,
        rows=settings.per_device_eval_batch_size,
        length=settings.dataset.max_length,
    )
    model = _model(settings, weights, device)
    model.set_attn_implementation(attention)
    if packed:
        check_documents(model, attention)
    precision = choose_precision(settings.mixed_precision, device, next(model.parameters()).dtype)
    precision.apply()
    say(precision.described)
    loss = CausalLoss(model, kind=settings.loss)
    batches = partial(
        evaluation_batches,
        batch_size=settings.per_device_eval_batch_size,
        pad_id=padding_token(settings.tokenizer),
        flat=attention == DOCUMENTS,
    )
    return [{"dataset": name, **evaluate(loss, batches(split), device, precision)} for name, split in splits.items()]


def _chosen(splits: Mapping[str, Split], dataset: str | None) -> dict[str, Split]:
    if not splits:
        raise DataError(
            "the dataset holds nothing out",
            hint="dataset.held_out=0.05 holds out one row in twenty; or name lm-eval tasks with --tasks",
        )
    if dataset is not None and dataset not in splits:
        hint = did_you_mean(dataset, list(splits)) or f"there are: {', '.join(splits)}"
        raise DataError(f"there is no held-out set {dataset!r}", hint=hint)
    return {name: split for name, split in splits.items() if dataset in (None, name)}


def _tasks(
    model: Any, settings: Trainer, names: Sequence[str], folder: str | None, limit: int | None
) -> dict[str, dict[str, float]]:
    from forge.ml.evaluate.tasks import run_tasks  # an extra, and slow to import

    with evaluation_mode(model):
        return run_tasks(
            model,
            settings.tokenizer,
            names,
            batch_size=settings.per_device_eval_batch_size,
            folder=folder,
            limit=limit,
        )
