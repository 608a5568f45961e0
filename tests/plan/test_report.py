from __future__ import annotations

import json
from typing import TYPE_CHECKING

from forge.plan.arithmetic import arithmetic
from forge.plan.asked import RunQuestion
from forge.plan.capability import refusals
from forge.plan.fit import fitting_layouts
from forge.plan.layout import Layout
from forge.plan.memory import pipeline_memory
from forge.plan.report import RunPlan, fit_text, fitting_data, plan_data, plan_text
from forge.plan.speed import Hardware
from forge.plan.traffic import traffic

if TYPE_CHECKING:
    from collections.abc import Callable

    from forge.plan.setup import TrainingSetup


def plan_of(setup: TrainingSetup) -> RunPlan:
    run = arithmetic(setup, max_steps=10, data_tokens=10**6)
    refused = refusals(RunQuestion(shape=setup.shape, layout=setup.layout, ranks=setup.ranks))
    return RunPlan("demo/tiny", setup, refused, pipeline_memory(setup), traffic(setup, 8), run, ["a note"])


def test_the_text_has_every_part(setup_for: Callable[..., TrainingSetup]) -> None:
    setup = setup_for(Layout(pp=2, dp_shard=2, zero_stage=3, pp_schedule="1f1b", microbatches=4))
    text = plan_text(plan_of(setup))
    for words in (
        "demo/tiny: llama of 34.1M parameters, all trained",
        "layout: 4 processes on cpu, pp=2 x dp_shard=2, zero stage 3, 1f1b, 4 microbatches",
        "step: 4 rows x 512 tokens x 1 accumulated x 2 copies = 4,096 tokens",
        "run: 10 steps, 0.04 epochs of 245 steps, 41.0k tokens",
        "memory of a process",
        "pp 0",
        "optimizer state",
        "pipeline waits 20.0% of the time ((p - 1) / (m + p - 1)); 21.9% with the stages of this model",
        "layers of the stages: 5 3",
        "inside a node",
        "a note",
    ):
        assert words in text


def test_a_refused_layout_says_so_first(setup_for: Callable[..., TrainingSetup]) -> None:
    plan = plan_of(setup_for(Layout(tp=3)))
    assert plan_text(plan).splitlines()[2].startswith("cannot be: tp=3 does not divide 8 heads")
    assert plan_data(plan)["legal"] is False


def test_one_process_has_one_column_and_sends_nothing(setup_for: Callable[..., TrainingSetup]) -> None:
    text = plan_text(plan_of(setup_for(adapter_rank=8, weights="bfloat16")))
    assert "trained in an adapter" in text
    assert "each" in text
    assert text.splitlines()[-2] == "nothing is sent between processes"
    assert "pipeline" not in text


def test_the_data_can_be_written_as_json(setup_for: Callable[..., TrainingSetup]) -> None:
    data = json.loads(json.dumps(plan_data(plan_of(setup_for(Layout(dp_replicate=2))))))
    assert data["peak"] == max(one["peak"] for one in data["memory"])
    assert data["layout"]["dp_replicate"] == 2
    assert data["legal"] is True
    assert data["traffic"][0]["dimension"] == "dp_replicate"


def test_a_list_of_layouts(setup_for: Callable[..., TrainingSetup]) -> None:
    setup = setup_for(device="cuda")
    found = fitting_layouts(setup, Layout(), room=24e9, ranks=2, hardware=Hardware())
    lines = fit_text(found, 24e9, 2).splitlines()
    assert lines[0] == f"{len(found)} layouts fit 2 processes of 24.0 GB, the quickest first"
    assert lines[2].split() == ["peak", "waits", "speed", "overrides"]
    assert "parallel." in lines[3]
    assert fitting_data(found)[0]["overrides"] == found[0].overrides
    assert "no layout fits one process of 1.0 GB" in fit_text([], 1e9, 1)
