from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

from forge.plan.arithmetic import arithmetic
from forge.plan.layout import Layout
from forge.plan.memory import pipeline_memory
from forge.plan.picture import plan_svg
from forge.plan.report import RunPlan

if TYPE_CHECKING:
    from collections.abc import Callable

    from forge.plan.setup import TrainingSetup


def drawn(setup: TrainingSetup, name: str = "demo/tiny", per_node: int = 4) -> ET.Element:
    plan = RunPlan(name, setup, [], pipeline_memory(setup), [], arithmetic(setup))
    return ET.fromstring(plan_svg(plan, per_node))  # noqa: S314 - what forge has drawn itself


def texts(root: ET.Element) -> list[str]:
    return [element.text or "" for element in root.iter() if element.tag.endswith("text")]


def boxes(root: ET.Element) -> list[dict[str, str]]:
    return [element.attrib for element in root.iter() if element.tag.endswith("rect")]


@pytest.mark.parametrize(
    "layout",
    [
        {},
        {"pp": 2, "pp_schedule": "1f1b", "microbatches": 8, "tp": 2},
        {"pp": 4, "pp_schedule": "zbv", "microbatches": 8, "stages_per_rank": 2},
        {"pp": 4, "pp_schedule": "interleaved_1f1b", "microbatches": 64, "stages_per_rank": 2},
        {"dp_replicate": 16, "dp_shard": 16, "zero_stage": 3},
    ],
)
def test_everything_is_inside_the_page(setup_for: Callable[..., TrainingSetup], layout: dict[str, Any]) -> None:
    root = drawn(setup_for(Layout(**layout)))
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    for box in boxes(root)[1:]:
        assert float(box["x"]) >= 0
        assert float(box["x"]) + float(box["width"]) <= width
        assert float(box["y"]) + float(box["height"]) <= height


def test_every_process_and_every_piece_of_work_is_there(setup_for: Callable[..., TrainingSetup]) -> None:
    root = drawn(setup_for(Layout(pp=2, pp_schedule="1f1b", microbatches=8, tp=2)))
    classes = [box["class"] for box in boxes(root)]
    assert len([name for name in classes if re.fullmatch(r"s\d", name)]) == 4
    assert len([name for name in classes if re.fullmatch(r"w[FB]0", name)]) == 2 * 16 + 2  # and the legend
    assert {"node 0", "pp0 tp0", "pp1 tp1", "Mesh", "Memory of a process"} <= set(texts(root))


def test_stages_are_as_long_as_their_layers(setup_for: Callable[..., TrainingSetup]) -> None:
    pipeline: dict[str, Any] = {"pp": 2, "pp_schedule": "gpipe", "microbatches": 2, "stage_layers": [2, 6]}
    root = drawn(setup_for(Layout(**pipeline), {"vocab_size": 8}))
    widths = {}
    for box in root.iter():
        titles = [element.text or "" for element in box if element.tag.endswith("title")]
        for title in (title for title in titles if title.startswith("forward")):
            widths[title.partition(" layers")[0]] = float(box.attrib["width"]) + 1
    assert widths.keys() == {"forward, stage 0 of 2", "forward, stage 1 of 6"}
    assert widths["forward, stage 1 of 6"] == pytest.approx(3 * widths["forward, stage 0 of 2"], rel=0.05)


def test_very_many_processes_are_summed_up(setup_for: Callable[..., TrainingSetup]) -> None:
    root = drawn(setup_for(Layout(dp_replicate=16, dp_shard=16, zero_stage=3)), per_node=8)
    assert "and 192 more processes in the same order" in texts(root)


def test_a_name_cannot_break_out_of_its_place(setup_for: Callable[..., TrainingSetup]) -> None:
    root = drawn(setup_for(), name='</text><script>alert(1)</script>"&')
    assert not [element for element in root.iter() if element.tag.endswith("script")]
    assert any("<script>" in text for text in texts(root))


def test_there_are_colours_for_light_and_dark_pages(setup_for: Callable[..., TrainingSetup]) -> None:
    style = next(element.text or "" for element in drawn(setup_for()).iter() if element.tag.endswith("style"))
    assert "prefers-color-scheme: dark" in style
