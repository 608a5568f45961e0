"""Choosing, changing, keeping, opening: what the lines of a shell do to one another, and what other processes do meanwhile."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from screens import ENTER, UP, ctrl

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Open


def test_changes_are_made_undone_made_again_and_kept(opened: Open, project: Path) -> None:
    terminal = opened(lines=40)
    terminal.run("set mode=slow trainer.max_steps=7").run("set size=large").run("undo")
    assert "project demo, config tiny, 2 pending" in terminal.text
    terminal.run("redo").run("unset mode").run("overrides")
    assert terminal.text.split("overrides\n")[1].startswith("trainer.max_steps=7\nsize=large\n")
    terminal.run("diff")
    assert "100 → 7" in terminal.text
    terminal.run("save-as longer").run("config longer").until("demo · longer · ✓")
    assert "forge:demo [longer.yaml]>" in terminal.text
    terminal.run("show --path trainer.max_steps")
    assert terminal.rows[terminal.row_of("max_steps") + 1] == "7"
    written = (project / "configs" / "longer.yaml").read_text()
    assert "override /size: large" in written
    assert "max_steps: 7" in written


def test_a_line_sees_the_files_as_another_process_left_them(opened: Open, project: Path) -> None:
    terminal = opened()
    path = project / "configs" / "tiny.yaml"
    terminal.run("show --path mode")
    path.write_text(path.read_text().replace("mode: fast", "mode: slow"))
    terminal.run("show --path mode")
    assert [row for row in terminal.rows if row in {"fast", "slow"}] == ["fast", "slow"]
    (project / "configs" / "size" / "huge.yaml").write_text("# Two hundred layers.\n_target_: builtins.dict\ndim: 1\n")
    terminal.run("show --path size.dim size=huge")
    for _ in range(20):  # a list that is open stays as it is
        terminal.type("set size=")
        terminal.until(lambda seen: len(seen.listed) > 1)
        if "Two hundred layers." in terminal.text:
            break
        terminal.send(ctrl("c"))
        terminal.prompt()
    assert terminal.listed[0].startswith("huge")


def test_files_are_picked_from_a_list_and_opened(opened: Open, tmp_path: Path) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nprintf "opened %s\\n" "$@"\n')
    editor.chmod(0o755)
    terminal = opened(columns=120, lines=60, EDITOR=str(editor))
    terminal.type("edit").send(ENTER)
    terminal.until("type to filter").send("small")
    terminal.until(lambda seen: "configs/tiny.yaml" not in seen.text).send(" " + ctrl("u"))
    terminal.until("configs/tiny.yaml").send("tiny")
    terminal.until("> ").send(" " + ENTER)
    terminal.prompt()
    opened_files = [row for row in terminal.rows if row.startswith("opened ")]
    assert [os.path.basename(row) for row in opened_files] == ["tiny.yaml", "small.yaml"]
    assert "type to filter" not in terminal.text
    terminal.run("edit 1-2")
    assert len([row for row in terminal.rows if row.startswith("opened ")]) == 4
    terminal.type("edit").send(ENTER)
    terminal.until("type to filter").send("1-2")
    terminal.until("to open: 1-2").send(ENTER)
    assert terminal.prompt().text.count("opened ") == 6
    terminal.run("show --path size -e")
    assert terminal.text.count("opened ") == 7


def test_two_shells_share_their_lines_and_keep_secrets_out(opened: Open, tmp_path: Path) -> None:
    one, other = opened(), opened()
    one.run("show --path mode").run("set api_key=abc123 mode=slow").run(" show --path quiet")
    other.run("pwd")
    one.run("overrides").remembers("pwd").send(UP)
    one.until(lambda seen: seen.before_cursor.endswith("> overrides")).send(UP)
    one.until(lambda seen: seen.before_cursor.endswith("> pwd")).send(UP)
    one.until(lambda seen: seen.before_cursor.endswith("> show --path mode"))
    other.remembers("pwd").send(UP + UP)
    other.until(lambda seen: seen.before_cursor.endswith("> show --path mode"))
    for terminal in (one, other):
        terminal.send(ctrl("c"))
        terminal.prompt()
    for number in range(5):
        for terminal, name in ((one, "a"), (other, "b")):
            terminal.send(f"# line {number} of {name}\r")  # a line that is the last one already would not be kept twice
    for terminal, name in ((one, "a"), (other, "b")):
        terminal.until(lambda seen, name=name: seen.text.count(f"line 4 of {name}") == 1)
        terminal.prompt().type("exit").send(ENTER)
        assert terminal.ended() == 0
    (kept,) = (tmp_path / "data" / "history").glob("demo-*")
    text = kept.read_text()
    assert "abc123" not in text
    assert "quiet" not in text
    assert sorted(line for line in text.splitlines() if line.startswith("# line")) == sorted(
        f"# line {n} of {name}" for n in range(5) for name in "ab"
    )
    assert kept.stat().st_mode & 0o777 == 0o600


def test_a_picture_is_opened_and_the_prompt_stays(opened: Open, tmp_path: Path, project: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    seen = tmp_path / "seen"
    (programs / "xdg-open").write_text(
        f'#!/bin/sh\nprintf "%s" "$1" > {seen}.part; mv {seen}.part {seen}; exec sleep 20\n'
    )
    (programs / "xdg-open").chmod(0o755)
    terminal = opened(DISPLAY=":9", PATH=f"{programs}{os.pathsep}{os.environ['PATH']}", VSCODE_IPC_HOOK_CLI="")
    terminal.run("graph --format svg --open -o graph.svg", 10).run(
        "! until test -s " + str(seen) + "; do sleep 0.05; done", 10
    )
    assert seen.read_text() == str(project / "graph.svg")
    assert (project / "graph.svg").read_text().startswith("<svg")
