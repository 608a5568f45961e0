"""What a model consists of, and what a training step of it needs, as tables for people and as plain data for programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from forge.ml.memory.blocks import blocks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import nn

    from forge.ml.models.simulation import StepMemory
    from forge.ml.models.smoke import SmokeStep

__all__ = ["Block", "as_data", "parameter_blocks", "smoke_text", "table"]

_LAYER = "layer"
_UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
# How peft names what it puts around a module, and the module itself.
_WRAPPERS = ("base_model.model.", "base_model.")


@dataclass(frozen=True, slots=True)
class Block:
    """Parameters that belong together: those of the embedding, of the attention of all layers that are alike, and so on.

    `each` are those of one of the `count` modules. A block that is `tied` has no parameters of its own.
    """

    name: str
    count: int
    each: int
    trained: int
    tied: str | None = None

    @property
    def parameters(self) -> int:
        """Those of all modules together."""
        return self.each * self.count


def parameter_blocks(model: nn.Module) -> list[Block]:
    """The parameters of a model by block, in the order of the model; a tied parameter is counted where it comes first."""
    layers = {id(layer): place for place, layer in enumerate(_layers(model))}
    counted: dict[str, dict[int, list[int]]] = {}
    ties: dict[str, str] = {}
    seen: dict[int, str] = {}
    for name, place, parameter in _named(model, layers):
        if id(parameter) in seen:
            ties.setdefault(name, seen[id(parameter)])
            continue
        seen[id(parameter)] = name
        sums = counted.setdefault(name, {}).setdefault(place, [0, 0])
        sums[0] += parameter.numel()
        sums[1] += parameter.numel() * parameter.requires_grad
    found = [block for name, places in counted.items() for block in _alike(name, places)]
    return [*found, *(Block(name, 1, 0, 0, tied) for name, tied in ties.items() if name not in counted)]


def _layers(model: nn.Module) -> list[nn.Module]:
    try:
        return blocks(model)
    except ValueError:  # a model without layers is shown all the same
        return []


def _named(model: nn.Module, layers: Mapping[int, int]) -> Iterator[tuple[str, int, nn.Parameter]]:
    """Each parameter with the block it belongs to and the layer it is in (-1: none)."""
    inside: dict[str, int] = {
        name: layers[id(module)] for name, module in model.named_modules(remove_duplicate=False) if id(module) in layers
    }
    for name, parameter in model.named_parameters(remove_duplicate=False):
        layer = next((path for path in _paths(name) if path in inside), None)
        if layer is None:
            yield _outside(name), -1, parameter
        else:
            yield f"{_LAYER} {name[len(layer) + 1 :].split('.')[0]}", inside[layer], parameter


def _paths(name: str) -> Iterator[str]:
    steps = name.split(".")
    return (".".join(steps[:end]) for end in range(1, len(steps)))


def _outside(name: str) -> str:
    """``model.embed_tokens.weight`` belongs to ``model.embed_tokens``."""
    for wrapper in _WRAPPERS:
        name = name.removeprefix(wrapper)
    steps = name.split(".")[:-1]
    return ".".join(steps[:2]) or name


def _alike(name: str, places: Mapping[int, Sequence[int]]) -> Iterator[Block]:
    """One block for all layers with as many parameters, in order; where layers differ, the name says which."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for place, sums in places.items():
        groups.setdefault(tuple(sums), []).append(place)
    for (each, trained), members in groups.items():
        shown = name if len(groups) == 1 else name.replace(_LAYER, f"{_LAYER}s {_ranges(members)}")
        yield Block(shown, len(members), each, trained * len(members))


def _ranges(places: Sequence[int]) -> str:
    """0-2,5 for 0, 1, 2 and 5."""
    runs: list[list[int]] = []
    for place in places:
        if runs and place == runs[-1][-1] + 1:
            runs[-1] = [runs[-1][0], place]
        else:
            runs.append([place])
    return ",".join("-".join(map(str, run)) for run in runs)


def as_data(model: nn.Module, parts: Sequence[Block], memory: StepMemory | None) -> dict[str, Any]:
    """What `table` shows, as plain data."""
    return {
        "model": _kind(model),
        "parameters": sum(block.parameters for block in parts),
        "trained": sum(block.trained for block in parts),
        "blocks": [asdict(block) | {"parameters": block.parameters} for block in parts],
        "memory": asdict(memory) if memory is not None else None,
    }


def table(model: nn.Module, parts: Sequence[Block], memory: StepMemory | None) -> str:
    """The blocks and the memory as text."""
    total, trained = sum(block.parameters for block in parts), sum(block.trained for block in parts)
    head = f"{_kind(model)}: {total:,} parameters, {_share(trained, total)} trained"
    rows = [("block", "each", "count", "parameters", "trained", ""), *(_row(block, total) for block in parts)]
    text = [head, "", *_aligned(rows)]
    return "\n".join([*text, "", *_memory_lines(memory)] if memory is not None else text)


def _kind(model: nn.Module) -> str:
    """The name of the class, without an adapter around it."""
    return type(model.get_base_model() if hasattr(model, "peft_config") else model).__name__


def _share(part: int, whole: int) -> str:
    return "all" if part == whole else "none" if not part else f"{part:,} ({part / whole:.2%})"


def _row(block: Block, total: int) -> tuple[str, ...]:
    if block.tied is not None:
        return (block.name, "", "", "", "", f" tied to {block.tied}")
    share = f"{block.parameters / total:.1%}"
    return (block.name, f"{block.each:,}", f"{block.count}", f"{block.parameters:,}", f"{block.trained:,}", share)


def _memory_lines(memory: StepMemory) -> list[str]:
    rows = [("weights", memory.weights), ("gradients", memory.gradients), ("optimizer state", memory.optimizer)]
    if memory.problem is None:
        rows += [("activations kept", memory.activations), ("peak, forward", memory.forward)]
        rows += [("peak, backward", memory.backward), ("peak, optimizer step", memory.step)]
    lines = [f"memory of a step: {memory.described}", ""]
    lines += _aligned([(name, _bytes(size)) for name, size in rows])
    lines += [f"whole logits would be {_bytes(memory.logits)}"]
    return [*lines, *memory.notes, *([memory.problem] if memory.problem else [])]


def smoke_text(step: SmokeStep) -> str:
    """A smoke step as text."""
    seconds = ", ".join(f"{name} {value:.2f} s" for name, value in step.seconds.items())
    guess = f"ln({step.vocabulary:,}) = {step.guess:.4f}"
    lines = [
        f"a step on {step.described}",
        f"loss {step.loss:.4f} on random tokens; nobody can guess them: near {guess} in a new model, perhaps higher in a trained one",
        f"loss {step.loss_after:.4f} after the step, on the same tokens",
        f"gradient norm {step.gradient_norm:.4f}",
        f"{seconds}",
        f"peak memory {_bytes(step.peak)} ({step.peak_of})",
    ]
    return "\n".join([*lines, *step.problems])


def _bytes(size: int) -> str:
    for unit, name in _UNITS:
        if size >= unit:
            return f"{size / unit:,.2f} {name}"
    return f"{size} B"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns: the first to the left, numbers to the right; a last cell that is no number stands where it wants."""
    numbers = [row for row in rows if not row[-1].startswith(" ")]
    widths = [max(len(row[place]) for row in numbers) for place in range(len(rows[0]))]
    widths[0] = max(len(row[0]) for row in rows)
    lines = []
    for first, *others in rows:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return lines
