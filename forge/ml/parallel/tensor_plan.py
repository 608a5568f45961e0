"""What a model's own plan says of how its matrices are divided, read strictly: nothing in it is passed over.

A pattern names modules or parameters, with ``*`` for the number of a layer, and gives each a style. A style that is not known,
a pattern that matches nothing, and a matrix of a layer that no pattern speaks of are errors.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from forge.base.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import nn
    from transformers import PreTrainedModel

__all__ = ["STYLES", "Region", "Styled", "TensorPlan", "read_plan"]

STYLES: Final = {
    "colwise": "colwise",
    "colwise_gather_output": "colwise_gather_output",
    "colwise_rep": "colwise_gather_output",
    "rowwise": "rowwise",
    "rowwise_split_input": "rowwise_split_input",
    "rowwise_rep": "rowwise_split_input",
    "packed_colwise": "packed_colwise",
    "packed_rowwise": "packed_rowwise",
    "embedding_rowwise": "embedding_rowwise",
    "embedding_colwise": "embedding_colwise",
    "replicated_with_grad_allreduce": "gradient_summed",
    "moe_tp_experts": "experts",
    "moe_identity_expert": "identity_expert",
    "mla_kv_a_proj": "latent_keys",
    "all_reduce": "output_summed",
    "sequence_parallel": "whole",  # what lies between matrices is on pieces of a sequence when the layout says so
    "local_params": "whole",  # every module finds its own pieces anyway
    "replicate": "whole",
}
"""The styles that are understood, and the one word that stands for each here."""

# Where one of these is, what stands beside it works on whole vectors, and needs no word in the plan.
_WHOLE_INSIDE: Final = frozenset({"colwise_gather_output", "experts", "latent_keys"})
# Regions with these only have one way in, through matrices cut by columns, and one out, through one cut by rows.
_SIMPLE: Final = frozenset({"colwise", "rowwise", "gradient_summed", "whole"})
_MATRIX: Final = 2


@dataclass(frozen=True)
class Styled:
    """One thing that the plan names: a module, or the parameter ``leaf`` of one; and its style, a value of `STYLES`."""

    name: str
    style: str
    module: nn.Module
    leaf: str | None = None


@dataclass
class Region:
    """A part of a layer, such as its attention, in which matrices are divided; with all of it that the plan names."""

    name: str
    module: nn.Module
    styled: list[Styled] = field(default_factory=list)
    unnamed: list[str] = field(default_factory=list)  # parameters that the plan says nothing of

    @property
    def styles(self) -> set[str]:
        """The styles in it."""
        return {each.style for each in self.styled}

    @property
    def simple(self) -> bool:
        """Whether all that comes in is multiplied by matrices cut by columns, and what goes out comes from one cut by rows."""
        inside = self.styles
        return (
            inside <= _SIMPLE
            and {"colwise", "rowwise"} <= inside
            and not self.unnamed
            and all(
                each.module is not self.module and each.leaf is None for each in self.styled if each.style != "whole"
            )
        )


@dataclass
class TensorPlan:
    """All that is to be divided of a model: regions of its layers, and what lies outside of them."""

    regions: list[Region]
    outside: list[Styled]


def read_plan(model: PreTrainedModel, layers: Sequence[nn.Module]) -> TensorPlan:
    """The plan of a model with these layers; ModelError names what in it is not understood or fits nothing."""
    plan = _known(model)
    numbers = {id(layer) for layer in layers}
    stack = {name: module for name, module in model.named_modules() if id(module) in numbers}
    found = list(_styled(model, plan))
    _refuse_unmatched(model, plan, found)
    regions = {
        f"{layer}.{child}": Region(f"{layer}.{child}", module)
        for layer, block in stack.items()
        for child, module in block.named_children()
    }
    outside = [each for each in found if not _put(each, regions)]
    _find_unnamed(model, regions)
    return TensorPlan([region for region in regions.values() if region.styled], outside)


def _known(model: PreTrainedModel) -> dict[str, str]:
    plan = dict(model.tp_plan or {})
    inner = [pattern for pattern in plan if "*" in pattern]
    if not inner:
        raise ModelError(
            f"{_title(model)} has no tensor-parallel plan: nobody says how its matrices are divided",
            hint="choose a layout without tensor parallelism, such as parallel=fsdp",
        )
    for pattern, style in plan.items():
        if style not in STYLES:
            raise ModelError(
                f"the tensor-parallel plan of {_title(model)} gives {pattern} the style {style!r}, which is not understood",
                hint="choose a layout without tensor parallelism, such as parallel=fsdp",
            )
    return {pattern: STYLES[style] for pattern, style in plan.items()}


def _title(model: nn.Module) -> str:
    return type(model).__name__


def _styled(model: nn.Module, plan: dict[str, str]) -> Iterator[Styled]:
    for name, module in model.named_modules():
        if style := plan.get(name) or plan.get(_generic(name)):
            yield Styled(name, style, module)
        for leaf in module._parameters:  # noqa: SLF001 - also those that are None count as named
            inner = f"{name}.{leaf}" if name else leaf
            if style := plan.get(inner) or plan.get(_generic(inner)):
                yield Styled(inner, style, module, leaf)


def _generic(name: str) -> str:
    return re.sub(r"\.\d+(?=\.|$)", ".*", name)


def _refuse_unmatched(model: nn.Module, plan: dict[str, str], found: list[Styled]) -> None:
    matched = {_generic(each.name) for each in found} | {each.name for each in found}
    for pattern in sorted(plan.keys() - matched):
        # Another kind of the same part, such as a dense network in the place of experts, is no mistake of the plan.
        part = _part(pattern)
        if part is None or not any(name != pattern and _part(name) == part for name in matched):
            raise ModelError(
                f"the tensor-parallel plan of {_title(model)} names {pattern}, and the model has no such thing",
                hint="choose a layout without tensor parallelism, such as parallel=fsdp",
            )


def _part(pattern: str) -> str | None:
    """The part of a layer that a pattern is about."""
    found = re.match(r"(.*?\.\*\.[^.]+)", pattern)
    return found[1] if found else None


def _put(each: Styled, regions: dict[str, Region]) -> bool:
    for name, region in regions.items():
        if each.name == name or each.name.startswith(f"{name}."):
            region.styled.append(each)
            return True
    return False


def _find_unnamed(model: nn.Module, regions: dict[str, Region]) -> None:
    for region in regions.values():
        named = {
            id(each.module) for each in region.styled if each.leaf is None and each.style not in ("whole", "experts")
        }
        leaves = {(id(each.module), each.leaf) for each in region.styled}
        for path, module in _outside_of(region.module, region.name, named):
            for leaf, parameter in module._parameters.items():  # noqa: SLF001 - its own ones only
                if parameter is None or (id(module), leaf) in leaves:
                    continue
                region.unnamed.append(f"{path}.{leaf}")
                _refuse_silence(model, region, f"{path}.{leaf}", parameter.ndim)


def _outside_of(module: nn.Module, path: str, named: set[int]) -> Iterator[tuple[str, nn.Module]]:
    """A module and all in it but what the plan names, and adapters put around that."""
    if id(module) in named:
        return
    yield path, module
    for name, child in module.named_children():
        yield from _outside_of(child, f"{path}.{name}", named)


def _refuse_silence(model: nn.Module, region: Region, name: str, dimensions: int) -> None:
    inside = region.styles
    if inside & _WHOLE_INSIDE:
        return
    if dimensions >= _MATRIX:
        why = "would silently be kept whole in every process"
    elif inside & {"colwise", "packed_colwise"}:
        why = "may see a part of what it normalises or is added to"
    else:
        return
    raise ModelError(
        f"the tensor-parallel plan of {_title(model)} says nothing of {name}, which {why}",
        hint="choose a layout without tensor parallelism, such as parallel=fsdp",
    )
