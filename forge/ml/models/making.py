"""New weights, one at a time: a model is made by its library's own rules, and no more of it has memory than what is asked for.

A library draws the numbers of a model in one order from one generator, and some weights several times. Here that is noted down while the
model is made: what was done with each weight, and how the generator stood. A weight that is asked for is made by doing so again.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import torch
from torch.utils._python_dispatch import TorchDispatchMode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

__all__ = ["OneAtATime"]

_LITTLE: Final = 1 << 16  # numbers
_EMPTY: Final = torch.ops.aten.empty.memory_format
_WHOLE: Final = {
    *(torch.ops.aten.normal_.default, torch.ops.aten.uniform_.default, torch.ops.aten.zero_.default),
    *(torch.ops.aten.fill_.Scalar, torch.ops.aten.fill_.Tensor, torch.ops.aten.copy_.default),
}
"""What overwrites all that it is done with, whatever that was."""


@dataclass(frozen=True, slots=True)
class _Step:
    """One thing that was done with a weight, or a part of it; and how the generator stood, where numbers were drawn."""

    done: Any
    part: tuple[torch.dtype, int, tuple[int, ...], tuple[int, ...]]
    arguments: tuple[Any, ...]
    named: dict[str, Any]
    generator: Tensor | None


@dataclass(slots=True, eq=False)
class _Room:
    """The memory of a weight, given back while nobody looks, and what was done with it."""

    storage: torch.UntypedStorage
    size: int
    steps: list[_Step] = field(default_factory=list)


class OneAtATime(TorchDispatchMode):
    """Inside it, tensors that are made empty on the CPU have no memory, and what is done with them is noted."""

    def __init__(self) -> None:
        super().__init__()
        self._rooms: dict[int, _Room] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """What torch calls for each of its operators."""
        del types
        named = kwargs or {}
        if func is _EMPTY:
            return self._noted(func(*args, **named))
        rooms = self._rooms_of(args, named)
        if not rooms:
            return func(*args, **named)
        # What is without a room may be given something that has one: that is done at once.
        if _is_done_with_the_first(func, args) and self._rooms_of(args[:1], {}) == rooms:
            return self._note(func, args, named, rooms[0])
        with self._opened(rooms, filled=not _is_view(func)):
            answer = func(*args, **named)
            if func._schema.is_mutable:  # noqa: SLF001 - torch has no public name for it
                for room in rooms:
                    self._keep_as_it_is(room)
        return answer

    @contextmanager
    def whole(self, tensor: Tensor) -> Iterator[Tensor]:
        """Inside, a tensor has its numbers; what is to stay has to be copied."""
        room = self._rooms.get(tensor.untyped_storage()._cdata)  # noqa: SLF001 - the only mark of a storage
        with self._opened([] if room is None else [room], filled=True):
            yield tensor

    def _noted(self, made: Tensor) -> Tensor:
        storage = made.untyped_storage()
        if made.device.type == "cpu" and storage.nbytes():
            self._rooms[storage._cdata] = _Room(storage, storage.nbytes())  # noqa: SLF001 - as above
            storage.resize_(0)
        return made

    def _rooms_of(self, args: tuple[Any, ...], named: dict[str, Any]) -> list[_Room]:
        found = (self._rooms.get(one.untyped_storage()._cdata) for one in _tensors((args, named)))  # noqa: SLF001 - as above
        return list({id(room): room for room in found if room is not None}.values())

    def _note(self, func: Any, args: tuple[Any, ...], named: dict[str, Any], room: _Room) -> Tensor:
        first, *rest = args
        drawn = torch.Tag.nondeterministic_seeded in func.tags
        part = (first.dtype, first.storage_offset(), tuple(first.shape), first.stride())
        step = _Step(func, part, tuple(rest), named, torch.get_rng_state() if drawn else None)
        if func in _WHOLE and first.numel() * first.element_size() == room.size:
            room.steps.clear()
        room.steps.append(step)
        if drawn:
            self._draw(func, args, named, room)
        return first

    def _draw(self, func: Any, args: tuple[Any, ...], named: dict[str, Any], room: _Room) -> None:
        """Let the generator go on as if numbers were drawn."""
        first, *rest = args
        if func is torch.ops.aten.uniform_.default and first.is_contiguous():
            # One after another, so that a little room serves again and again.
            little = torch.empty(min(first.numel(), _LITTLE), dtype=first.dtype)
            for begin in range(0, first.numel(), _LITTLE):
                func(little[: first.numel() - begin], *rest, **named)
            return
        with self._opened([room], filled=False):
            func(*args, **named)

    @contextmanager
    def _opened(self, rooms: list[_Room], *, filled: bool) -> Iterator[None]:
        closed = [room for room in rooms if not room.storage.nbytes()]
        for room in closed:
            room.storage.resize_(room.size)
            if filled:
                _do_again(room)
        try:
            yield
        finally:
            for room in closed:
                room.storage.resize_(0)

    def _keep_as_it_is(self, room: _Room) -> None:
        """For what was done in a way that is not noted."""
        bytes_of = torch.empty(0, dtype=torch.uint8).set_(room.storage)
        part = (torch.uint8, 0, tuple(bytes_of.shape), bytes_of.stride())
        room.steps[:] = [_Step(torch.ops.aten.copy_.default, part, (bytes_of.clone(),), {}, None)]


def _do_again(room: _Room) -> None:
    now = torch.get_rng_state()
    for step in room.steps:
        dtype, offset, shape, stride = step.part
        tensor = torch.empty(0, dtype=dtype).set_(room.storage, offset, shape, stride)
        if step.generator is not None:
            torch.set_rng_state(step.generator)
        step.done(tensor, *step.arguments, **step.named)
    torch.set_rng_state(now)


def _is_done_with_the_first(func: Any, args: tuple[Any, ...]) -> bool:
    """Whether an operator changes its first argument alone, in place, and answers with it."""
    first, *rest = func._schema.arguments  # noqa: SLF001 - torch has no public name for it
    changed = first.alias_info is not None and first.alias_info.is_write
    others = any(one.alias_info is not None and one.alias_info.is_write for one in rest)
    return changed and not others and isinstance(args[0], torch.Tensor)


def _is_view(func: Any) -> bool:
    """Whether an operator answers with another look at what it is given."""
    return not func._schema.is_mutable and any(one.alias_info is not None for one in func._schema.returns)  # noqa: SLF001 - as above


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _tensors(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _tensors(one)
