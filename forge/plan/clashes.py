"""What stands in the way of a run by its other choices: settings that a layout, a device or one another do not go with."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from forge.plan.kernels import FP8, KERNELS, kernel_problem
from forge.plan.layout import SPLITTING
from forge.plan.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from forge.plan.asked import RunQuestion

__all__ = ["choice_objections"]


def choice_objections(asked: RunQuestion) -> Iterator[Refusal]:
    """What of the choices cannot be had in the layout or on the device."""
    checks: tuple[Callable[[RunQuestion], Iterator[Refusal]], ...] = (
        _optimizer,
        _adapter,
        _compiled,
        _precision,
        _positions,
        _attention,
        _kernels,
        _offload,
    )
    return chain.from_iterable(check(asked) for check in checks)


def _optimizer(asked: RunQuestion) -> Iterator[Refusal]:
    layout, choices = asked.layout, asked.choices
    if choices.fused and layout.pp > 1:
        yield Refusal(
            "/trainer.fuse_optim_with_backward",
            "fuse_optim_with_backward does not go with pp",
            "it updates each weight when its gradient is there, and the microbatches of a pipeline add theirs up",
            ("trainer.fuse_optim_with_backward=false",),
        )
    elif choices.fused and not layout.shards_state and layout.dp_replicate * layout.cp > 1:
        yield Refusal(
            "/trainer.fuse_optim_with_backward",
            "fuse_optim_with_backward does not go with copies of weights",
            "it updates each weight when its gradient is there, and gradients of copies are summed later, many together",
            ("trainer.fuse_optim_with_backward=false", "parallel=fsdp"),
        )
    if choices.rounding and asked.ranks > layout.pp:
        yield Refusal(
            "/trainer.stochastic_rounding",
            "stochastic_rounding does not go with this layout",
            "it rounds whole weights, and each process has pieces or copies of them; in a pipeline alone they are whole",
            ("trainer.stochastic_rounding=false",),
        )
    if choices.optimizer == "Adafactor" and (layout.shards_state or layout.tp > 1):
        yield Refusal(
            "/optimizer",
            "Adafactor does not go with this layout",
            "it looks at whole rows and columns of a weight, of which each process has a piece",
            ("optimizer=adamw", "optimizer=muon"),
        )


def _adapter(asked: RunQuestion) -> Iterator[Refusal]:
    choices = asked.choices
    if asked.ranks > 1:
        for setting in choices.from_whole:
            yield Refusal(
                "/model.adapter",
                f"an adapter with {setting} does not go with several processes",
                "it begins from whole weights, which no process of a layout has",
                ("adapter=lora",),
            )
    if asked.layout.tp == 1:
        return
    if not choices.adapter_is_lora:
        why = "only linear layers, plain or with LoRA, are divided"
        yield Refusal("/model.adapter", f"tp does not go with the adapter {choices.adapter}", why, ("adapter=lora",))
    if choices.adapter_bias:
        why = "what a matrix cut by rows adds up would have its bias several times"
        yield Refusal("/model.adapter", "tp does not go with lora_bias", why, ("model.adapter.lora_bias=false",))


def _compiled(asked: RunQuestion) -> Iterator[Refusal]:
    layout, nearest = asked.layout, ("trainer.torch_compile=false",)
    if not asked.choices.compiled:
        return
    if layout.pp_schedule in SPLITTING:
        why = "torch cannot split the backward pass of a compiled layer into that of inputs and that of weights"
        yield Refusal("pp_schedule", f"{layout.pp_schedule} does not go with torch_compile", why, nearest)


def _precision(asked: RunQuestion) -> Iterator[Refusal]:
    if asked.choices.precision != "fp16":
        return
    nearest = ("trainer.mixed_precision=bf16", "trainer.mixed_precision=no")
    if asked.device == "cpu":
        why = "it is no quicker there than float32, and its gradients vanish"
        yield Refusal("/trainer.mixed_precision", "fp16 does not train on a CPU", why, nearest)
    if asked.layout.pp > 1:
        why = "gradients are scaled for it, which somebody has to see all of, and in a pipeline nobody does"
        yield Refusal("/trainer.mixed_precision", "fp16 does not go with pp", why, nearest)


def _positions(asked: RunQuestion) -> Iterator[Refusal]:
    if not asked.choices.alibi:
        return
    if asked.layout.tp > 1:
        why = "it adds a bias for each head to the scores, and heads are divided over processes"
        yield Refusal("tp", "position alibi does not go with tp", why, ("position=rope",))
    if asked.layout.cp > 1:
        why = "forge's own attention, which cp needs, has no place for a bias"
        yield Refusal("cp", "position alibi does not go with cp", why, ("position=rope",))


def _attention(asked: RunQuestion) -> Iterator[Refusal]:
    name, cp = asked.choices.attention, asked.layout.cp
    key, nearest = "/model.attn_implementation", ("model.attn_implementation=auto",)
    yield from _kernel(asked, "attn_implementation", name)
    if cp > 1 and name not in ("auto", "forge_documents"):
        why = "rows are cut into pieces, over which forge's own attention attends alone"
        yield Refusal(key, f"attn_implementation {name} does not go with cp={cp}", why, nearest)
    if name == "sdpa_flash" and asked.device == "cuda" and asked.choices.packed:
        why = "on a GPU it takes no mask, and documents are kept apart by one"
        yield Refusal(key, "sdpa_flash does not go with packed rows", why, (*nearest, "dataset.packing=none"))


def _kernels(asked: RunQuestion) -> Iterator[Refusal]:
    choices = asked.choices
    # A name that there is not is found where the types of all values are looked at.
    if choices.kernels in KERNELS:
        yield from _kernel(asked, "kernels", choices.kernels)
    if choices.fp8 not in FP8 or choices.fp8 == "none":
        return
    yield from _kernel(asked, "fp8", choices.fp8)
    if asked.layout.tp > 1:
        why = "a matrix that is divided is scaled in each process by itself, which is not done yet"
        yield Refusal("/model.fp8", "fp8 does not go with tp", why, ("model.fp8=none",))
    if choices.adapter:
        why = "its matrices are few and small, and those below it are not trained"
        yield Refusal("/model.fp8", "fp8 does not go with an adapter", why, ("model.fp8=none",))


def _kernel(asked: RunQuestion, setting: str, name: str) -> Iterator[Refusal]:
    what, why, ways = kernel_problem(setting, name, asked.device, here=asked.here)
    if what:
        yield Refusal(f"/model.{setting}", what, why, ways)


def _offload(asked: RunQuestion) -> Iterator[Refusal]:
    if asked.layout.cpu_offload and asked.device == "cpu":
        why = "the weights are in host memory already, and torch cannot move them there"
        yield Refusal("cpu_offload", "cpu_offload has no use on a CPU", why, ("parallel.cpu_offload=false",))
