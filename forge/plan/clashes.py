"""What stands in the way of a run by its other choices: settings that a layout, a device or one another do not go with."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from forge.plan.kernels import FP8, KERNELS, kernel_problem
from forge.plan.layout import SPLITTING
from forge.plan.reach import reaches_experts
from forge.plan.refusal import Refusal
from forge.plan.stages import layout_stages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from forge.plan.asked import RunQuestion

__all__ = ["choice_objections"]


def choice_objections(asked: RunQuestion) -> Iterator[Refusal]:
    """What of the choices cannot be had in the layout or on the device."""
    checks: tuple[Callable[[RunQuestion], Iterator[Refusal]], ...] = (
        _optimizer,
        _fused,
        _loss,
        _packing,
        _adapter,
        _adapted_layers,
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
    if choices.optimizer == "Adafactor" and (layout.shards_state or layout.tp > 1):
        yield Refusal(
            "/optimizer",
            "Adafactor does not go with this layout",
            "it looks at whole rows and columns of a weight, of which each process has a piece",
            ("optimizer=adamw", "optimizer=muon"),
        )


def _fused(asked: RunQuestion) -> Iterator[Refusal]:
    if asked.choices.fused:
        for what, why, *ways in _against_fused(asked):
            yield Refusal(
                "/trainer.fuse_optim_with_backward",
                f"fuse_optim_with_backward does not go with {what}",
                f"it updates each weight when its gradient is there, and {why}",
                ("trainer.fuse_optim_with_backward=false", *ways),
            )


def _against_fused(asked: RunQuestion) -> Iterator[tuple[str, ...]]:
    layout = asked.layout
    if layout.pp > 1:
        yield "pp", "the microbatches of a pipeline add theirs up"
    elif not layout.shards_state and layout.dp_replicate * layout.cp > 1:
        yield "copies of weights", "gradients of copies are summed later, many together", "parallel=fsdp"
    if asked.accumulation > 1:
        why = "those of several batches would have to be added up before"
        yield "accumulated batches", why, "trainer.gradient_accumulation_steps=1"
    if asked.choices.clips_norm:
        why = "the norm of all of them is known only later; max_grad_value clips each value"
        yield "max_grad_norm", why, "trainer.max_grad_norm=null"


def _packing(asked: RunQuestion) -> Iterator[Refusal]:
    if asked.choices.packed and asked.family.stateful:
        why = "its layers keep a state along a row, from one document into the next"
        yield Refusal("/dataset.packing", f"{asked.kind} does not go with packed rows", why, ("dataset.packing=none",))


def _loss(asked: RunQuestion) -> Iterator[Refusal]:
    if asked.choices.whole_logits and asked.layout.loss_parallel:
        why = "it needs all logits of a token, and each process has those of a part of the vocabulary"
        ways = ("trainer.loss=auto", "parallel.loss_parallel=false")
        yield Refusal("/trainer.loss", "loss whole does not go with loss_parallel", why, ways)


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
    if choices.adapter and asked.shape is not None and reaches_experts(choices, asked.shape):
        why = (
            "experts and what chooses among them are no linear layers, and LoRA beside such weights is not divided yet"
        )
        ways = (*_attention_only(choices.adapter_parameters), "parallel=fsdp")
        yield Refusal("/model.adapter", "tp does not go with LoRA on experts", why, ways)


def _attention_only(parameters: bool) -> tuple[str, ...]:  # noqa: FBT001 - one word of a line
    targets = "model.adapter.target_modules=[q_proj,k_proj,v_proj,o_proj]"
    return (f"{targets} model.adapter.target_parameters=null" if parameters else targets,)


def _adapted_layers(asked: RunQuestion) -> Iterator[Refusal]:
    """Whether each process of a pipeline has a layer with an adapter: in it nothing else is trained."""
    layout, shape, layers = asked.layout, asked.shape, asked.choices.adapter_layers
    if layers is None or shape is None or asked.sequence_length is None or not 1 < layout.stages <= shape.layers:
        return
    if reaches_experts(asked.choices, shape):
        return  # those of every layer, whichever are named
    bounds = layout_stages(shape, layout, asked.sequence_length)
    for place in range(layout.pp):
        own = [layer for stage in layout.stages_of(place) for layer in bounds[stage]]
        if not set(own) & set(layers):
            what = f"process {place} of the pipeline has nothing to train"
            why = (
                f"it has the layers {_listed(own)}, and layers_to_transform puts the adapter in {_listed(layers)} alone"
            )
            ways = ("model.adapter.layers_to_transform=null", "parallel=fsdp")
            yield Refusal("/model.adapter.layers_to_transform", what, why, ways)
            return


def _listed(layers: Iterable[int]) -> str:
    """``0 to 3 and 8`` for 0, 1, 2, 3 and 8."""
    numbers = sorted(set(layers))
    starts = [each for each in numbers if each - 1 not in numbers]
    ends = [each for each in numbers if each + 1 not in numbers]
    return " and ".join(str(a) if a == b else f"{a} to {b}" for a, b in zip(starts, ends, strict=True))


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
