from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from forge.graph.static.signature import Parameter, Signature
from forge.lsp.hover import hover_at, parameter_text, target_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Spot

    from forge.lsp.desk import Desk


def hovered(desk: Desk, demo: Path, where: Spot, name: str = "run.yaml") -> str:
    path = str(demo / "configs" / name)
    desk.show(path, where.text)
    found = hover_at(desk, path, *where)
    return found.text if found is not None else ""


def test_a_target_shows_its_signature_and_docstring(desk: Desk, demo: Path, spot: Callable[[str], Spot]) -> None:
    shown = hovered(desk, demo, spot("a: {_target_: demo_code.Run‸ner}"))
    assert shown.startswith(
        "```python\nclass Runner(size: int, mode: Literal['fast', 'slow'] = 'fast', deep: bool = False)\n```"
    )
    assert "Runs things.\n\nMore about it." in shown
    assert "demo_code.py:6`" in shown


def test_a_choice_shows_its_own_comment(desk: Desk, demo: Path, spot: Callable[[str], Spot]) -> None:
    assert hovered(desk, demo, spot("defaults: [{size: lar‸ge}]")).startswith("Twenty layers.\n\n`")


def test_a_value_shows_its_parameter_and_who_set_it(desk: Desk, demo: Path, spot: Callable[[str], Spot]) -> None:
    text = (demo / "configs" / "run.yaml").read_text()
    shown = hovered(desk, demo, spot(text.replace("mode: slow", "mo‸de: slow")))
    assert "mode: Literal['fast', 'slow'] = 'fast'" in shown
    assert "of `demo_code.Runner`" in shown
    shown = hovered(desk, demo, spot(text.replace("max_steps: 7", "max_steps: 7‸")))
    assert "trainer.max_steps = 7\n" in shown
    assert "tiny.yaml:15" in shown
    assert "100 → 7" in shown


def test_a_reference_shows_who_set_what_it_means(desk: Desk, demo: Path, spot: Callable[[str], Spot]) -> None:
    shown = hovered(desk, demo, spot((demo / "configs" / "run.yaml").read_text().replace("size.dim", "size.d‸im")))
    assert "size.dim = 800" in shown
    assert "size/large.yaml:3" in shown


def test_a_value_in_a_choice_is_shown_at_its_place_in_the_config(
    desk: Desk, demo: Path, spot: Callable[[str], Spot]
) -> None:
    where = spot((demo / "configs" / "size" / "small.yaml").read_text().replace("dim", "di‸m"))
    assert "size.dim = 8" in hovered(desk, demo, where, "size/small.yaml")


def test_a_secret_stays_one(desk: Desk, demo: Path, spot: Callable[[str], Spot]) -> None:
    where = spot((demo / "configs" / "tiny.yaml").read_text().replace("api_key", "api_‸key"))
    shown = hovered(desk, demo, where, "tiny.yaml")
    assert "api_key" in shown
    assert "hunter2" not in shown


@pytest.mark.parametrize("text", ["a: ${nos‸uch}", "defaults: [nos‸uch]", "a: {_target_: x.Nos‸uch}", "‸"])
def test_there_may_be_nothing_to_say(text: str, desk: Desk, demo: Path, spot: Callable[[str], Spot]) -> None:
    assert hovered(desk, demo, spot(text)) == ""


def test_parameters_are_written_as_python_writes_them() -> None:
    plain = Parameter("x", "keyword_only", required=True)
    assert parameter_text(plain) == "x"
    assert parameter_text(plain._replace(default="1")) == "x=1"
    assert parameter_text(plain._replace(annotation="int", default="1")) == "x: int = 1"


def test_a_long_signature_has_a_line_for_each_parameter() -> None:
    many = tuple(Parameter(f"parameter_{number}", "keyword_only", required=True) for number in range(9))
    long = Signature("m.C", many, var_positional=False, var_keyword=False, doc="", file="x.py", line=1, is_class=True)
    assert target_text(long).startswith("```python\nclass C(\n    parameter_0,\n")


def test_a_source_that_is_gone_leaves_the_signature(tmp_path: Path) -> None:
    gone = Signature(
        "m.f",
        (),
        var_positional=True,
        var_keyword=True,
        doc="One line.",
        file=str(tmp_path / "x.py"),
        line=3,
        is_class=False,
    )
    assert target_text(gone).startswith("```python\ndef f(*args, **kwargs)\n```\n\nOne line.\n\n`")
