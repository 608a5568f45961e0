from __future__ import annotations

import pytest
from prompt_toolkit.formatted_text import fragment_list_to_text, fragment_list_width
from prompt_toolkit.styles import default_ui_style, merge_styles

from forge.shell.refresh import CheckState
from forge.shell.style import STYLE
from forge.shell.toolbar import ToolbarFacts, toolbar

OK = CheckState("ok")
DEMO = ToolbarFacts("demo", "tiny", OK)


def text(facts: ToolbarFacts) -> str:
    return fragment_list_to_text(toolbar(facts))


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (DEMO, " demo · tiny · ✓"),
        (DEMO._replace(unicode=False), " demo | tiny | ok"),
        (DEMO._replace(pending=2, jobs=1), " demo · tiny · 2 pending · ✓ · 1 job"),
        (DEMO._replace(jobs=3), " demo · tiny · ✓ · 3 jobs"),
        (DEMO._replace(state=CheckState("errors", 1)), " demo · tiny · ✗ 1 error"),
        (DEMO._replace(state=CheckState("errors", 3), checking=True), " demo · tiny · checking..."),
        (DEMO._replace(state=CheckState("ok", warnings=2)), " demo · tiny · ✓ 2 warnings"),
        (DEMO._replace(state=CheckState("broken", 1)), " demo · tiny · ✗ does not compose"),
        (DEMO._replace(state=CheckState()), " demo · tiny · not checked"),
        (ToolbarFacts("", "", CheckState("none")), " no project · no config"),
        (DEMO._replace(complaint="completion failed: x"), " demo · tiny · ✓ · completion failed: x"),
    ],
)
def test_the_facts_stand_at_the_left(facts: ToolbarFacts, expected: str) -> None:
    assert text(facts._replace(width=40)).startswith(expected)


def test_where_it_is_narrow_the_project_gives_way_since_the_prompt_has_it() -> None:
    facts = ToolbarFacts("samantha", "llama2_7b/1gpu_packed", OK, pending=2)
    assert text(facts._replace(width=60)).startswith(" samantha · llama2_7b/1gpu_packed · 2 pending · ✓")
    assert text(facts._replace(width=40)) == " llama2_7b/1gpu_packed · 2 pending · ✓"


@pytest.mark.parametrize("width", [0, 1, 5, 20, 40, 80, 200])
def test_it_never_needs_a_second_line(width: int) -> None:
    facts = DEMO._replace(width=width, complaint="very long " * 20)
    assert fragment_list_width(toolbar(facts)) <= max(0, width - 1)


def test_the_keys_stand_at_the_right_where_there_is_room() -> None:
    shown = text(DEMO._replace(width=80, keys="vi"))
    assert shown.endswith("Tab: complete  F4: vi  Ctrl-D: leave")
    assert len(shown) == 79
    assert "Tab" not in text(DEMO._replace(width=50))
    assert "check: why" in text(DEMO._replace(width=90, state=CheckState("errors", 1)))


def test_every_style_it_uses_is_there() -> None:
    styles = merge_styles([default_ui_style(), STYLE])
    named = {name.removeprefix("class:") for name, _ in STYLE.style_rules} | {name for name, _ in STYLE.style_rules}
    facts = [
        DEMO._replace(state=state, pending=1, jobs=1, complaint="x", width=200)
        for state in (OK, CheckState("broken"), CheckState("none"))
    ]
    used = {part[0].removeprefix("class:") for one in facts for part in toolbar(one)} - {"toolbar"}
    assert used <= named
    assert styles.get_attrs_for_style_str("class:toolbar.errors").bold
