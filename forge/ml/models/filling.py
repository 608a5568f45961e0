"""Putting stored weights into a model that has none yet, with the names and layouts that transformers knows of.

A folder may hold older names, or one tensor for each expert where the model has one for all: what stands in a file goes through the
library's own table of conversions. Names are compared before the first tensor is read, and whatever does not fit is an error; a
weight is never made up.
"""

from __future__ import annotations

from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from sys import modules
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import (
    WeightConverter,
    WeightRenaming,
    build_glob_alternation,
    dot_natural_key,
    rename_source_key,
)

from forge.base.errors import ModelError
from forge.ml.models.experts import reader_of_experts
from forge.ml.parallel.pieces import as_piece, is_spread, piece_of, places_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from torch import Tensor
    from transformers.core_model_loading import WeightTransform

    from forge.ml.models.stored import Stored

__all__ = ["Slots", "fill"]

_SHOWN: Final = 3


@dataclass(frozen=True)
class Slots:
    """Where the weights of a model belong, by their names, also when an adapter has put layers of its own around them since."""

    model: PreTrainedModel
    owners: dict[str, tuple[nn.Module, str]]
    temporary: frozenset[str]  # buffers that no file has
    elsewhere: frozenset[str] = frozenset()  # what other processes have, each a part of the model

    @classmethod
    def of(cls, model: PreTrainedModel) -> Slots:
        """The slots of a model that has no adapter yet."""
        temporary = frozenset(name for name, _ in model.named_non_persistent_buffers())
        owners = {name: _owner(model, name) for name in (*model.state_dict(), *temporary)}
        return cls(model, owners, temporary, getattr(model, "elsewhere", frozenset()))

    def kept(self, whole: nn.Module) -> Slots:
        """The slots whose modules are still a part of ``whole``; the model is told which are not."""
        there = {id(module) for module in whole.modules()}
        owners = {name: owner for name, owner in self.owners.items() if id(owner[0]) in there}
        gone = self.owners.keys() - owners.keys()
        if not gone:
            return self
        model = self.model
        model.elsewhere = frozenset(gone)
        ties = model.all_tied_weights_keys
        model.all_tied_weights_keys = {a: b for a, b in ties.items() if a not in gone and b not in gone}
        return Slots(model, owners, self.temporary - gone, model.elsewhere)

    def tensors(self) -> dict[str, Tensor]:
        """What is in them now, but for the buffers that no file has."""
        return {name: getattr(*owner) for name, owner in self.owners.items() if name not in self.temporary}


def fill(
    model: PreTrainedModel,
    stored: Mapping[str, Stored],
    *,
    folder: str,
    device: torch.device | str | None = None,
    grown: Collection[str] = (),
    change: Callable[[str, Tensor], Tensor] | None = None,
    slots: Slots | None = None,
) -> None:
    """Read the weights of ``model`` one after another.

    Of a model that has none yet (on the meta device) each is put on ``device``; one that has weights keeps its tensors, and their
    content is replaced; of one that is spread over processes each gets its pieces. A parameter named in ``grown`` may have more rows than its file: the rows added are the mean of the others. ``change`` is asked
    for what to keep of each weight when it is on the device. ``slots`` are needed where the names have changed.
    """
    slots = slots or Slots.of(model)
    plan = _Plan(model, slots, stored, frozenset(grown), folder)
    plan.check()
    placing = _Placing(plan, torch.device(device or "cpu"), change)
    empty = any(tensor.is_meta for tensor in slots.tensors().values())
    for target, transform in plan.steps.items():
        placing.put(target, transform)
    if empty:
        placing.finish()


@contextmanager
def _own_names(model: nn.Module) -> Iterator[None]:
    """Inside, classes that torch has made of a model's own go by the names of those: conversions are looked up by them."""
    made: dict[type[nn.Module], tuple[str, str]] = {}
    for module in model.modules():
        kind = type(module)
        if isinstance(module, PreTrainedModel) and kind not in made:
            named = (each for each in kind.__mro__ if issubclass(each, PreTrainedModel))
            own = next(
                (each for each in named if getattr(modules.get(each.__module__), each.__name__, None) is each), kind
            )
            if own is not kind:
                made[kind] = kind.__name__, kind.__module__
                kind.__name__, kind.__module__ = own.__name__, own.__module__
    try:
        yield
    finally:
        for kind, names in made.items():
            kind.__name__, kind.__module__ = names


@dataclass
class _Plan:
    """Which tensors of the files become which weights of the model."""

    model: PreTrainedModel
    slots: Slots
    stored: Mapping[str, Stored]
    grown: frozenset[str]
    folder: str
    steps: dict[str, WeightTransform] = field(default_factory=dict)
    # Of what files have so that a piece of it can be read by itself: what reads it.
    parts: dict[str, tuple[Callable[[Sequence[Tensor]], Tensor], torch.dtype]] = field(default_factory=dict)
    members: dict[str, dict[str, list[Stored]]] = field(default_factory=dict)  # of what is joined, by pattern
    provided: set[str] = field(default_factory=set)
    unexpected: set[str] = field(default_factory=set)
    missing: set[str] = field(default_factory=set)
    # Weights that no file has to hold: the model's own list says so, and it computes them.
    own: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        expected = self.slots.tensors()
        dtypes = _Dtypes(self.model)
        with _own_names(self.model):
            mapping = get_model_conversion_mapping(self.model)
        for name in sorted(self.stored, key=dot_natural_key):
            self._assign(self.stored[name], expected, mapping, dtypes)
        self._read_in_parts(expected, dtypes)
        self.model._weight_conversions = [used for used in mapping if used.was_used()]  # noqa: SLF001 - saving undoes them
        self._compare(set(expected))

    def _assign(
        self, stored: Stored, expected: dict[str, Tensor], mapping: list[WeightTransform], dtypes: _Dtypes
    ) -> None:
        known = dict.fromkeys(self.slots.elsewhere) | expected
        target, pattern = _target(self.model, stored.name, known, mapping)
        converter = _converter(mapping, pattern)
        if target in self.slots.elsewhere:
            return
        if target not in expected:
            self.unexpected.update(_siblings(target, converter))
            return
        step = deepcopy(converter) if converter is not None else WeightRenaming(stored.name, target)
        step = self.steps.setdefault(target, step)
        self.provided.update(_siblings(target, converter))
        dtype = dtypes.of(target, expected[target])
        step.add_tensor(target, stored.name, pattern or stored.name, _cast(stored, dtype))
        self.members.setdefault(target, {}).setdefault(pattern or stored.name, []).append(stored)
        if converter is None and not (target in self.grown and stored.shape[1:] == expected[target].shape[1:]):
            self.check_shape(target, stored.shape, expected[target].shape)

    def _read_in_parts(self, expected: dict[str, Tensor], dtypes: _Dtypes) -> None:
        for target, members in self.members.items():
            step = self.steps[target]
            if isinstance(step, WeightConverter):
                part = reader_of_experts(step, members)
            else:
                *_, (*_, stored) = members.values()
                part = stored.part
            if part is not None and target not in self.grown:
                self.parts[target] = part, dtypes.of(target, expected[target])

    def _compare(self, expected: set[str]) -> None:
        ties = self.model.all_tied_weights_keys
        there = {ties.get(name, name) for name in self.provided}
        absent = {name for name in expected - self.provided if ties.get(name, name) not in there}
        names = SimpleNamespace(missing_keys=absent, unexpected_keys=self.unexpected)
        # The models' own lists of names that may be absent or left over have no public function.
        self.model._adjust_missing_and_unexpected_keys(names)  # noqa: SLF001
        self.missing, self.unexpected = names.missing_keys, names.unexpected_keys
        self.own = absent - self.missing

    def check(self) -> None:
        parts = []
        if self.missing:
            parts.append(f"{len(self.missing)} weights of the model are not in its files ({_some(self.missing)})")
        if self.unexpected:
            parts.append(f"{len(self.unexpected)} in its files are not in the model ({_some(self.unexpected)})")
        if parts:
            raise self.misfit(", ".join(parts))

    def check_shape(self, name: str, found: Sequence[int], expected: Sequence[int]) -> None:
        if tuple(found) != tuple(expected):
            raise self.misfit(f"{name} is {_by(found)} in its files, and {_by(expected)} in the model")

    def misfit(self, what: str) -> ModelError:
        return ModelError(
            f"the folder {self.folder} does not fit a {type(self.model).__name__}: {what}",
            hint="its config.json, or the config that was given, belongs to another model",
        )


@dataclass
class _Placing:
    """Puts weights where they belong."""

    plan: _Plan
    device: torch.device
    change: Callable[[str, Tensor], Tensor] | None

    def put(self, target: str, transform: WeightTransform) -> None:
        if self._put_piece(target):
            return
        for name, value in self._converted(target, transform).items():
            tensor = value[0] if isinstance(value, list) else value
            module, leaf = self.plan.slots.owners[name]
            expected = getattr(module, leaf).shape
            if name in self.plan.grown:
                tensor = _with_mean_rows(tensor, expected[0])
            self.plan.check_shape(name, tensor.shape, expected)
            self._place(module, leaf, name, tensor)

    def _put_piece(self, name: str) -> bool:
        """Read no more than this process has of a weight, where that can be; whether it could."""
        module, leaf = self.plan.slots.owners[name]
        current = getattr(module, leaf)
        part, dtype = self.plan.parts.get(name, (None, None))
        if part is None or not is_spread(current):
            return False
        self._keep(module, leaf, name, as_piece(part(places_of(current)).to(dtype), current, self.device))
        return True

    def _place(self, module: nn.Module, leaf: str, name: str, tensor: Tensor) -> None:
        self._keep(module, leaf, name, piece_of(tensor, getattr(module, leaf), self.device))

    @torch.no_grad()
    def _keep(self, module: nn.Module, leaf: str, name: str, tensor: Tensor) -> None:
        current = getattr(module, leaf)
        if not current.is_meta:
            current.copy_(tensor)
            return
        kind = type(tensor)  # a piece of a weight is of another kind than a whole one, and trained like it
        if self.change is not None:
            tensor = self.change(name, tensor)
        if leaf in module._parameters:  # noqa: SLF001 - the only way to tell a parameter from a buffer
            # A weight that was changed into another kind (four bits) is not trained, and what an adapter froze stays so.
            tensor = nn.Parameter(tensor, requires_grad=current.requires_grad and type(tensor) is kind)
        tensor._is_hf_initialized = True  # noqa: SLF001 - the mark of transformers that a weight is not to be made up
        setattr(module, leaf, tensor)

    def _converted(self, target: str, transform: WeightTransform) -> dict[str, Any]:
        model = self.plan.model
        try:
            return transform.convert(target, model=model, config=model.config)
        except (RuntimeError, ValueError, KeyError, IndexError) as error:
            raise self.plan.misfit(f"{target} cannot be made of its files ({error!s:.200})") from error

    @torch.no_grad()
    def finish(self) -> None:
        """Tie what is tied, and let the model compute what no file holds: its buffers."""
        model, slots = self.plan.model, self.plan.slots
        for name in model.all_tied_weights_keys:
            getattr(*slots.owners[name])._is_hf_initialized = True  # noqa: SLF001 - as in _place
        for parameter in model.parameters():
            if not parameter.is_meta:  # those of an adapter, which has made them itself
                parameter._is_hf_initialized = True  # noqa: SLF001 - as in _place
        for name in {*self.plan.own, *slots.temporary} - set(model.all_tied_weights_keys):
            self._make_room(*slots.owners[name])
        model.initialize_weights()
        model.tie_weights(missing_keys=set(slots.tensors()) - self.plan.provided, recompute_mapping=False)
        if left := [name for name, tensor in slots.tensors().items() if tensor.is_meta]:
            raise self.plan.misfit(f"nothing in its files is for {_some(left)}")

    def _make_room(self, module: nn.Module, leaf: str) -> None:
        current = getattr(module, leaf)
        if current.is_meta:
            room = torch.empty_like(current, device=self.device)
            setattr(module, leaf, nn.Parameter(room) if leaf in module._parameters else room)  # noqa: SLF001 - as in _place


class _Dtypes:
    """The type that each weight has in the model: some stay in float32 whatever is asked for."""

    def __init__(self, model: PreTrainedModel) -> None:
        plan = model._get_dtype_plan(model.dtype)  # noqa: SLF001 - the models' own rule, with no public name
        self.kept = build_glob_alternation(list(plan)) if plan else None
        self.plan = plan

    def of(self, name: str, expected: Tensor) -> torch.dtype:
        found = self.kept[0].search(name) if self.kept else None
        return self.plan[self.kept[1][found.lastgroup]] if found else expected.dtype


def _target(
    model: PreTrainedModel, name: str, expected: dict[str, Tensor], mapping: list[WeightTransform]
) -> tuple[str, str | None]:
    """The weight that a stored tensor is for, and the pattern of the conversion that it goes through, if any."""
    renamings = [transform for transform in mapping if isinstance(transform, WeightRenaming)]
    converters = [transform for transform in mapping if isinstance(transform, WeightConverter)]
    target, pattern = rename_source_key(name, renamings, converters, model.base_model_prefix, expected)
    if target not in expected and name in expected:
        return rename_source_key(name, [], [], model.base_model_prefix, expected)
    return target, pattern


def _converter(mapping: list[WeightTransform], pattern: str | None) -> WeightConverter | None:
    found = [t for t in mapping if isinstance(t, WeightConverter) and pattern in t.source_patterns]
    return found[-1] if found else None


def _siblings(target: str, converter: WeightConverter | None) -> list[str]:
    """The weights that one conversion makes together."""
    if converter is None:
        return [target]
    first, *_ = converter.target_patterns
    return [target.replace(first, pattern) for pattern in converter.target_patterns]


def _cast(stored: Stored, dtype: torch.dtype) -> Callable[[], Tensor]:
    return lambda: stored.read().to(dtype)


def _with_mean_rows(tensor: Tensor, rows: int) -> Tensor:
    if rows <= len(tensor):
        return tensor
    mean = tensor.mean(0, keepdim=True, dtype=torch.float32).to(tensor.dtype)
    return torch.cat([tensor, mean.expand(rows - len(tensor), *tensor.shape[1:])])


def _owner(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    path, _, leaf = name.rpartition(".")
    return model.get_submodule(path), leaf


def _some(names: Collection[str]) -> str:
    shown = sorted(names)[:_SHOWN]
    return ", ".join(shown) + (" ..." if len(names) > _SHOWN else "")


def _by(shape: Collection[int]) -> str:
    return " x ".join(map(str, shape)) or "a single number"
