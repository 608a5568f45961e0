"""What stands in the way of a layout, and that what is offered instead is possible."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forge.plan.asked import Choices, RunQuestion
from forge.plan.capability import refusals
from forge.plan.layout import Layout
from forge.plan.shape import ModelShape

if TYPE_CHECKING:
    from forge.plan.refusal import Refusal

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "max_position_embeddings": 2048,
}
PIPELINE: dict[str, Any] = {"pp": 2, "pp_schedule": "1f1b", "microbatches": 8}


def shape_of(**changes: Any) -> ModelShape:
    return ModelShape.from_config({**LLAMA, **changes})


def asked(shape: ModelShape | None, layout: Layout, ranks: int, **more: Any) -> list[Refusal]:
    return refusals(RunQuestion(shape=shape, layout=layout, ranks=ranks, **more))


def changed(layout: Layout, line: str) -> Layout:
    """The layout with a line of overrides."""
    words = dict(word.removeprefix("parallel.").split("=") for word in line.split())
    values: dict[str, Any] = {}
    for name, text in words.items():
        constants = {"null": None, "true": True, "false": False}
        values[name] = constants[text] if text in constants else int(text) if text.lstrip("-").isdigit() else text
    return replace(layout, **values)


@pytest.mark.parametrize(
    ("layout", "ranks", "more", "key", "message"),
    [
        (Layout(tp=2), 4, {}, "", "does not fit 4 processes"),
        (Layout(tp=3), 3, {}, "tp", "tp=3 does not divide 32 heads"),
        (Layout(tp=16), 16, {}, "tp", "tp=16 is more than 8 heads of keys and values"),
        (Layout(**{**PIPELINE, "pp": 64, "microbatches": 64}), 64, {}, "pp", "32 layers do not make 64 stages"),
        (Layout(**PIPELINE), 2, {"batch_size": 4}, "microbatches", "4 rows do not divide into 8 microbatches"),
        (
            Layout(pp=2, pp_schedule="interleaved_1f1b", microbatches=7, stages_per_rank=2),
            2,
            {},
            "microbatches",
            "7 microbatches do not make 3 equal rounds",
        ),
        (Layout(cp=2), 2, {"sequence_length": 1301, "device": "cuda"}, "cp", "1,301 tokens do not divide by 2"),
        (Layout(cp=4), 4, {"sequence_length": 1302, "device": "cpu"}, "cp", "1,302 tokens do not divide by 4"),
        (
            Layout(tp=4, sequence_parallel=True),
            4,
            {"sequence_length": 1302},
            "sequence_parallel",
            "1,302 tokens do not divide by 4",
        ),
        (
            Layout(dp_shard=2, zero_stage=3, cpu_offload=True),
            2,
            {"device": "cpu"},
            "cpu_offload",
            "cpu_offload has no use on a CPU",
        ),
        (Layout(), 1, {"sequence_length": 4096}, "/dataset.max_length", "the 2,048 positions that the model knows"),
    ],
)
def test_a_layout_that_cannot_be_has_its_reason(
    layout: Layout, ranks: int, more: dict[str, Any], key: str, message: str
) -> None:
    found = asked(shape_of(), layout, ranks, **more)
    assert [refusal.key for refusal in found][:1] == [key]
    assert message in str(found[0])
    assert found[0].nearest


@pytest.mark.parametrize(
    ("shape", "layout", "message"),
    [
        ({"vocab_size": 50257}, Layout(tp=2), "pad it to 50,258 (model.config.vocab_size=50258"),
        ({"intermediate_size": 14337}, Layout(tp=2), "tp=2 does not divide intermediate_size 14,337"),
        ({"num_key_value_heads": 8, "num_attention_heads": 48}, Layout(tp=6), "does not divide 8 heads of keys"),
        ({"model_type": "gpt2"}, Layout(tp=2), "gpt2 has no tensor-parallel plan"),
        (
            {"model_type": "qwen3_moe", "num_experts": 8, "moe_intermediate_size": 770},
            Layout(tp=4),
            "tp=4 does not divide moe_intermediate_size 770",
        ),
        ({"model_type": "stablelm"}, Layout(cp=2), "stablelm does not go with cp: its attention is its own"),
        ({"model_type": "falcon"}, Layout(cp=2), "falcon does not go with cp"),
        ({"model_type": "phi3", "num_key_value_heads": 2}, Layout(tp=3), "the width of all heads 4,096"),
    ],
)
def test_a_model_that_cannot_be_divided_so(shape: dict[str, Any], layout: Layout, message: str) -> None:
    found = asked(shape_of(**shape), layout, layout.fixed_ranks)
    assert message in "\n".join(map(str, found))


@pytest.mark.parametrize(
    ("layout", "ranks", "more"),
    [
        (Layout(), 1, {}),
        (Layout(tp=8, sequence_parallel=True, loss_parallel=True), 8, {"sequence_length": 2048}),
        (Layout(dp_shard=-1, zero_stage=3, tp=2), 16, {}),
        (Layout(**PIPELINE), 2, {"batch_size": 16}),
        (Layout(cp=4, dp_shard=-1, zero_stage=3), 8, {"sequence_length": 1024}),
        (Layout(cp=2), 2, {"sequence_length": 1302, "device": "cuda"}),
        (Layout(tp=2, dp_shard=4), 8, {}),
        (Layout(dp_shard=2, zero_stage=3, cpu_offload=True), 2, {"device": "cuda"}),
    ],
)
def test_nothing_stands_in_the_way_of_what_is_possible(layout: Layout, ranks: int, more: dict[str, Any]) -> None:
    assert asked(shape_of(), layout, ranks, **more) == []


def test_of_a_model_that_is_not_known_the_layout_alone_is_judged() -> None:
    assert asked(None, Layout(tp=3), 3) == []
    assert asked(None, Layout(tp=3), 4)[0].what == "the layout does not fit 4 processes"


def test_copies_are_offered_before_what_cuts_the_model() -> None:
    (found,) = asked(shape_of(), Layout(), 8)
    assert found.nearest[:2] == ("parallel.dp_replicate=8", "parallel.dp_shard=8 parallel.zero_stage=3")


def test_a_share_that_is_open_stays_open() -> None:
    (found,) = asked(shape_of(), Layout(tp=5, dp_shard=-1, zero_stage=3), 64)
    assert found.nearest[0] == "parallel.tp=4"


@settings(max_examples=150, deadline=None)
@given(
    ranks=st.integers(1, 48),
    degrees=st.tuples(*[st.integers(1, 6)] * 5),
    microbatches=st.integers(1, 20),
    length=st.sampled_from([None, 512, 1300, 1301]),
)
def test_what_is_offered_is_possible(
    ranks: int, degrees: tuple[int, ...], microbatches: int, length: int | None
) -> None:
    pp, replicate, shard, cp, tp = degrees
    pipeline = {"pp": pp, "pp_schedule": "1f1b", "microbatches": max(microbatches, pp)} if pp > 1 else {}
    layout = Layout(dp_replicate=replicate, dp_shard=shard, cp=cp, tp=tp, zero_stage=3 if shard > 1 else 0, **pipeline)
    shape = shape_of(num_hidden_layers=4)
    found = asked(shape, layout, ranks, sequence_length=length)
    # What has ways out of its own, such as other rows, is left for these.
    elsewhere = [refusal for refusal in found if not refusal.nearest[0].startswith("parallel.")] if found else []
    for refusal in found:
        for line in refusal.nearest:
            if line.startswith("parallel."):
                left = asked(shape, changed(layout, line), ranks, sequence_length=length)
                assert [one for one in left if one not in elsewhere] == []


@pytest.mark.parametrize(
    ("layout", "more", "lines"),
    [
        # Of the microbatches that the rows allow the nearest, or the rows that they need.
        (PIPELINE, {"batch_size": 4}, ("parallel.microbatches=4", "trainer.per_device_train_batch_size=8")),
        (
            {**PIPELINE, "microbatches": 3},
            {"batch_size": 7},
            ("parallel.microbatches=7", "trainer.per_device_train_batch_size=9"),
        ),
        ({**PIPELINE, "microbatches": 3}, {"batch_size": 1}, ("trainer.per_device_train_batch_size=3",)),
        (
            {**PIPELINE, "pp_schedule": "interleaved_1f1b", "stages_per_rank": 2, "microbatches": 7},
            {"batch_size": 7},
            ("parallel.microbatches=8 trainer.per_device_train_batch_size=8",),
        ),
        (
            {"tp": 4, "sequence_parallel": True},
            {"sequence_length": 1302},
            ("dataset.max_length=1304", "parallel.sequence_parallel=false"),
        ),
        ({"cp": 4}, {"sequence_length": 1302}, ("dataset.max_length=1304",)),
        (
            {**PIPELINE, "stage_layers": (15, 15)},
            {},
            ("parallel.stage_layers=[16,16]", "parallel.stage_layers=null"),
        ),
        ({"tp": 2}, {"vocabulary": "model.resize_to"}, ("model.resize_to=128258",)),
    ],
)
def test_the_smallest_change_comes_first(layout: dict[str, Any], more: dict[str, Any], lines: tuple[str, ...]) -> None:
    asked_for = Layout(**layout)
    shape = shape_of(vocab_size=128_257) if "vocabulary" in more else shape_of()
    (found,) = asked(shape, asked_for, asked_for.fixed_ranks, **more)
    assert found.nearest == lines


def test_rows_are_not_made_longer_than_the_positions() -> None:
    (found,) = asked(shape_of(max_position_embeddings=1303), Layout(cp=4), 4, sequence_length=1302)
    assert found.nearest == ("dataset.max_length=1300",)


def test_lines_are_for_the_place_of_the_layout() -> None:
    question = RunQuestion(shape=shape_of(), layout=Layout(**PIPELINE), ranks=2, batch_size=4)
    (found,) = refusals(question, "trainer.parallel")
    assert found.nearest[0] == "trainer.parallel.microbatches=4"


def test_what_is_offered_leaves_the_other_ways_out_to_go() -> None:
    found = asked(shape_of(), Layout(tp=3), 3, choices=Choices(optimizer="Adafactor"))
    assert found[0].nearest[0].startswith("parallel.")
    assert found[-1].nearest == ("optimizer=adamw", "optimizer=muon")
