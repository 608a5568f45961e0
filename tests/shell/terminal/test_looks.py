"""What is seen: the toolbar, colours on light and dark, terminals that can do less, the pager, other sizes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from screens import ENTER, ctrl

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Open

# What either a light or a dark ground would hide, and grounds that do not follow the user's own.
HIDDEN = {"white", "black", "brown", "blue", "brightwhite", "brightblack", "brightyellow", "brightbrown", "brightblue"}


def test_the_toolbar_tells_what_is_worked_on_and_how_it_is(opened: Open, project: Path) -> None:
    terminal = opened(columns=100)
    terminal.until(re.compile(r"^ demo · tiny · ✓ 1 warning +Tab: complete  F4: emacs  Ctrl-D: leave$", re.MULTILINE))
    terminal.run("config other").until("demo · other · ✓")
    terminal.run("set mode=slow trainer.max_steps=3").until("demo · other · 2 pending · ✓")
    path = project / "configs" / "other.yaml"
    good = path.read_text()
    path.write_text(good + "size: {_target_: builtins.dcit}\n")
    terminal.until("✗ 1 error", 10)
    assert "check: why" in terminal.text
    path.write_text("a: [")
    terminal.until("✗ does not compose", 10)
    path.write_text(good)
    terminal.until("✓", 10).resize(40, 24)
    terminal.until(lambda seen: "Tab: complete" not in seen.text and "2 pending · ✓" in seen.text)


def test_colours_can_be_read_on_light_and_dark(opened: Open) -> None:
    terminal = opened(columns=100, lines=60)
    terminal.until("✓")
    seen = terminal.colours()
    for line in ("show", "code --target trainer", "graph", "why mode", "shwo", "diff other", "set mode=slow", "ls"):
        terminal.run(line)
        seen |= terminal.colours()
    terminal.type("set trainer.")
    terminal.until(lambda now: now.listed)
    seen |= terminal.colours()
    assert {"default", "green", "red", "magenta", "cyan"} <= seen
    assert not seen & HIDDEN
    assert {cell.bg for row in terminal.screen.buffer.values() for cell in row.values()} <= {"default", "767676"}


def test_no_color_leaves_no_colour_and_still_tells_things_apart(opened: Open) -> None:
    terminal = opened(NO_COLOR="1")
    terminal.until("✓").run("show --path size").run("shwo").run("graph").type("set trainer.")
    terminal.until(lambda seen: seen.listed).send("\t")
    terminal.until(lambda seen: any(cell.reverse for cell in seen.cells(" max_steps= ")))
    assert terminal.colours() == {"default"}
    assert all(cell.bold for cell in terminal.cells("forge:demo>"))


def test_a_dumb_terminal_gets_plain_lines(opened: Open) -> None:
    terminal = opened(TERM="dumb")
    terminal.run("config other").run("show --path trainer.max_steps").run("shwo")
    assert "\x1b" not in terminal.raw
    assert terminal.rows[1:6] == [
        "forge:demo> config other",
        "forge:demo [other.yaml]> show --path trainer.max_steps",
        "200",
        "forge:demo [other.yaml]> shwo",
        "error: there is no verb 'shwo'",
    ]
    terminal.send(ctrl("d"))
    assert terminal.ended() == 0


def test_only_what_is_taller_than_the_screen_is_paged(opened: Open) -> None:
    terminal = opened(lines=50)
    terminal.run("show")
    assert "layers: 2" in terminal.text
    assert "hunter2" not in terminal.text
    terminal = opened(lines=12)
    terminal.type("show").send(ENTER)
    terminal.until(lambda seen: seen.rows[-1].startswith("q goes back") and seen.rows[0] == "size:").send("G")
    terminal.until("title: run-").send("q")
    terminal.prompt().run("show --path mode")
    assert "fast" in terminal.text


def test_a_line_longer_than_the_screen_and_a_paste_of_several(opened: Open) -> None:
    terminal = opened(columns=40)
    terminal.run("set trainer.title=" + "x" * 60)
    terminal.run("overrides")
    assert "x" * 60 in "".join(terminal.rows)
    terminal.paste("unset --all\nset mode=slow\nshow --path mode")
    terminal.until(lambda seen: seen.before_cursor.rstrip().endswith("--path mode")).send(ENTER)
    terminal.until(re.compile("^slow$", re.MULTILINE))
    terminal.prompt().run("overrides")
    assert "mode=slow" in terminal.text
