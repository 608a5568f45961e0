"""The choices that are read from the settings of a trainer."""

from __future__ import annotations

from typing import Any

import forge
from forge.plan.asked import NOTHING_ELSE, Choices
from forge.plan.read import read_run


def choices(*changes: str, config: str = "pretrain/tiny") -> Choices:
    handle = forge.open("pydoc").config(config, *changes)
    reading = read_run(handle.graph.root, handle.main)
    assert reading is not None
    return Choices.of(reading.settings)


def test_what_a_config_chooses() -> None:
    plain = choices()
    assert (plain.attention, plain.kernels, plain.fp8, plain.optimizer) == ("auto", "lean", "none", "AdamW")
    made = choices(
        *("trainer.fuse_optim_with_backward=true", "trainer.torch_compile=true"),
        *("optimizer=adafactor", "trainer.mixed_precision=fp16", "dataset.packing=none", "model.fp8=rowwise"),
        "trainer.max_grad_norm=null",
    )
    assert made == Choices(
        attention="auto",
        kernels="lean",
        fp8="rowwise",
        precision="fp16",
        packed=False,
        compiled=True,
        fused=True,
        optimizer="Adafactor",
    )


def test_what_of_an_adapter_begins_from_whole_weights() -> None:
    def read(**adapter: Any) -> Choices:
        return Choices.of({"model": {"adapter": {"_target_": "peft.LoraConfig", **adapter}}})

    assert read().from_whole == ()
    assert read().adapter_is_lora
    assert read(use_dora=True).from_whole == ("use_dora=true",)
    assert read(init_lora_weights="pissa").from_whole == ("init_lora_weights=pissa",)
    assert read(modules_to_save=["lm_head"]).from_whole == ("modules_to_save",)
    assert read(_target_="forge.ml.models.adapter.QLora").from_whole == ("four bits (qlora)",)
    assert not read(_target_="peft.IA3Config").adapter_is_lora
    assert read(lora_bias=True).adapter_bias


def test_what_an_adapter_is_put_on() -> None:
    def read(**adapter: Any) -> Choices:
        return Choices.of({"model": {"adapter": {"_target_": "peft.LoraConfig", **adapter}}})

    assert (read().adapter_targets, read().adapter_parameters, read().adapter_layers) == ((), False, None)
    assert read(target_modules="all-linear").adapter_targets == "all-linear"
    assert read(target_modules=["q_proj", "v_proj"]).adapter_targets == ("q_proj", "v_proj")
    assert read(target_parameters=["mlp.experts.down_proj"]).adapter_parameters
    assert read(layers_to_transform=3).adapter_layers == (3,)
    assert read(layers_to_transform=[1, 2]).adapter_layers == (1, 2)
    assert read(layers_to_transform=[]).adapter_layers is None


def test_what_a_trainer_does_with_gradients_and_logits() -> None:
    assert (choices().clips_norm, choices().whole_logits) == (True, False)
    assert not choices("trainer.max_grad_norm=null").clips_norm
    assert choices("trainer.loss=whole").whole_logits


def test_positions_that_are_a_bias() -> None:
    assert choices("model=assembled", "position=alibi").alibi
    assert not choices("model=assembled").alibi


def test_where_nothing_is_said_it_is_what_the_model_has() -> None:
    assert Choices.of({}) == Choices(attention="sdpa")
    assert NOTHING_ELSE.adapter_is_lora
