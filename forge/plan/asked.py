"""What is asked of the capability query: a model, a layout, what it runs on, and what else a run wants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from forge.plan.families import family_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from forge.plan.families import ModelFamily
    from forge.plan.layout import Layout
    from forge.plan.shape import ModelShape

__all__ = ["NOTHING_ELSE", "Choices", "DeviceKind", "RunQuestion"]

DeviceKind = Literal["cpu", "cuda"]

_LORA: Final = ("LoraConfig", "QLora")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What a run wants beside its model and its layout, as far as a layout, a device or a machine may not have it.

    `optimizer` is the name of its class, `adapter` that of an adapter's. `from_whole` are the settings of the adapter that look at whole weights,
    `adapter_targets` the modules that it is put on, or a pattern of them, `adapter_parameters` whether it is put on tensors of no module, too, and
    `adapter_layers` the only layers that it is put in. `alibi` are positions that are a bias of each head, `clips_norm` is whether the norm of all
    gradients is limited.
    """

    attention: str = "auto"
    kernels: str = "none"
    fp8: str = "none"
    precision: str = "auto"
    packed: bool = True
    compiled: bool = False
    whole_logits: bool = False
    fused: bool = False
    clips_norm: bool = False
    optimizer: str = ""
    adapter: str = ""
    from_whole: tuple[str, ...] = ()
    adapter_bias: bool = False
    adapter_targets: str | tuple[str, ...] = ()
    adapter_parameters: bool = False
    adapter_layers: tuple[int, ...] | None = None
    alibi: bool = False

    @property
    def adapter_is_lora(self) -> bool:
        """Whether the adapter, if there is one, is LoRA of one kind or another."""
        return self.adapter in ("", *_LORA)

    @staticmethod
    def of(settings: Mapping[str, Any]) -> Choices:
        """The choices in the settings of a trainer, which are plain data."""
        model, dataset = _mapping(settings.get("model")), _mapping(settings.get("dataset"))
        adapter = _mapping(model.get("adapter"))
        return Choices(
            # As `causal_lm` has them where nothing is said.
            attention=str(model.get("attn_implementation") or "sdpa"),
            kernels=str(model.get("kernels") or "none"),
            fp8=str(model.get("fp8") or "none"),
            precision=str(settings.get("mixed_precision") or "auto"),
            packed=dataset.get("packing") != "none",
            compiled=settings.get("torch_compile") is True,
            whole_logits=settings.get("loss") == "whole",
            fused=settings.get("fuse_optim_with_backward") is True,
            clips_norm=settings.get("max_grad_norm") is not None,
            optimizer=_last(_mapping(settings.get("optimizer")).get("_target_")),
            adapter=_last(adapter.get("_target_")),
            from_whole=tuple(_from_whole(adapter)),
            adapter_bias=adapter.get("lora_bias") is True,
            adapter_targets=_targets(adapter),
            adapter_parameters=bool(adapter.get("target_parameters")),
            adapter_layers=_layers(adapter.get("layers_to_transform")),
            alibi=_last(_mapping(_mapping(model.get("config")).get("position")).get("_target_")) == "Alibi",
        )


NOTHING_ELSE: Final = Choices()
"""Nothing that any layout or device does not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunQuestion:
    """One question. With a `shape` of None no more is known of the model than its `model_type`, if that.

    With a `device` of None what some device can do is let by.
    `here` says that the run is to be on this machine, whose packages are looked for; `vocabulary` is the value of the config that makes
    the vocabulary larger, where one does. `accumulation` is how many batches make a step, which go through a pipeline as if they were one.
    """

    shape: ModelShape | None
    layout: Layout
    ranks: int
    sequence_length: int | None = None
    batch_size: int | None = None
    accumulation: int = 1
    device: DeviceKind | None = None
    here: bool = False
    vocabulary: str = ""
    choices: Choices = NOTHING_ELSE
    model_type: str = ""

    @property
    def family(self) -> ModelFamily:
        """What models of its kind have in common."""
        return family_of(self.model_type) if self.shape is None else self.shape.family

    @property
    def kind(self) -> str:
        """The type of the model, where it is known."""
        return self.model_type if self.shape is None else self.shape.model_type


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _last(name: Any) -> str:
    return name.rpartition(".")[2] if isinstance(name, str) else ""


def _targets(adapter: Mapping[str, Any]) -> str | tuple[str, ...]:
    """The modules of an adapter; where nothing is said, peft chooses matrices of attention."""
    named = adapter.get("target_modules")
    return named if isinstance(named, str) else tuple(map(str, named)) if isinstance(named, list) else ()


def _layers(named: Any) -> tuple[int, ...] | None:
    """The layers that an adapter is put in; None for all, as peft takes an empty list."""
    given = named if isinstance(named, list) else [named]
    return tuple(layer for layer in given if isinstance(layer, int)) or None


def _from_whole(adapter: Mapping[str, Any]) -> list[str]:
    """The settings of an adapter that begin from whole weights."""
    begin = adapter.get("init_lora_weights", True)
    found = {
        "use_dora=true": adapter.get("use_dora") is True,
        f"init_lora_weights={begin}": begin is not True,
        "modules_to_save": bool(adapter.get("modules_to_save")),
        "four bits (qlora)": _last(adapter.get("_target_")) == "QLora",
    }
    return [what for what, there in found.items() if there]
