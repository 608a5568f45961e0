"""A model cut into the stages of a pipeline; its own forward pass runs in each of them.

What a stage lacks is passed over: layers of other stages give back the hidden states that they are given, what comes before the first
layer gives zeros of the right shape, and what comes after the last is not reached. So masks, rotary embeddings, scales and
everything else that a model computes on its way stays the model's own business, and layers keep their numbers.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from forge.base.errors import ModelError, RunError
from forge.ml.memory.blocks import blocks
from forge.plan.shape import ModelShape
from forge.plan.stages import layer_costs, nearest_sizes, split_layers, stage_bounds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from forge.ml.loss.head import Head
    from forge.plan.layout import Layout

__all__ = ["Anatomy", "Cut", "check_cut", "dissect", "in_its_place"]

_TOKENS = 4


@dataclass(frozen=True, slots=True)
class _Place:
    """A module by where it stands, so that another one can stand there."""

    parent: nn.Module
    name: str
    module: nn.Module
    width: int = 0  # of what it answers

    def put(self, module: nn.Module) -> None:
        self.parent._modules[self.name] = module  # noqa: SLF001 - setattr would refuse numbers as names


@dataclass(frozen=True, slots=True)
class Anatomy:
    """What a causal model consists of: layers, and what its forward pass calls before and after them."""

    head: Head
    layers: tuple[_Place, ...]
    before: tuple[_Place, ...]
    after: tuple[_Place, ...]
    answer: Callable[[torch.Tensor], Any]  # hidden states in the form in which layers give them
    width: int
    tied: bool


@torch.no_grad()
def dissect(head: Head) -> Anatomy:
    """Find out what a model consists of, by watching its forward pass on a few tokens; its weights may mean nothing."""
    model = head.model
    layers = _layers(model)
    parts = _parts(model, layers[0].parent)
    seen = _Seen(layers[0].module)
    with seen.watching(layers, parts):
        _run(model)
    if not seen.order:
        raise ModelError(f"{type(model).__name__} does not call its layers, so it cannot be cut into stages")
    return _anatomy(head, layers, parts, seen)


@torch.no_grad()
def check_cut(cut: Cut) -> None:
    """Refuse a model whose stages, one after another, do not make what the whole model makes; all of it has to be here still.

    What layers are given besides hidden states may come from weights that their stage does not have, or from other layers.
    """
    model, width = cut.anatomy.head.model, cut.anatomy.width
    answered = _run(model).logits
    hidden: torch.Tensor | None = None
    try:
        for stage in range(cut.count - 1):
            with cut.passing(stage, hidden), cut.up_to_the_head():
                hidden = _run(model)
            if hidden.shape != (1, _TOKENS, width):
                raise _uncut(model, f"its layers make hidden states of {tuple(hidden.shape)} for {_TOKENS} tokens")
        with cut.passing(cut.count - 1, hidden):
            staged = _run(model).logits.float()
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise _uncut(model, f"a stage alone fails with {type(error).__name__}: {error}") from error
    noise = 1e-5 if answered.dtype == torch.float32 else 1e-2
    if (staged - answered).abs().max() > noise * answered.abs().max():
        raise _uncut(model, "its layers are given more than the hidden states of the layer before")


def _uncut(model: nn.Module, why: str) -> ModelError:
    return ModelError(
        f"{type(model).__name__} cannot be cut into stages: {why}",
        hint="train it with a layout without pp, such as parallel=fsdp",
    )


def _run(model: Any) -> Any:
    """What a model answers to a few tokens."""
    training = model.training
    model.eval()
    try:
        device = model.get_input_embeddings().weight.device
        return model(input_ids=torch.arange(1, _TOKENS + 1, device=device)[None], use_cache=False)
    finally:
        model.train(training)


def _anatomy(head: Head, layers: list[_Place], parts: list[_Place], seen: _Seen) -> Anatomy:
    middle = seen.order.index(id(layers[0].module))
    late = {*seen.order[middle + 1 :], id(head.module)}
    before = [
        _Place(p.parent, p.name, p.module, seen.widths.get(id(p.module), 0)) for p in parts if id(p.module) not in late
    ]
    after = [part for part in parts if id(part.module) in late]
    early = {id(parameter) for part in before for parameter in part.module.parameters()}
    tied = any(id(parameter) in early for part in after for parameter in part.module.parameters())
    return Anatomy(
        head, tuple(layers), tuple(before), tuple(after), seen.answer, seen.widths[id(layers[0].module)], tied
    )


class Cut:
    """The stages of one process: the rest of the model is taken out, and each stage runs as if it were alone."""

    def __init__(self, anatomy: Anatomy, layout: Layout, place: int, length: int, order: Sequence[str]) -> None:
        self.anatomy, self.order = anatomy, order
        self.count = layout.stages
        self.own = layout.stages_of(place)
        self.bounds = stage_bounds(_sizes(anatomy, layout, length))
        self._received: torch.Tensor | None = None
        self._reached: list[torch.Tensor] = []
        self._substitutes = {stage: self._substituted(stage) for stage in range(self.count)}

    @property
    def has_first(self) -> bool:
        """Whether this process has what comes before the first layer."""
        return 0 in self.own

    @property
    def has_last(self) -> bool:
        """Whether this process has what comes after the last layer."""
        return self.count - 1 in self.own

    def take_out(self) -> None:
        """Leave in the model what this process needs; the rest answers to no call."""
        anatomy = self.anatomy
        own = {number for stage in self.own for number in self.bounds[stage]}
        ends = anatomy.tied and (self.has_first or self.has_last)  # who has one of two that are the same has both
        gone = [layer for number, layer in enumerate(anatomy.layers) if number not in own]
        gone += [] if self.has_first or ends else anatomy.before
        if not self.has_last:
            gone += [part for part in anatomy.after if not (ends and part.module is anatomy.head.module)]
        if ends and not self.has_first:
            tied = {id(parameter) for part in anatomy.after for parameter in part.module.parameters()}
            gone += [part for part in anatomy.before if not any(id(each) in tied for each in part.module.parameters())]
        for part in gone:
            part.put(_Elsewhere(part.module))

    def modules(self, stage: int) -> nn.ModuleList:
        """The modules that run in a stage."""
        found = [self.anatomy.layers[number].module for number in self.bounds[stage]]
        found += [part.module for part in self.anatomy.before] if stage == 0 else []
        found += [part.module for part in self.anatomy.after] if stage == self.count - 1 else []
        return nn.ModuleList(found)

    def own_layers(self) -> list[nn.Module]:
        """The layers of this process."""
        return [self.anatomy.layers[number].module for stage in self.own for number in self.bounds[stage]]

    def shared(self) -> list[nn.Parameter]:
        """The trained parameters that the processes of the first and of the last stage both have, when these are two."""
        anatomy = self.anatomy
        if not anatomy.tied or self.has_first == self.has_last:
            return []
        early = {id(each) for part in anatomy.before for each in part.module.parameters()}
        late = [each for part in anatomy.after for each in part.module.parameters()]
        return [each for each in late if id(each) in early and each.requires_grad]

    @contextmanager
    def passing(self, stage: int, received: torch.Tensor | None) -> Iterator[None]:
        """Inside, a call of the model runs one stage, on hidden states that the one before has sent."""
        substitutes = self._substitutes[stage]
        before = [place.parent._modules[place.name] for place, _ in substitutes]  # noqa: SLF001 - as in _Place
        self._received = received
        for place, module in substitutes:
            place.put(module)
        try:
            yield
        finally:
            for (place, _), module in zip(substitutes, before, strict=True):
                place.put(module)
            self._received = None

    @contextmanager
    def up_to_the_head(self) -> Iterator[None]:
        """Inside, a call of the model gives the hidden states that its layers have made, as far as they are here."""
        model = self.anatomy.head.model
        forward, own = model.forward, model.__dict__.get("forward")

        def reached(*args: Any, **kwargs: Any) -> torch.Tensor:
            forward(*args, **kwargs)
            return self._reached.pop()

        model.forward = reached
        try:
            yield
        finally:
            del model.forward
            if own is not None:
                model.forward = own

    def _substituted(self, stage: int) -> list[tuple[_Place, nn.Module]]:
        """What stands in the place of everything that is not in a stage."""
        anatomy, bounds = self.anatomy, self.bounds[stage]
        # What the layers have made is taken where they end: a norm without weights, or a factor, may come before the head.
        instead = {bounds.start - 1: self._arrived, len(anatomy.layers) - 1: self._reach}
        found: list[tuple[_Place, nn.Module]] = []
        for number, layer in enumerate(anatomy.layers):
            if number not in bounds:
                found.append((layer, _Passed(layer.module, instead.get(number, _same), anatomy.answer)))
        if stage > 0:
            found += [(part, _Zeros(part.module, part.width, self._arrived_on)) for part in anatomy.before]
        if stage < self.count - 1:
            for part in anatomy.after:
                is_head = part.module is anatomy.head.module
                found.append((part, _Passed(part.module, _nothing if is_head else _same, _same)))
        return found

    def _arrived(self, _: torch.Tensor) -> torch.Tensor:
        if self._received is None:
            raise RunError("a stage of the pipeline was run without what the stage before it has made")
        return self._received

    def _arrived_on(self) -> torch.device:
        # Tokens may have been moved to where the embeddings are, and these are nowhere.
        return self._arrived(torch.empty(0)).device

    def _reach(self, hidden: torch.Tensor) -> torch.Tensor:
        self._reached.append(hidden)
        return hidden.detach()


def _nothing(hidden: torch.Tensor) -> torch.Tensor:
    return hidden.new_zeros(1, 1, 1)


@contextmanager
def in_its_place(model: nn.Module) -> Iterator[None]:
    """Inside, a model has also what other processes of the pipeline have, without weights: for those who look at what it consists of."""
    places = [
        _Place(module, name, child)
        for module in model.modules()
        for name, child in module.named_children()
        if isinstance(child, _Elsewhere)
    ]
    for place in places:
        place.put(place.module.__dict__["instead_of"])
    try:
        yield
    finally:
        for place in places:
            place.put(place.module)


def _same(hidden: torch.Tensor) -> torch.Tensor:
    return hidden


class _Elsewhere(nn.Module):
    """In the place of what another process has; it knows what that was like."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.__dict__["instead_of"] = module  # not as a part of this one, which has no weights

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.__dict__["instead_of"], name)

    def forward(self, *_: Any, **__: Any) -> Any:
        """Nobody can call what is elsewhere."""
        what = type(self.__dict__["instead_of"]).__name__
        raise RunError(
            f"the {what} that is called here belongs to another process of the pipeline",
            hint="what calls the whole model in a run (samples, searches for a fault) needs a layout without pp",
        )


class _Passed(_Elsewhere):
    """Gives back the hidden states that it is given, or others in their place."""

    def __init__(
        self,
        module: nn.Module,
        hidden: Callable[[torch.Tensor], torch.Tensor],
        answer: Callable[[torch.Tensor], Any],
    ) -> None:
        super().__init__(module)
        self.__dict__["hidden"], self.__dict__["answer"] = hidden, answer

    def forward(self, hidden_states: torch.Tensor, *_: Any, **__: Any) -> Any:
        """The hidden states in the form that is expected."""
        return self.__dict__["answer"](self.__dict__["hidden"](hidden_states))


class _Zeros(_Elsewhere):
    """Answers with zeros in the shape of what the module would have answered."""

    def __init__(self, module: nn.Module, width: int, device: Callable[[], torch.device]) -> None:
        super().__init__(module)
        self.__dict__["width"], self.__dict__["device"] = width, device

    def forward(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Zeros for tokens, or for hidden states, whatever their name is."""
        given = next(each for each in (*args, *kwargs.values()) if isinstance(each, torch.Tensor))
        rows = given.shape[:-1] if given.is_floating_point() else given.shape
        module = self.__dict__["instead_of"]
        dtype = given.dtype if given.is_floating_point() else next(module.parameters()).dtype
        return torch.zeros(*rows, self.__dict__["width"], dtype=dtype, device=self.__dict__["device"]())


@dataclass
class _Seen:
    """What a forward pass called, in which order, and in which form it answered."""

    first: nn.Module
    order: list[int] = field(default_factory=list)
    widths: dict[int, int] = field(default_factory=dict)
    answer: Callable[[torch.Tensor], Any] = _same

    @contextmanager
    def watching(self, layers: Sequence[_Place], parts: Sequence[_Place]) -> Iterator[None]:
        """Inside, calls are noted; of the layers only the first runs."""
        hooks = [place.module.register_forward_hook(self._note) for place in (layers[0], *parts)]
        for layer in layers[1:]:
            layer.put(_Passed(layer.module, _same, self._answered))
        try:
            yield
        finally:
            for layer in layers[1:]:
                layer.put(layer.module)
            for hook in hooks:
                hook.remove()

    def _answered(self, hidden: torch.Tensor) -> Any:
        return self.answer(hidden)

    def _note(self, module: nn.Module, _: Any, answer: Any) -> None:
        self.order.append(id(module))
        several = isinstance(answer, (tuple, list))
        hidden = answer[0] if several else answer
        self.widths[id(module)] = hidden.shape[-1]
        if module is self.first and several:
            others = [None for _ in answer[1:]]
            self.answer = lambda hidden: type(answer)((hidden, *others))


def _layers(model: nn.Module) -> list[_Place]:
    found = blocks(model)
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) and module[0] is found[0]:
            return [_Place(module, name, layer) for name, layer in module.named_children()]
    raise ModelError(f"the layers of {type(model).__name__} are in no list, so it cannot be cut into stages")


def _parts(module: nn.Module, layers: nn.Module) -> list[_Place]:
    """The modules with weights beside the layers, as large as they come."""
    own = [name for name, _ in module.named_parameters(recurse=False)]
    if own:
        raise ModelError(
            f"{type(module).__name__} has weights of its own ({', '.join(own)}), of which no stage would be the owner",
            hint="train it with a layout without pp",
        )
    found = []
    for name, child in module.named_children():
        if child is layers:
            continue
        if any(inner is layers for inner in child.modules()):
            found += _parts(child, layers)
        elif any(True for _ in child.parameters()):
            found.append(_Place(module, name, child))
    return found


def _sizes(anatomy: Anatomy, layout: Layout, length: int) -> Sequence[int]:
    """How many layers each stage gets: as many as the layout says, or as many as keep the stages balanced."""
    layers, stages, given = len(anatomy.layers), layout.stages, layout.stage_layers
    if stages > layers:
        raise RunError(
            f"a pipeline of {stages} stages needs as many layers, and the model has {layers}",
            hint="lower parallel.pp or parallel.stages_per_rank",
        )
    if given is not None and sum(given) != layers:
        near = nearest_sizes(given, layers, stages)
        raise RunError(
            f"the stages of the layout have {sum(given)} layers together, and the model has {layers}",
            hint=f"set parallel.stage_layers={near}, or null for balanced stages",
        )
    if given is not None:
        return given
    first, last = _costs_of_the_ends(anatomy, length)
    return split_layers(layers, stages, first_cost=first, last_cost=last)


def _costs_of_the_ends(anatomy: Anatomy, length: int) -> tuple[float, float]:
    """What comes before and after the layers, in layers; nothing where the config of a model does not tell."""
    try:
        shape = ModelShape.from_config(anatomy.head.model.config.to_dict())
    except ValueError:
        return 0.0, 0.0
    return layer_costs(shape, length)
