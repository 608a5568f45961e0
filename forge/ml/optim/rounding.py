"""Stochastic rounding: bfloat16 weights that learn from updates far smaller than the distance between two of their values."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch.optim import Optimizer

from forge.ml.parallel.pieces import local

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["StochasticRounding", "choose_rounding", "round_into"]

_ROUNDING, _ROUNDED = "rounding", "rounded"
# Random numbers are drawn for so many values at once, so that they take little memory beside a large matrix.
_CHUNK = 1 << 22
_LOW_BITS, _HIGH_BITS = 0xFFFF, -0x10000
_PRIME, _WORD = 0x9E3779B97F4A7C15, (1 << 64) - 1


class StochasticRounding(Optimizer):
    """Any optimizer over bfloat16 parameters: each update is computed in float32 and rounded up or down by chance.

    The chance is that of the distance, so that the expected weight is the exact one. What the optimizer remembers of each of its numbers
    is bfloat16 and rounded so, too: a mean over many steps, of which each changes it by little, would stand still otherwise. One
    parameter at a time has float32 copies of itself, of its gradient and of that. Of one that is spread over processes each rounds its
    piece. Parameters of other types are updated as without it.

    The random numbers follow from the seed, the name of the parameter (or its place, where it has none) and the number of its updates,
    so that they are the same in whichever process it is. The seed is in the state dict, and the number in the state of each
    parameter; otherwise the state dict is that of the optimizer inside.
    """

    def __init__(
        self,
        params: Iterable[dict[str, Any]] | Iterable[tuple[str, torch.Tensor]] | Iterable[torch.Tensor],
        *,
        optimizer: Callable[[Any], Optimizer],
        seed: int = 0,
    ) -> None:
        self._inner = optimizer(params)
        # The groups are the very ones of the optimizer inside, so that a schedule reaches it.
        super().__init__(self._inner.param_groups, self._inner.defaults)
        self.param_groups = self._inner.param_groups
        self.state = self._inner.state
        self._seed = seed
        self._places = {parameter: place for place, parameter in enumerate(self._parameters())}
        self._counts = [0] * len(self._places)
        self._keys = _keys(self.param_groups)
        if any(parameter.dtype == torch.float16 for parameter in self._places):
            raise ValueError("stochastic rounding is for bfloat16 weights, and some are float16: set dtype to bfloat16")

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take one step with every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(group, parameter)
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The state dict of the optimizer inside, with the place in the random numbers."""
        found = self._inner.state_dict()
        counted = dict(zip(_numbers(found), self._counts, strict=True))
        state = {number: {**found["state"].get(number, {}), _ROUNDED: count} for number, count in counted.items()}
        return {**found, "state": state, _ROUNDING: {"seed": self._seed}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state dict, of this optimizer or of a plain one, whose random numbers begin at their beginning."""
        kept = state_dict["state"]
        plain = {key: value for key, value in state_dict.items() if key != _ROUNDING}
        plain["state"] = {
            number: {name: value for name, value in entry.items() if name != _ROUNDED} for number, entry in kept.items()
        }
        self._inner.load_state_dict(plain)
        self.param_groups, self.state = self._inner.param_groups, self._inner.state
        self._seed = state_dict.get(_ROUNDING, {"seed": self._seed})["seed"]
        self._counts = [kept.get(number, {}).get(_ROUNDED, 0) for number in _numbers(state_dict)]
        self._restore_precision(plain)

    def _restore_precision(self, state_dict: dict[str, Any]) -> None:
        # An optimizer casts what it loads to the type of the parameter; here it is float32 beside a bfloat16 one.
        for index, parameter in zip(_numbers(state_dict), self._parameters(), strict=True):
            for name, value in state_dict["state"].get(index, {}).items():
                if isinstance(value, torch.Tensor) and value.dtype != self.state[parameter][name].dtype:
                    self.state[parameter][name] = value.to(parameter.device)

    def _parameters(self) -> list[torch.Tensor]:
        return [parameter for group in self.param_groups for parameter in group["params"]]

    def _update(self, group: dict[str, Any], parameter: torch.Tensor) -> None:
        if parameter.dtype != torch.bfloat16:
            self._step_inside(group, parameter)
            return
        exact = parameter.detach().float()
        exact.grad = parameter.grad.float()
        # The stand-in has the memory of the parameter for as long as the step takes.
        kept = self.state.pop(parameter, {})
        self.state[exact] = {
            name: value.float() if _is_of_each(value, exact) else value for name, value in kept.items()
        }
        self._step_inside(group, exact)
        exact.grad = None
        generator = self._random_numbers(parameter)
        found = self.state.pop(exact)
        for name in sorted(found):
            if _is_of_each(found[name], exact):
                found[name] = _rounded(found[name], kept.get(name), parameter, generator)
        self.state[parameter] = found
        round_into(local(parameter.detach()), local(exact.detach()), generator)

    def _step_inside(self, group: dict[str, Any], parameter: torch.Tensor) -> None:
        groups = self._inner.param_groups
        self._inner.param_groups = [{**group, "params": [parameter]}]
        try:
            self._inner.step()
        finally:
            self._inner.param_groups = groups

    def _random_numbers(self, parameter: torch.Tensor) -> torch.Generator:
        """A generator that depends on nothing but the seed, which parameter it is, and how often that was updated."""
        place = self._places[parameter]
        mixed = self._seed
        for number in (self._keys[place], self._counts[place]):
            mixed = ((mixed ^ number) * _PRIME) & _WORD
            mixed ^= mixed >> 29
        self._counts[place] += 1
        return torch.Generator(parameter.device).manual_seed(mixed)


def _keys(groups: list[dict[str, Any]]) -> list[int]:
    """A number for each parameter: of its name, which it has in every process, or else its place."""
    if not all("param_names" in group for group in groups):
        return list(range(sum(len(group["params"]) for group in groups)))
    names = (name for group in groups for name in group["param_names"])
    return [int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big") for name in names]


def _numbers(state_dict: dict[str, Any]) -> list[int]:
    """The numbers that a state dict gives to parameters, in their order."""
    return [number for group in state_dict["param_groups"] for number in group["params"]]


def choose_rounding(how: bool | Literal["auto"], optimizer: Any, parameters: Iterable[torch.Tensor]) -> bool:  # noqa: FBT001 - the value of a setting
    """Whether updates are rounded by chance: ``auto`` does where the weights that learn are bfloat16.

    An optimizer of torchao is left alone: what it remembers has few bits, and it has a rounding of its own.
    """
    if how != "auto":
        return how
    made_by = getattr(optimizer, "func", optimizer).__module__
    return not made_by.startswith("torchao") and any(one.dtype == torch.bfloat16 for one in parameters)


def round_into(target: torch.Tensor, exact: torch.Tensor, generator: torch.Generator) -> None:
    """Round float32 values into a bfloat16 tensor, up or down by chance; `exact` is used up."""
    # A bfloat16 is the upper half of a float32: a random lower half added carries into it as often as it should.
    bits = exact.contiguous().view(torch.int32).view(-1)
    for part in bits.split(_CHUNK):
        part.add_(_lower_halves(part, generator)).bitwise_and_(_HIGH_BITS)
    target.copy_(bits.view(torch.float32).view(exact.shape))


def _lower_halves(like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    # Four of them from one 64-bit random number.
    words = torch.empty(-(-like.numel() // 4), dtype=torch.int64, device=like.device)
    words.random_(-(1 << 63), None, generator=generator)
    return words.view(torch.int16)[: like.numel()].to(torch.int32).bitwise_and_(_LOW_BITS)


def _is_of_each(value: Any, parameter: torch.Tensor) -> bool:
    """Whether an optimizer remembers it of each number of a parameter, in so many bits as such a tensor has."""
    if not isinstance(value, torch.Tensor) or parameter.ndim == 0 or value.shape != parameter.shape:
        return False
    return type(local(value)) is torch.Tensor and value.dtype in (torch.float32, torch.bfloat16)


def _rounded(
    exact: torch.Tensor, kept: torch.Tensor | None, like: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Float32 values as bfloat16, in the memory that they had before if there is any."""
    target = torch.empty_like(like) if kept is None or kept.dtype != torch.bfloat16 else kept
    round_into(local(target), local(exact), generator)
    return target
