from __future__ import annotations

import re

from prompt_toolkit.styles import default_ui_style, merge_styles

from forge.shell.style import STYLE

STYLES = merge_styles([default_ui_style(), STYLE])


def test_only_colours_that_read_on_light_and_dark_are_used() -> None:
    colours = {word for _, style in STYLE.style_rules for word in re.findall(r"(?:ansi\w+|#[0-9a-f]+)", style)}
    assert colours <= {"ansired", "ansigreen", "ansicyan", "ansimagenta", "#777777"}


def test_what_is_chosen_and_what_is_wrong_shows_without_colours() -> None:
    for name in ("completion-menu.completion.current", "completion-menu.meta.completion.current"):
        assert STYLES.get_attrs_for_style_str(f"class:{name}").reverse
    assert STYLES.get_attrs_for_style_str("class:line.open").underline
    assert STYLES.get_attrs_for_style_str("class:line.verb").bold
    assert not STYLES.get_attrs_for_style_str("class:line.unknown").bold
