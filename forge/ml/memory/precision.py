"""Mixed precision: which one a run uses, chosen by what the processor has."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

__all__ = ["MixedPrecision", "Precision", "choose_precision"]

MixedPrecision = Literal["auto", "no", "bf16", "fp16"]

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
# The first CUDA generation that has float16 units, and the first that has bfloat16 units and TF32.
_VOLTA, _AMPERE = (7, 0), (8, 0)
# As Linux names them, for Intel and AMD and for Arm.
_CPU_BF16 = ("amx_bf16", "avx512_bf16", "bf16")


@dataclass(frozen=True)
class Precision:
    """The precision of a run: how the forward pass is cast, how the loss is scaled, and a sentence for the log."""

    name: Literal["no", "bf16", "fp16"]
    device: str
    matmul: Literal["highest", "high"]
    scaler: Any  # torch.amp.GradScaler with fp16, else None
    described: str

    @property
    def cast_to(self) -> torch.dtype | None:
        """What the matrices of the forward pass are cast to; nothing where they compute as they are stored."""
        return _DTYPES.get(self.name)

    def autocast(self) -> AbstractContextManager[Any]:
        """The context of a forward pass."""
        if self.cast_to is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device, dtype=self.cast_to)

    def apply(self) -> None:
        """Let float32 matrix products that are left use TF32 where that was chosen; this holds for the whole process."""
        torch.set_float32_matmul_precision(self.matmul)


def choose_precision(
    how: MixedPrecision, device: torch.device | str, weights: torch.dtype = torch.float32
) -> Precision:
    """The precision that `how` asks for on a device; `auto` takes what the processor computes natively.

    "no" means exact float32. Weights that are not float32 need no casts, so `auto` adds none to them.
    """
    if how not in get_args(MixedPrecision):
        raise ValueError(f"mixed_precision is auto, bf16, fp16 or no, not {how!r}")
    kind = torch.device(device).type
    native, because = _native(torch.device(device))
    name = how if how != "auto" else native if weights == torch.float32 else "no"
    _refuse(name, kind)
    if how != "auto":
        because = "as the config says"
    elif weights != torch.float32:
        because = f"the weights are {str(weights).removeprefix('torch.')} already"
    scaler = torch.amp.GradScaler(kind) if name == "fp16" else None
    matmul = "high" if name != "no" and kind == "cuda" and native == "bf16" else "highest"
    return Precision(name, kind, matmul, scaler, _described(name, matmul, because))


def _native(device: torch.device) -> tuple[str, str]:
    """The precision a processor is quickest in, and what it has."""
    if device.type == "cpu":
        return _native_of_cpu(_cpu_flags())
    if device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        shown = f"this GPU has CUDA capability {capability[0]}.{capability[1]}"
        return "bf16" if capability >= _AMPERE else "fp16" if capability >= _VOLTA else "no", shown
    return "no", f"nothing is known about {device.type} devices"


def _native_of_cpu(flags: set[str]) -> tuple[str, str]:
    units = [unit for unit in _CPU_BF16 if unit in flags]
    if units:
        return "bf16", f"this CPU has {' and '.join(units)}"
    return "no", "this CPU has no bfloat16 units" if flags else "this system does not say what its CPU has"


def _cpu_flags() -> set[str]:
    """What the kernel says that the processor has; empty on systems other than Linux."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
    except OSError:
        return set()
    return {word for line in lines if line.lower().startswith(("flags", "features")) for word in line.split()}


def _refuse(name: str, kind: str) -> None:
    if name == "fp16" and kind != "cuda":
        raise ValueError(
            f"mixed_precision fp16 needs a CUDA device: on a {kind} it is no quicker than float32 and its gradients "
            "vanish; write bf16 or auto"
        )


def _described(name: str, matmul: str, because: str) -> str:
    what = {
        "no": "no mixed precision",
        "bf16": "mixed precision bf16",
        "fp16": "mixed precision fp16 with a scaled loss",
    }[name]
    return f"{what}{', TF32 for what stays float32' if matmul == 'high' else ''}: {because}"
