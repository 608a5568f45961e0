"""What a person does at the prompt: open, type, complete, give up, leave."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import pytest
from screens import BACKSPACE, DOWN, ENTER, ESCAPE, F4, RIGHT, TAB, UP, ctrl

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Open


def test_it_opens_says_how_to_go_on_and_ctrl_d_leaves(opened: Open, project: Path) -> None:
    terminal = opened()
    assert re.fullmatch(r"forge \S+: `help` lists the verbs, Tab completes, Ctrl-D leaves\.", terminal.rows[0])
    assert terminal.rows[1] == "forge:demo>"
    terminal.send(ctrl("d"))
    assert terminal.ended() == 0
    assert opened("-p", str(project), "-t", "other", folder=project.parent).rows[1] == "forge:demo [other.yaml]>"


def test_ctrl_c_gives_up_a_line_and_an_empty_line_does_nothing(opened: Open) -> None:
    terminal = opened()
    terminal.type("show --path mo").send(ctrl("c"))
    terminal.prompt().send(ENTER)
    # Its own prompt is empty, too: what is typed before the next one is there would be shown as it comes.
    terminal.until(lambda seen: seen.rows[2:4] == ["forge:demo>"] * 2).run("show --path mode")
    assert terminal.rows[1:6] == [
        "forge:demo> show --path mo",
        "forge:demo>",
        "forge:demo> show --path mode",
        "fast",
        "forge:demo>",
    ]
    terminal.type("exit").send(ENTER)
    assert terminal.ended() == 0


def test_ctrl_c_ends_a_program_and_not_the_shell(opened: Open) -> None:
    terminal = opened()
    terminal.type("! echo be''gun; exec sleep 60").send(ENTER)
    terminal.until("begun").send(ctrl("c"))
    terminal.prompt(5)
    assert terminal.rows[2:5] == ["begun", "^C", "forge:demo>"]
    terminal.run("pwd")
    assert "project demo, config tiny" in terminal.text


def test_a_mistake_suggests_what_was_meant(opened: Open) -> None:
    terminal = opened()
    terminal.run("shwo")
    assert "error: there is no verb 'shwo'\n  did you mean 'show'?" in terminal.text
    assert {cell.fg for cell in terminal.cells("error:")} == {"red"}
    terminal.run("show trainer.max_stps=1")
    assert "did you mean 'max_steps'?" in terminal.text
    terminal.run("config othr")
    assert "did you mean 'other'?" in terminal.text
    terminal.type("shwo")
    terminal.until(lambda seen: {cell.fg for cell in seen.cells("shwo")} == {"red"})


def test_the_list_says_what_each_item_means(opened: Open) -> None:
    terminal = opened(columns=100)
    terminal.until("✓")
    for typed, said in {
        "che": ["check", "find every mistake in a config without running it"],
        "config ": ["other", "tiny", "default"],
        "set si": ["size=", "group, now small"],
        "set size=": ["large", "Twenty layers.", "small", "now, Two layers."],
        "set trainer.": ["max_steps=", "100, int, configs/tiny.yaml:15"],
        "set mode=": ["slow", "fast", "now, str, configs/tiny.yaml:9"],
        "show --pa": ["--path", "show this part only, as a dotted path"],
        "train --mo": ["--mode", "How to run. (sets mode; one of fast, slow"],
        "train --mode ": ["fast", "slow"],
        "graph --focus ": ["size", "builtins.dict", "trainer"],
        "edit ": ["configs/size/small.yaml", "project"],
        "show -o ": ["configs/", "README.md", "B"],
        "cd ": ["configs/"],
        "help un": ["unset", "take back what was set"],
    }.items():
        terminal.type(typed)
        terminal.until(lambda seen, said=said: all(text in "\n".join(seen.listed) for text in said), 10)
        terminal.send(ctrl("c"))
        terminal.prompt()


def test_the_list_is_fuzzy_and_ranked_by_use(opened: Open) -> None:
    terminal = opened("-t", "other")
    terminal.type("set trainer.mxst")
    terminal.until(lambda seen: seen.listed and seen.listed[0].startswith("max_steps=")).send(TAB)
    terminal.until("set trainer.max_steps=").send(ctrl("c"))
    terminal.prompt().type("config ")
    terminal.until(lambda seen: seen.listed == ["other", "tiny   default"]).send(ctrl("c"))
    terminal.prompt().run("config tiny").type("config ")
    terminal.until(lambda seen: seen.listed == ["tiny   default", "other"])


def test_enter_takes_what_tab_chose_and_runs_nothing_yet(opened: Open) -> None:
    terminal = opened()
    terminal.type("config ")
    terminal.until(lambda seen: seen.listed).send(TAB + TAB)
    terminal.until("config tiny").send(ENTER)
    terminal.until(lambda seen: not seen.listed)
    assert terminal.before_cursor.endswith("forge:demo> config tiny")
    terminal.send(ENTER)
    assert terminal.prompt().before_cursor.endswith("forge:demo [tiny.yaml]> ")
    # Of a list with one line Tab leaves nothing to choose, and what is written goes on with what may follow.
    terminal.type("set trai")
    terminal.until(lambda seen: seen.listed).send(TAB)
    terminal.until("max_steps=").type("ma")
    terminal.until(lambda seen: len(seen.listed) == 1).send(TAB + "7" + ENTER)
    terminal.prompt().run("overrides")
    assert "\ntrainer.max_steps=7\n" in terminal.text


def test_the_end_of_an_earlier_line_is_suggested_and_found_again(opened: Open) -> None:
    terminal = opened()
    terminal.run("show --path trainer.title").run("pwd")
    terminal.type("show")
    # The earlier line, and the suggestion.
    terminal.until(lambda seen: seen.text.count("show --path trainer.title") == 2)
    assert {cell.fg for cell in terminal.cells("--path trainer.title")} == {"767676"}
    terminal.send(RIGHT)
    terminal.until(lambda seen: seen.before_cursor.endswith("show --path trainer.title")).send(ctrl("c"))
    terminal.prompt().remembers("pwd").send(UP)
    terminal.until(lambda seen: seen.before_cursor.endswith("> pwd")).send(UP)
    terminal.until(lambda seen: seen.before_cursor.endswith("trainer.title")).send(DOWN)
    terminal.until(lambda seen: seen.before_cursor.endswith("> pwd")).send(ctrl("c"))
    terminal.prompt().send(ctrl("r"))
    terminal.type("tit")
    terminal.until("reverse-i-search").send(ENTER)
    terminal.until(lambda seen: "i-search" not in seen.text).send(ENTER)
    assert terminal.prompt().text.count("run-${mode}") == 2


def test_vi_keys_from_the_settings_and_by_f4(opened: Open, user: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "settings.yaml").write_text("shell: {keys: vi}\n")
    assert user["FORGE_CONFIG_HOME"] == str(tmp_path / "config")
    terminal = opened(columns=100).until("F4: vi")
    terminal.type("pwdd").send(ESCAPE)
    terminal.until("F4: vi, normal mode").send("x")
    terminal.until(lambda seen: seen.rows[1] == "forge:demo> pwd").send("0iba" + BACKSPACE * 2 + ENTER)
    terminal.prompt().send(F4)
    terminal.until("F4: emacs").type("wd").send(ctrl("a") + "p" + ENTER)
    assert terminal.prompt().text.count("project demo, config tiny") == 2


_PROGRAM = """
import sys, threading
import forge.cli.completion as completion
asked = completion.complete
def complete(words, *more):
    if "hang" in words: threading.Event().wait(60)
    if "crash" in words: raise RuntimeError("boom")
    return asked(words, *more)
completion.complete = complete
from forge.__main__ import entry
entry()
"""


@pytest.mark.parametrize(("word", "told"), [("hang", "no answer within 2 s"), ("crash", "RuntimeError: boom")])
def test_a_completer_that_fails_stops_nobody(opened: Open, word: str, told: str) -> None:
    terminal = opened(command=(sys.executable, "-c", _PROGRAM), columns=120)
    terminal.type(f"pwd {word}").send(TAB)
    terminal.type(" x", 1.0)
    terminal.until(told).send(ctrl("u") + "pwd" + ENTER)
    terminal.prompt(5)
    assert "project demo, config tiny" in terminal.text
    assert told not in terminal.text
    terminal.type("over")
    terminal.until("list what is set")
