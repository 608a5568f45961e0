"""``python -m forge.ml.models show|test FOLDER``: what `forge model` runs on a frozen config or on a model folder."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from forge.base.collector import collector_paused
from forge.base.ending import run_program
from forge.base.errors import ForgeError, ModelError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from forge.build.frozen import Frozen
    from forge.ml.models.simulation import StepSettings

__all__ = ["main"]

_SEQUENCE = 1024


def main(arguments: Sequence[str]) -> int:
    """Show or test a model; 0: it is well, 1: something is not finite, 2: the user's mistake."""
    options = _parser().parse_args(arguments)
    try:
        return (_show if options.action == "show" else _test)(options)
    except (ForgeError, ValueError, OSError) as error:
        notes = "".join(f"\n  {note}" for note in getattr(error, "__notes__", ())[:1])
        _say(f"error: {error}{notes}")
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="forge model", allow_abbrev=False)
    parser.add_argument("action", choices=("show", "test"))
    parser.add_argument("folder", metavar="FOLDER")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--seq", type=int)
    parser.add_argument("--json", action="store_true")
    return parser


def _show(options: argparse.Namespace) -> int:
    with collector_paused():  # modules stay
        from forge.ml.models.report import as_data, parameter_blocks, table
        from forge.ml.models.simulation import simulate_step

    model, settings = _read(options)
    model = _as_trained(model)
    parts = parameter_blocks(model)
    memory = simulate_step(model, settings)
    _print(as_data(model, parts, memory) if options.json else table(model, parts, memory))
    return 0


def _test(options: argparse.Namespace) -> int:
    from dataclasses import asdict

    with collector_paused():  # modules stay
        from forge.ml.models.causal import materialise
        from forge.ml.models.report import smoke_text
        from forge.ml.models.smoke import smoke_step

    model, settings = _read(options)
    _say(f"making the model on {_device()}: {sum(weight.numel() for weight in model.parameters()):,} parameters")
    step = smoke_step(materialise(model, _device()), settings, say=_say)
    _print(asdict(step) if options.json else smoke_text(step))
    return 1 if step.problems else 0


def _print(found: str | dict[str, Any]) -> None:
    sys.stdout.write((found if isinstance(found, str) else json.dumps(found, indent=2)) + "\n")


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _as_trained(model: Any) -> nn.Module:
    """The model with its adapter on, keeping what it will keep, still without weights."""
    from forge.ml.models.lean import put_lean

    if model.unfilled.kernels["kernels"] == "lean":
        put_lean(model)
    if model.unfilled.adapter is None:
        return model
    from forge.ml.models.adapter import put_adapter

    return put_adapter(model, model.unfilled.adapter)


def _read(options: argparse.Namespace) -> tuple[Any, StepSettings]:
    """The model without weights, and how a step is taken: as the config says, where there is one."""
    from forge.build.frozen import GRAPH, thaw

    with collector_paused():  # modules stay
        from forge.ml.models.causal import causal_lm, deferred_weights

    if os.path.isfile(os.path.join(options.folder, GRAPH)):
        frozen = thaw(options.folder)
        with deferred_weights():
            model = _built(frozen)
        if not hasattr(model, "unfilled"):
            raise ModelError(f"the model of {frozen.facts.config} is not made by forge.ml.models.causal_lm")
        return model, _settings(model, options, frozen)
    with deferred_weights():
        model = causal_lm(path=options.folder)
    return model, _settings(model, options, None)


def _built(frozen: Frozen) -> Any:
    try:
        return frozen.build("model")
    except (ForgeError, ValueError, OSError):
        raise
    except Exception as error:
        # The library checks a config by errors of its own, in many lines; the last one says what is wrong.
        reason = (str(error).splitlines() or [""])[-1].strip()
        wrong = ModelError(f"the model cannot be made: {reason or type(error).__name__}")
        for note in getattr(error, "__notes__", ()):
            wrong.add_note(note)
        raise wrong from error


def _settings(model: Any, options: argparse.Namespace, frozen: Frozen | None) -> StepSettings:
    from dataclasses import fields

    from forge.ml.memory.precision import choose_precision
    from forge.ml.models.simulation import StepSettings

    trainer = _plain_values(frozen, "trainer")
    given = {entry.name: trainer[entry.name] for entry in fields(StepSettings) if entry.name in trainer}
    precision = choose_precision(trainer.get("mixed_precision", "auto"), _device(), model.dtype).name
    given |= {"mixed_precision": precision}
    if frozen is not None and frozen.has("optimizer"):
        given["optimizer"] = frozen.build("optimizer")
    longest = _plain_values(frozen, "dataset").get("max_length", _SEQUENCE)
    positions = getattr(model.config, "max_position_embeddings", None) or options.seq or longest
    given["sequence"] = options.seq or min(longest, positions)
    if given["sequence"] > positions:
        raise UsageError(
            f"--seq {options.seq} is more than the {positions:,} positions that the model knows",
            hint=f"--seq {positions} or less",
        )
    given["batch_size"] = options.batch or trainer.get("per_device_train_batch_size", 1)
    return StepSettings(**given)


def _plain_values(frozen: Frozen | None, key: str) -> dict[str, Any]:
    """The settings of a top-level key that are plain values; nothing is built for them."""
    from forge.graph.node import Call, Const, Map

    root = frozen.graph.root if frozen is not None else None
    found = next((edge.node for edge in root.items if edge.key == key), None) if isinstance(root, Map) else None
    if not isinstance(found, Call):
        return {}
    return {str(edge.key): edge.node.value for edge in found.kwargs if isinstance(edge.node, Const)}


if __name__ == "__main__":
    run_program(main)
