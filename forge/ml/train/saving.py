"""What a run gives to be saved: all of it, where it is one process; of several, each its share, or the first one everything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from forge.ml.checkpoint.manifest import Score
from forge.ml.models.save import model_files
from forge.ml.parallel.pieces import wholes
from forge.ml.train.restore import collect

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from forge.ml.checkpoint.saver import Saver
    from forge.ml.train.run import Run

__all__ = ["save"]

_GRAPH: Final = "state/graph.json"


def save(run: Run, saver: Saver, *, urgent: bool = False) -> None:
    """Save the run as it is after its last step; it goes on while that is written, also where somebody waits for it: ``urgent``."""
    counts = run.counts
    scored = counts.evaluated_step == run.step and counts.evaluated_loss is not None
    saver.save(
        lambda: _files(run),
        lambda: _state(run),
        run.step,
        {"run": run.folder, "epoch": run.epoch, "tokens": counts.tokens},
        score=Score("eval_loss", counts.evaluated_loss) if scored else None,
        best=run.best.step,
        fresh=run.shares is not None,
        urgent=urgent,
    )


def _files(run: Run) -> Iterator[tuple[str, Any]]:
    """The files of the model that this process writes."""
    if run.shares is None or hasattr(run.model, "peft_config"):  # of an adapter there is little
        held = None if run.world.alone else _whole_weights(run)
        yield from _whole_model(run, held) if run.world.first else ()
    else:
        from forge.ml.parallel.shares import own_weights

        weights = run.model.state_dict()
        held = own_weights(run.shares, weights, without=_of_others(run, weights))
        yield from model_files(run.model, held=held, world=run.world)
    if run.world.first:
        yield from run.fixed.items()
        yield _GRAPH, run.graph.encode()


def _whole_model(run: Run, held: dict[str, Any] | None) -> Iterable[tuple[str, Any]]:
    """The files of a model that is written by one process, which may have a part of it only."""
    if run.world.layout.pp == 1:
        return model_files(run.model, held=held)
    from forge.ml.parallel.pipeline_cut import in_its_place

    with in_its_place(run.model):  # peft looks through the model for what an adapter consists of
        return list(model_files(run.model, held=held))


def _of_others(run: Run, weights: dict[str, Any]) -> set[str]:
    """The weights of this process that go by another name, or that an earlier stage of a pipeline writes."""
    tied = set(getattr(run.model, "all_tied_weights_keys", {}))
    if run.world.layout.pp == 1:
        return tied
    from forge.ml.parallel.pipeline_state import held_earlier

    return tied | held_earlier(run.world, weights)


def _whole_weights(run: Run) -> dict[str, Any]:
    """The state dict of the whole model in the first process."""
    if run.world.layout.pp == 1:
        return _on_the_first(run, run.model.state_dict())
    from forge.ml.parallel.pipeline_state import brought_together, united_weights

    parts = brought_together(run.world, _on_the_first(run, run.model.state_dict()))
    return (
        {} if parts is None else united_weights(parts, run.loss.order, getattr(run.model, "all_tied_weights_keys", {}))
    )


def _state(run: Run) -> dict[str, Any]:
    """What `collect` gives: whole in the first process, or what this process writes of it."""
    state = collect(run)
    if run.world.alone:
        return state
    optimizer = state.pop("optimizer")
    state = _on_the_first(run, state) if run.world.first else {}
    state["optimizer"] = _whole_optimizer(run, optimizer) if run.shares is None else _own_optimizer(run, optimizer)
    return state


def _whole_optimizer(run: Run, optimizer: dict[str, Any]) -> Any:
    optimizer = _on_the_first(run, optimizer)
    if run.world.layout.pp == 1:
        return optimizer
    from forge.ml.parallel.pipeline_state import brought_together, united_optimizer

    parts = brought_together(run.world, optimizer)
    return parts and united_optimizer(parts, run.loss.order)


def _own_optimizer(run: Run, optimizer: dict[str, Any]) -> Any:
    from forge.ml.parallel.shares import own_optimizer

    own = own_optimizer(run.shares, optimizer)
    if run.world.layout.pp == 1:
        return own
    from forge.ml.parallel.pipeline_state import outlines, united_optimizer

    return united_optimizer(outlines(run.world, own), run.loss.order)


def _on_the_first(run: Run, tree: Any) -> Any:
    """What is spread over processes, whole in the first of those that have it; the others help, and keep nothing."""
    keeps = run.world.first
    if run.world.layout.pp > 1:
        from forge.ml.parallel.pipeline_state import leads_its_stage

        keeps = leads_its_stage(run.world)
    return wholes(tree, (lambda tensor: tensor.detach().cpu()) if keeps else (lambda _: None))
