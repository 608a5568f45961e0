"""Where a causal model's trunk ends and its head begins, found out by watching the model's own forward pass.

The module that `transformers` calls the output embedding is the seam. What a model does with its answer (soft-caps,
scales) is the tail: the model's own forward pass, run with a trunk that does nothing.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Head", "causal_model"]

_PROBED: Final = 5


def causal_model(model: nn.Module) -> PreTrainedModel:
    """The `transformers` model inside what wraps it: adapters, DistributedDataParallel, a compiled module."""
    while True:
        if hasattr(model, "get_base_model"):
            model = model.get_base_model()
        elif isinstance(model, nn.parallel.DistributedDataParallel):
            model = model.module
        elif hasattr(model, "_orig_mod"):
            model = model._orig_mod  # noqa: SLF001 - the only name torch gives to what it compiled
        else:
            return model


class _TrunkOutput(BaseModelOutput):
    """Hidden states, and nothing of all else that some model may look for in what its trunk answers."""

    def __getattr__(self, name: str) -> None:
        """None for what is not there."""
        if name.startswith("__"):
            raise AttributeError(name)


class Head:
    """The last linear layer of a causal model and what the model does after it."""

    def __init__(self, model: nn.Module) -> None:
        self.model = causal_model(model)
        self.module = self.model.get_output_embeddings()
        self._own: tuple[Callable[..., Any], Callable[..., Any]] | None = None

    @property
    def linear(self) -> nn.Linear | None:
        """The one plain linear layer that the head is, when it is one."""
        module = self.module
        if hasattr(module, "modules_to_save"):  # a trained copy that an adapter puts in the place of the layer
            module = module.modules_to_save[module.active_adapters[0]]
        # An adapter on the head is no nn.Linear, though as long as it is new it answers like one.
        return module if type(module) is nn.Linear else None

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The trained parameters that act after the trunk."""
        trunk = {id(each) for module in self._trunks() for each in module.parameters()}
        mine = {id(each) for each in self._layers()}
        trained = (each for each in self.model.parameters() if each.requires_grad)
        return [each for each in trained if id(each) in mine or id(each) not in trunk]

    def is_linear(self) -> bool:
        """Whether the logits are exactly what the linear layer answers, tried on random hidden states."""
        linear = self.linear
        if linear is None or self._has_more_parameters():
            return False
        hidden = self._random(linear.in_features, linear.weight)
        with torch.no_grad():
            plain = functional.linear(hidden[None], linear.weight, linear.bias)[0].float()
            return torch.equal(self.tail(hidden), plain)

    def is_separable(self) -> bool:
        """Whether the tail runs alone, and gives each token what it gives it among others."""
        weight = next((each for each in self._layers() if each.ndim > 1), None)
        if weight is None:
            return False
        hidden = self._random(weight.shape[1], weight)
        with torch.no_grad():
            try:
                whole = self.tail(hidden)
                parts = torch.cat([self.tail(part) for part in hidden.split(2)])
            except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError):
                return False  # this is the answer to the question: such a model has to compute its logits whole
        return len(whole) == len(hidden) and torch.allclose(whole, parts, rtol=1e-2, atol=1e-3)

    def is_elementwise(self) -> bool:
        """Whether what the model does behind its linear layer it does with each logit by itself."""
        linear = self.linear
        if linear is None or self._has_more_parameters():
            return False
        logits = self._random(linear.out_features, linear.weight)
        half = linear.out_features // 2
        with torch.no_grad():
            try:
                whole, part = self.behind(logits), self.behind(logits[:, half:])
            except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError):
                return False  # as in `is_separable`
        return whole.shape == logits.shape and torch.equal(whole[:, half:], part)

    def tail(self, hidden: torch.Tensor) -> torch.Tensor:
        """The model's logits, in float32, for hidden states (rows, width) that come to its head."""
        layer = self.module.forward if self._own is None else self._own[1]
        return self._finished(hidden[None], lambda: layer(hidden[None]))

    def behind(self, logits: torch.Tensor) -> torch.Tensor:
        """What the model makes of the answer (rows, classes) of its linear layer, in float32."""
        return self._finished(logits[None, :, :1], lambda: logits[None])

    def _finished(self, hidden: torch.Tensor, answer: Callable[[], torch.Tensor]) -> torch.Tensor:
        """The logits of the model's own forward pass, in which the trunk gives ``hidden`` and the head what it is told."""
        forward = self.model.forward if self._own is None else self._own[0]
        called = []

        def trunk(*_: Any, **__: Any) -> _TrunkOutput:
            called.append("trunk")
            return _TrunkOutput(last_hidden_state=hidden)

        def head(*_: Any, **__: Any) -> torch.Tensor:
            called.append("head")
            return answer()

        with ExitStack() as stack:
            for module in self._trunks():
                stack.enter_context(_replaced(module, trunk))
            stack.enter_context(_replaced(self.module, head))
            tokens = torch.zeros(1, hidden.shape[1], dtype=torch.int64, device=hidden.device)
            logits = forward(input_ids=tokens, use_cache=False).logits
        if called != ["trunk", "head"]:
            raise RuntimeError(
                f"the forward pass of {type(self.model).__name__} calls {called}, not a trunk and a head"
            )
        return logits[0].float()

    @contextmanager
    def answering(self, compute: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
        """Inside, a call of the model gives what ``compute`` makes of the hidden states that come to its head.

        It is computed inside the head's own call, and inside the model's: whatever hooks hang on them see it.
        """
        self._own = (self.model.forward, self.module.forward)
        forward = self.model.forward
        answers: list[torch.Tensor] = []

        def head(hidden: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
            answer = compute(hidden).reshape(1, 1, 1)
            answers.append(answer.clone())  # the tail may change in place what it takes for logits
            return answer

        def whole(*args: Any, **kwargs: Any) -> torch.Tensor:
            forward(*args, **kwargs)
            return answers.pop().sum()  # of one number; a view of it would lose the hooks that hang on the model

        try:
            with _replaced(self.module, head), _replaced(self.model, whole):
                yield
        finally:
            self._own = None

    def _layers(self) -> list[torch.Tensor]:
        return [] if self.module is None else list(self.module.parameters())

    def _trunks(self) -> list[nn.Module]:
        """What a model may know its trunk by: its forward pass calls one of these."""
        children = [module for module in self.model.children() if isinstance(module, PreTrainedModel)]
        found = {id(module): module for module in (*children, self.model.base_model, self.model.get_decoder())}
        return [module for module in found.values() if module not in (None, self.model, self.module)]

    def _has_more_parameters(self) -> bool:
        mine = {id(each) for each in self._layers()}
        return any(id(each) not in mine for each in self.parameters)

    @staticmethod
    def _random(width: int, like: torch.Tensor) -> torch.Tensor:
        drawn = torch.randn(_PROBED, width, generator=torch.Generator().manual_seed(0))
        return drawn.to(like.device, like.dtype if like.is_floating_point() else torch.get_default_dtype())


@contextmanager
def _replaced(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Another forward pass for a module; its hooks stay."""
    before = module.__dict__.get("forward")
    module.forward = forward
    try:
        yield
    finally:
        if before is None:
            del module.forward
        else:
            module.forward = before
