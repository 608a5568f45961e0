"""From a frozen config to a run that can begin: data, model, loss, optimizer and checkpoints, in this order."""

from __future__ import annotations

import os
import random
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from forge.base.errors import RunError
from forge.build.frozen import thaw
from forge.graph.stored import to_json
from forge.ml.checkpoint.saver import Saver
from forge.ml.checkpoint.state import read_state
from forge.ml.checkpoint.store import Store
from forge.ml.line_console import LineConsole
from forge.ml.memory.fused import FusedBackward
from forge.ml.memory.precision import choose_precision
from forge.ml.models.attention import FLAT, attention_for
from forge.ml.models.causal import deferred_weights
from forge.ml.models.save import config_files
from forge.ml.models.vocabulary import check_vocabulary
from forge.ml.optim.groups import parameter_groups
from forge.ml.optim.rounding import StochasticRounding, choose_rounding
from forge.ml.optim.schedule import climbs_to_the_end, made_schedule
from forge.ml.parallel.world import join
from forge.ml.train.base_weights import base_weights
from forge.ml.train.callback import Callback
from forge.ml.train.clock import StepClock
from forge.ml.train.feed import feed
from forge.ml.train.lost_rows import LostRows
from forge.ml.train.metrics import Unheard, open_metrics
from forge.ml.train.place import check_length, choose_device, put_in_place, saved_memory
from forge.ml.train.progress import Progress
from forge.ml.train.restore import check_room, restore
from forge.ml.train.run import Run
from forge.ml.train.start import Start, choose_start, make_room
from forge.ml.train.steering import Steering
from forge.ml.train.timeouts import Patience
from forge.ml.train.trainer import Trainer
from forge.plan.read import read_run

if TYPE_CHECKING:
    from rich.console import Console

    from forge.build.frozen import Frozen
    from forge.ml.loss import CausalLoss
    from forge.ml.memory.precision import Precision
    from forge.ml.parallel.shares import Shares
    from forge.ml.parallel.world import World
    from forge.ml.train.feed import RunData
    from forge.ml.train.metrics import Metrics
    from forge.ml.train.stopping import Stopping

__all__ = ["attention_of", "build_settings", "make_run", "set_up"]

# What a part of a run is known by, and what makes it.
_PARTS: Final = {
    "model": ("unfilled", "forge.ml.models.causal_lm"),
    "tokenizer": ("get_vocab", "forge.ml.data.tokenizer.pretrained or train_bpe"),
    "dataset": ("max_length", "TextCorpus, ChatCorpus or Mixture of forge.ml.data.corpus"),
}


def set_up(folder: str, stopping: Stopping) -> Run:
    """Make everything that a run needs; what is wrong with its data, model or settings shows here, before any step."""
    frozen = thaw(folder)
    settings = build_settings(frozen)
    world = join(settings.parallel, choose_device())
    # The first process speaks for all.
    return make_run(settings, frozen, stopping, LineConsole(quiet=not world.first), world)


def build_settings(frozen: Frozen) -> Trainer:
    """Build the trainer of a frozen config, its model still without weights; RunError when no run can be made of it."""
    with deferred_weights():
        settings = frozen.build()
    _check(settings, frozen)
    return settings


def make_run(
    settings: Trainer, frozen: Frozen, stopping: Stopping, console: Console, world: World | None = None
) -> Run:
    """Make everything that a run with these settings needs; what it does is told on the console."""
    world = world or join(settings.parallel, choose_device())
    if settings.output_dir is None:
        raise RunError(
            "the run has no output folder", hint="set trainer.output_dir; `forge train` chooses one by itself"
        )
    _seed(settings.seed)
    store = Store(os.path.join(settings.output_dir, "checkpoints"))
    with ExitStack() as undo:
        undo.callback(store.release)
        run = _make(settings, frozen, store, stopping, console, world, undo)
        undo.pop_all()
    return run


def _check(settings: Any, frozen: Frozen) -> None:
    if not isinstance(settings, Trainer):
        raise RunError(f"{frozen.facts.config} builds {type(settings).__name__}, and a run is made by a Trainer")
    for name, (known_by, makers) in _PARTS.items():
        part = getattr(settings, name)
        if not hasattr(part, known_by):
            raise RunError(f"the {name} is a {type(part).__name__}, which no run can use", hint=f"make it by {makers}")

    for callback in settings.callbacks:
        if not isinstance(callback, Callback):
            if isinstance(callback, dict):
                raise RunError(
                    f"among the callbacks of the run are settings ({', '.join(map(str, callback))}) of one that is not there",
                    hint="choose the callback that they are for, or leave them out: ~callback.NAME, without callback.NAME.x=...",
                )
            raise RunError(f"{callback!r:.80} is among the callbacks of the run and is none")


def _make(
    settings: Trainer,
    frozen: Frozen,
    store: Store,
    stopping: Stopping,
    console: Console,
    world: World,
    undo: ExitStack,
) -> Run:
    _refuse(frozen, world)
    if settings.save_strategy != "no" and world.first:
        store.claim()  # first: whoever writes there already is not disturbed, and nobody waits for nothing
    start = _common_start(settings, frozen, store, console, world)
    check_length(settings)
    check_vocabulary(settings.model, settings.tokenizer)
    attention = attention_of(settings, world.device)
    precision = choose_precision(settings.mixed_precision, world.device, settings.model.dtype)
    # Of several processes none leaves by itself: the others would wait for it.
    heed = stopping.leave_early if world.alone else _nothing
    heed()
    data = feed(settings, flat=attention in FLAT, console=console, world=world, heed=heed, start=start)
    undo.callback(data.loader.close)
    model, loss = put_in_place(settings, attention, precision, world, data, start, console)
    heed()
    if settings.save_strategy != "no" and world.first:
        check_room(settings, store.folder, model)
    run = _assemble(settings, frozen, model, loss, precision, data, store, stopping, console, world)
    undo.callback(run.metrics.close)
    if start is not None:
        restore(run, read_state(start.path, checked=not world.alone))
        run.metrics.write({"event": "resumed", "step": run.step, "checkpoint": start.path})
        if run.step >= run.total_steps:
            console.print(
                f"nothing is left to train: the checkpoint is at step {run.step} and the run has {run.total_steps}; "
                "more steps go on from it (--max-steps, --num-train-epochs)"
            )
    if world.first:
        make_room(settings, store, start)
    if settings.save_strategy == "no":
        store.release()
    return run


def _nothing() -> None:
    """What is heeded where nobody may leave."""


def _common_start(settings: Trainer, frozen: Frozen, store: Store, console: Console, world: World) -> Start | None:
    """The first process looks for the checkpoint to continue from, and the others take what it has found."""
    own = _own_store(settings, frozen, store)  # a run that was begun again, in its own folder
    found = choose_start(settings, frozen.graph, store, console, own) if world.first else None
    told = world.tell(found and [found.path, found.step, found.epoch])
    return found if world.first else told and Start(*told)


def attention_of(settings: Trainer, device: torch.device) -> str:
    """The attention of the run; where it knows documents, several of them lie in a row even when none are packed."""
    model = settings.model
    stateful = getattr(type(model), "_is_stateful", False)
    return attention_for(
        model,
        model.requested_attention,
        device,
        packed=settings.dataset.packing != "none",
        flat=settings.parallel.cp > 1 or not stateful,
        rows=max(settings.per_device_train_batch_size, settings.per_device_eval_batch_size),
        length=settings.dataset.max_length,
    )


def _assemble(
    settings: Trainer,
    frozen: Frozen,
    model: Any,
    loss: CausalLoss,
    precision: Precision,
    data: RunData,
    store: Store,
    stopping: Stopping,
    console: Console,
    world: World,
) -> Run:
    model_path = getattr(model.config, "name_or_path", None) or None
    precision.apply()
    console.print(precision.described)
    optimizer = _optimizer(settings, model, world)
    if isinstance(optimizer, StochasticRounding) and settings.stochastic_rounding == "auto":
        console.print("updates are rounded by chance: the weights are bfloat16 (stochastic_rounding)")
    schedule = made_schedule(settings.schedule, optimizer, data.total_steps)
    if climbs_to_the_end(schedule, data.total_steps):
        console.print(
            "warning: the learning rate climbs to the last step: the warm-up is as long as the run, or longer"
        )
    patience = Patience(world, settings.hang_seconds, settings.first_step_seconds)
    stopping.folder = frozen.folder
    saver, shares = _saving(settings, model, _own_store(settings, frozen, store), console, world)
    return Run(
        settings=settings,
        folder=frozen.folder,
        graph=to_json(frozen.graph),
        # Made now: a tokenizer writes itself into a temporary folder, and the disk of that may be full when a checkpoint is due.
        fixed=config_files(model, settings.tokenizer) if world.first else {},
        device=world.device,
        model=model,
        model_path=model_path,
        base=base_weights(model_path) if hasattr(model, "peft_config") else {},
        tokenizer=settings.tokenizer,
        loss=loss,
        optimizer=optimizer,
        fused=_fused(settings, optimizer, precision) if settings.fuse_optim_with_backward else None,
        schedule=schedule,
        precision=precision,
        memory=partial(saved_memory, settings, model),
        world=world,
        loader=data.loader,
        evaluations=data.evaluations,
        total_steps=data.total_steps,
        saver=saver,
        shares=shares,
        metrics=_metrics(settings, frozen, console, world),
        clock=StepClock(world.device, None if world.alone else patience.mark),
        patience=patience,
        progress=Progress(data.total_steps, settings.logging_steps, console=console),
        stopping=stopping,
        callbacks=[*([Steering(), LostRows(data.report)] if world.first else []), *settings.callbacks],
    )


def _facts(frozen: Frozen) -> dict[str, Any]:
    """What a logger may tell of the run."""
    facts = frozen.facts
    return {"project": facts.project, "config": facts.config, "overrides": list(facts.overrides)}


def _metrics(settings: Trainer, frozen: Frozen, console: Console, world: World) -> Metrics:
    if not world.first:
        return Unheard()
    return open_metrics(frozen.folder, settings.logging, _facts(frozen), warn=console.print)


def _own_store(settings: Trainer, frozen: Frozen, store: Store) -> Store:
    """Where the run saves; one that saves nothing by itself keeps what it is asked to save apart from the checkpoints of others."""
    return store if settings.save_strategy != "no" else Store(os.path.join(frozen.folder, "checkpoints"))


def _saving(settings: Trainer, model: Any, store: Store, console: Console, world: World) -> tuple[Saver, Shares | None]:
    """What saves the run, and what this process has to write of it where all see the folder."""
    shares = None
    if not world.alone:
        from forge.ml.parallel.shares import Shares, everybody_sees

        made = store.folder if settings.save_strategy != "no" else os.path.dirname(store.folder)
        if everybody_sees(world, made):
            size = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
            shares = Shares.among(world, size, settings.save_processes)
        else:
            console.print(f"not every process sees {store.folder}: the first one saves for all")
    saver = Saver(
        store,
        keep=settings.save_total_limit,
        asynchronous=settings.async_save,
        on_error=settings.on_save_error,
        say=console.print,
        crew=None if world.alone else world,
        shared=shares is not None,
    )
    return saver, shares


def _optimizer(settings: Trainer, model: Any, world: World) -> Any:
    groups, make = parameter_groups(model), settings.optimizer
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if choose_rounding(settings.stochastic_rounding, make, trained):
        return StochasticRounding(groups, optimizer=make, seed=settings.seed)
    if not world.alone and getattr(make, "func", None) is torch.optim.SGD:
        make = partial(make, fused=False)  # of which torch has no fused step for weights in pieces
    try:
        return make(groups)
    except TypeError as error:
        raise RunError(
            f"the optimizer cannot be made: {error}", hint="look at what the config says below optimizer"
        ) from error


def _fused(settings: Trainer, optimizer: Any, precision: Precision) -> FusedBackward:
    return FusedBackward(
        optimizer,
        max_grad_value=settings.max_grad_value,
        max_grad_norm=settings.max_grad_norm,
        gradient_accumulation_steps=settings.gradient_accumulation_steps,
        scaler=precision.scaler,
    )


def _refuse(frozen: Frozen, world: World) -> None:
    """What check and plan refuse a run refuses too, and it knows its processes, its device and its machine."""
    reading = read_run(frozen.graph.root, frozen.facts.main)
    kind = "cuda" if world.device.type == "cuda" else "cpu"
    found = reading.refusals(ranks=world.size, device=kind, here=True) if reading is not None else []
    if found:
        key, origin = reading.place(found[0])
        raise RunError(found[0].reason, origin=origin, key=key, hint=found[0].ways or None)


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - for libraries that use the old generator
    torch.manual_seed(seed)
