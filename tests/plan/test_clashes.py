"""Choices that do not go with a layout, a device or one another, each with its reason and a way out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from forge.plan.asked import Choices, RunQuestion
from forge.plan.clashes import choice_objections
from forge.plan.layout import Layout
from forge.plan.shape import ModelShape

if TYPE_CHECKING:
    from forge.plan.refusal import Refusal

SIZES: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "vocab_size": 8,
}

DDP = Layout(dp_replicate=2)
FSDP = Layout(dp_shard=2, zero_stage=3)
TP = Layout(tp=2)
CP = Layout(cp=2)
SHARED = Layout(dp_replicate=2, dp_shard=2, cp=2, tp=2)
PP = Layout(pp=2, pp_schedule="1f1b", microbatches=4)
ZB = Layout(pp=2, pp_schedule="zbv", microbatches=4, stages_per_rank=2)


def found(layout: Layout, device: Any = None, **choices: Any) -> list[tuple[str, str]]:
    asked = RunQuestion(shape=None, layout=layout, ranks=layout.fixed_ranks, device=device, choices=Choices(**choices))
    for refusal in choice_objections(asked):
        assert refusal.nearest
        assert "\n" not in refusal.reason
        assert len(refusal.reason) < 200
    return [(refusal.key, refusal.what) for refusal in choice_objections(asked)]


@pytest.mark.parametrize(
    ("choices", "refused", "allowed", "key", "what"),
    [
        (
            {"fused": True},
            [DDP, CP],
            [Layout(), FSDP, TP, SHARED],
            "/trainer.fuse_optim_with_backward",
            "copies of weights",
        ),
        ({"fused": True, "clips_norm": True}, [Layout()], [], "/trainer.fuse_optim_with_backward", "max_grad_norm"),
        ({"clips_norm": True}, [], [Layout(), PP], "", ""),
        (
            {"whole_logits": True},
            [Layout(tp=2, loss_parallel=True)],
            [Layout(), TP],
            "/trainer.loss",
            "loss whole does not go with loss_parallel",
        ),
        ({"fused": True}, [PP], [], "/trainer.fuse_optim_with_backward", "does not go with pp"),
        ({"optimizer": "Adafactor"}, [FSDP, TP], [Layout(), DDP, PP, CP], "/optimizer", "Adafactor does not go"),
        ({"optimizer": "AdamW"}, [], [DDP, FSDP, TP], "", ""),
        (
            {"adapter": "LoraConfig", "from_whole": ("use_dora=true",)},
            [DDP, TP, PP],
            [Layout()],
            "/model.adapter",
            "use_dora",
        ),
        ({"adapter": "IA3Config"}, [TP], [Layout(), DDP, PP], "/model.adapter", "IA3Config"),
        ({"adapter": "LoraConfig", "adapter_bias": True}, [TP], [Layout(), DDP, PP], "/model.adapter", "lora_bias"),
        ({"compiled": True}, [ZB], [Layout(), DDP, TP, CP, PP], "pp_schedule", "zbv does not go with torch_compile"),
        ({"precision": "fp16"}, [PP], [Layout(), DDP, FSDP], "/trainer.mixed_precision", "fp16 does not go with pp"),
        ({"attention": "sdpa_math"}, [CP], [Layout(), TP, PP], "/model.attn_implementation", "does not go with cp=2"),
        ({"fp8": "rowwise"}, [TP], [Layout(), FSDP, PP], "/model.fp8", "fp8 does not go with tp"),
        ({"fp8": "rowwise", "adapter": "LoraConfig"}, [Layout()], [], "/model.fp8", "fp8 does not go with an adapter"),
        ({"alibi": True}, [TP], [Layout(), DDP, PP], "tp", "position alibi does not go with tp"),
        ({"alibi": True}, [CP], [FSDP], "cp", "position alibi does not go with cp"),
        ({"attention": "fast"}, [Layout()], [], "/model.attn_implementation", "attn_implementation has no 'fast'"),
    ],
)
def test_what_does_not_go_together(
    choices: dict[str, Any], refused: list[Layout], allowed: list[Layout], key: str, what: str
) -> None:
    for layout in refused:
        assert any(one == key and what in text for one, text in found(layout, **choices)), layout
    for layout in allowed:
        assert found(layout, **choices) == [], layout


def against(shape: ModelShape | None, layout: Layout, **more: Any) -> list[Refusal]:
    accumulation, length = more.pop("accumulation", 1), more.pop("length", 64)
    return list(
        choice_objections(
            RunQuestion(
                shape=shape,
                layout=layout,
                ranks=layout.fixed_ranks,
                sequence_length=length,
                accumulation=accumulation,
                choices=Choices(**more),
            )
        )
    )


@pytest.mark.parametrize("layout", [Layout(), FSDP, TP])
def test_an_optimizer_in_the_backward_pass_has_one_batch(layout: Layout) -> None:
    (found,) = against(None, layout, fused=True, accumulation=2)
    assert found.what == "fuse_optim_with_backward does not go with accumulated batches"
    assert found.nearest[1] == "trainer.gradient_accumulation_steps=1"
    assert against(None, layout, fused=True) == against(None, layout, accumulation=2) == []


def test_lora_on_experts_is_not_divided() -> None:
    experts = {"model_type": "qwen3_moe", "num_experts": 4, "moe_intermediate_size": 32}
    shape = ModelShape.from_config({**SIZES, **experts})
    lora: dict[str, Any] = {"adapter": "LoraConfig", "adapter_targets": "all-linear"}
    (found,) = against(shape, TP, **lora)
    assert found.what == "tp does not go with LoRA on experts"
    assert found.nearest[0] == "model.adapter.target_modules=[q_proj,k_proj,v_proj,o_proj]"
    assert against(shape, TP, adapter="LoraConfig", adapter_targets=("q_proj", "o_proj")) == []
    assert against(shape, FSDP, **lora) == against(shape, TP) == []
    assert against(ModelShape.from_config(SIZES), TP, **lora) == []
    (found,) = against(shape, TP, adapter="LoraConfig", adapter_parameters=True)
    assert found.nearest[0].endswith(" model.adapter.target_parameters=null")


def test_each_process_of_a_pipeline_has_something_to_train() -> None:
    shape = ModelShape.from_config(SIZES)
    two = Layout(pp=2, pp_schedule="1f1b", microbatches=2)
    (found,) = against(shape, two, adapter="LoraConfig", adapter_layers=(2, 3))
    assert found.reason == (
        "process 0 of the pipeline has nothing to train: "
        "it has the layers 0 to 1, and layers_to_transform puts the adapter in 2 to 3 alone"
    )
    assert against(shape, two, adapter="LoraConfig", adapter_layers=(0, 3)) == []
    assert against(shape, FSDP, adapter="LoraConfig", adapter_layers=(3,)) == []
    # Each has a stage without any, and another one with.
    several = Layout(pp=2, pp_schedule="interleaved_1f1b", microbatches=2, stages_per_rank=2)
    assert against(shape, several, adapter="LoraConfig", adapter_layers=(1, 2)) == []
    assert against(shape, several, adapter="LoraConfig", adapter_layers=(1, 3))
    named = Layout(pp=2, pp_schedule="1f1b", microbatches=2, stage_layers=(3, 1))
    assert against(shape, named, adapter="LoraConfig", adapter_layers=(2, 3)) == []


@pytest.mark.parametrize(
    ("choices", "what"),
    [
        ({"attention": "flash_attention_2"}, "attn_implementation flash_attention_2 does not train on a CPU"),
        ({"attention": "sdpa_cudnn"}, "attn_implementation sdpa_cudnn does not train on a CPU"),
        ({"attention": "flex_attention"}, "attn_implementation flex_attention does not train on a CPU"),
        ({"kernels": "liger"}, "kernels liger does not train on a CPU"),
        ({"fp8": "tensorwise"}, "fp8 tensorwise does not train on a CPU"),
        ({"precision": "fp16"}, "fp16 does not train on a CPU"),
    ],
)
def test_what_a_cpu_has_not(choices: dict[str, Any], what: str) -> None:
    assert [text for _, text in found(Layout(), "cpu", **choices)] == [what]
    assert found(Layout(), "cuda", **choices) == []
    assert found(Layout(), None, **choices) == []


def test_offloading_and_masks_hang_on_the_device() -> None:
    offloaded = Layout(dp_shard=2, zero_stage=3, cpu_offload=True)
    assert found(offloaded, "cpu") == [("cpu_offload", "cpu_offload has no use on a CPU")]
    assert found(offloaded, "cuda") == []
    assert [what for _, what in found(Layout(), "cuda", attention="sdpa_flash")] == [
        "sdpa_flash does not go with packed rows"
    ]
    assert found(Layout(), "cuda", attention="sdpa_flash", packed=False) == []
    assert found(Layout(), "cpu", attention="sdpa_flash") == []
