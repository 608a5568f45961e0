"""The ways to compute attention, layers and matrix products that a config can name, and what each of them needs."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from forge.plan.asked import DeviceKind

__all__ = ["ATTENTIONS", "FP8", "KERNELS", "Need", "kernel_problem"]


@dataclass(frozen=True, slots=True)
class Need:
    """What a choice needs: a GPU, where `gpu` says why; and a package, which `install` brings."""

    gpu: str = ""
    package: str = ""
    install: str = ""


_ANYWHERE: Final = Need()
_FLASH: Final = "its kernels are for GPUs"

ATTENTIONS: Final = {
    "auto": _ANYWHERE,
    "forge_documents": _ANYWHERE,
    "sdpa": _ANYWHERE,
    "sdpa_math": _ANYWHERE,
    "sdpa_flash": _ANYWHERE,
    "sdpa_efficient": Need("torch has it for GPUs only"),
    "sdpa_cudnn": Need("torch has it for GPUs only"),
    "eager": _ANYWHERE,
    "flash_attention_2": Need(_FLASH, "flash_attn", "pip install flash-attn"),
    "flash_attention_3": Need(_FLASH, "flash_attn_interface", "build flash_attn_interface of flash-attention/hopper"),
    "flex_attention": Need("torch has no backward pass of it there"),
}
"""The values of ``attn_implementation``; with ``sdpa`` torch chooses among its own kernels, behind an underscore is the one it has to take."""

KERNELS: Final = {
    "lean": _ANYWHERE,
    "none": _ANYWHERE,
    "liger": Need("its kernels are Triton programs for GPUs", "liger_kernel", "pip install 'forge[liger]'"),
}
"""The values of ``kernels``: what norms, rotary embeddings and feed-forward networks are computed by."""

_SCALED: Final = Need("its matrix products of 8 bits are for GPUs", "torchao", "pip install 'forge[lowbit]'")
FP8: Final = {"none": _ANYWHERE, **dict.fromkeys(("tensorwise", "rowwise", "rowwise_with_gw_hp"), _SCALED)}
"""The values of ``fp8``: how numbers are scaled for matrix products of 8 bits."""

_CHOICES: Final = {"attn_implementation": ATTENTIONS, "kernels": KERNELS, "fp8": FP8}


def kernel_problem(
    setting: str, name: str, device: DeviceKind | None, *, here: bool
) -> tuple[str, str, tuple[str, ...]]:
    """What is wrong with a choice on a device, why, and the ways out; empty texts where nothing is.

    `here` asks for the packages of this machine, too.
    """
    known = _CHOICES[setting]
    default = next(iter(known))
    otherwise = (f"model.{setting}={default}",)
    if name not in known:
        return f"{setting} has no {name!r}", f"it is one of {', '.join(known)}", otherwise
    need = known[name]
    if device == "cpu" and need.gpu:
        return f"{setting} {name} does not train on a CPU", need.gpu, otherwise
    if here and need.package and find_spec(need.package) is None:
        return f"{setting} {name} needs the package {need.package}", "it is not installed", (*otherwise, need.install)
    return "", "", ()
