"""From a frozen config to a run that can begin: data, model, loss, optimizer and checkpoints, in this order."""

from __future__ import annotations

import os
import random
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from rich.console import Console

from forge.base.errors import RunError
from forge.build.frozen import thaw
from forge.ml.checkpoint.saver import Saver
from forge.ml.checkpoint.store import Store
from forge.ml.loss import CausalLoss
from forge.ml.memory.fused import FusedBackward
from forge.ml.memory.precision import choose_precision
from forge.ml.models.attention import choose_attention
from forge.ml.models.causal import deferred_weights
from forge.ml.models.vocabulary import check_vocabulary
from forge.ml.optim.groups import parameter_groups
from forge.ml.optim.rounding import StochasticRounding
from forge.ml.train.clock import StepClock
from forge.ml.train.feed import feed
from forge.ml.train.metrics import Metrics
from forge.ml.train.place import check_length, put_in_place, saved_memory
from forge.ml.train.progress import Progress
from forge.ml.train.restore import restore
from forge.ml.train.run import Run
from forge.ml.train.start import choose_start
from forge.ml.train.trainer import Trainer

if TYPE_CHECKING:
    from forge.ml.memory.precision import Precision
    from forge.ml.train.feed import Feed
    from forge.ml.train.stopping import Stopping

__all__ = ["set_up"]


def set_up(folder: str, stopping: Stopping) -> Run:
    """Make everything that a run needs; what is wrong with its data, model or settings shows here, before any step."""
    console = Console(file=sys.stderr, highlight=False)
    frozen = thaw(folder)
    with deferred_weights():
        settings = frozen.build()
    if not isinstance(settings, Trainer):
        raise RunError(f"{frozen.facts.config} builds {type(settings).__name__}, and a run is made by a Trainer")
    if settings.parallel.fixed_ranks > 1:
        raise RunError("a run has one process so far", hint="choose parallel=single")
    _seed(settings.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    store = Store(os.path.join(settings.output_dir, "checkpoints"))
    start = choose_start(settings, frozen.graph, store, console)
    check_length(settings)
    check_vocabulary(settings.model, settings.tokenizer)
    attention = choose_attention(
        settings.model.config._attn_implementation, device, packed=settings.dataset.packing != "none"
    )
    data = feed(settings, flat=attention.flat, console=console)
    model = put_in_place(settings, attention.name, device, data.total_steps, start, console)
    run = _assemble(settings, folder, model, data, store, stopping, console)
    if start is not None:
        restore(run, start.state())
        run.metrics.write({"event": "resumed", "step": run.step, "checkpoint": start.path})
    return run


def _assemble(
    settings: Trainer, folder: str, model: Any, data: Feed, store: Store, stopping: Stopping, console: Console
) -> Run:
    device = next(model.parameters()).device
    precision = choose_precision(settings.mixed_precision, device, next(model.parameters()).dtype)
    precision.apply()
    optimizer = _optimizer(settings, model)
    schedule = settings.schedule(optimizer, data.total_steps)
    stopping.folder = folder
    return Run(
        settings=settings,
        folder=folder,
        device=device,
        model=model,
        tokenizer=settings.tokenizer,
        loss=CausalLoss(model, kind=settings.loss),
        optimizer=optimizer,
        fused=_fused(settings, optimizer, precision) if settings.fuse_optim_with_backward else None,
        schedule=schedule,
        precision=precision,
        memory=partial(saved_memory, settings, model),
        loader=data.loader,
        evaluations=data.evaluations,
        total_steps=data.total_steps,
        saver=None if settings.save_strategy == "no" else Saver(store),
        metrics=Metrics(folder, [logger.open(folder, {}) for logger in settings.logging]),
        clock=StepClock(device),
        progress=Progress(data.total_steps, settings.logging_steps, console=console),
        stopping=stopping,
        callbacks=list(settings.callbacks),
    )


def _optimizer(settings: Trainer, model: Any) -> Any:
    groups = parameter_groups(model)
    if settings.stochastic_rounding:
        return StochasticRounding(groups, optimizer=settings.optimizer, seed=settings.seed)
    return settings.optimizer(groups)


def _fused(settings: Trainer, optimizer: Any, precision: Precision) -> FusedBackward:
    return FusedBackward(
        optimizer,
        max_grad_value=settings.max_grad_value,
        max_grad_norm=settings.max_grad_norm,
        gradient_accumulation_steps=settings.gradient_accumulation_steps,
        scaler=precision.scaler,
    )


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - for libraries that use the old generator
    torch.manual_seed(seed)
