from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from forge.render.forms import FORMS

if TYPE_CHECKING:
    from conftest import Editor, Run


def test_a_tree_of_objects_is_drawn(run: Run) -> None:
    done = run("graph")
    assert (done.code, done.errors) == (0, "")
    assert done.out.splitlines()[0] == "tiny"
    assert "size → size" in done.out
    assert "title run-fast" in done.out


@pytest.mark.parametrize(
    ("form", "start"),
    [
        ("tree", "tiny\n"),
        ("yaml", "size:\n"),
        ("json", '{\n "forge_graph": 1'),
        ("python", "# Builds the objects"),
        ("dot", "digraph"),
        ("mermaid", "flowchart"),
        ("svg", "<svg"),
        ("html", "<!doctype html>"),
    ],
)
def test_every_form_has_its_own_beginning(run: Run, form: str, start: str) -> None:
    done = run("graph", "--format", form)
    assert (done.code, done.errors) == (0, "")
    assert done.out.lower().startswith(start.lower())


def test_every_form_that_is_offered_is_tested_above() -> None:
    (mark,) = test_every_form_has_its_own_beginning.pytestmark
    assert [form for form, _ in mark.args[1]] == list(FORMS)


def test_json_is_the_json_form(run: Run) -> None:
    done = run("graph", "--json")
    assert done == run("graph", "--format", "json")
    assert json.loads(done.out)["name"] == "tiny"
    assert run("graph", "--json", "--format", "svg") == done


def test_a_part_is_drawn_alone(run: Run) -> None:
    assert run("graph", "--target", "size").out == "tiny:size  dict\n   dim 8 · layers 2\n"


def test_a_node_is_drawn_with_its_neighbours(run: Run) -> None:
    assert "← trainer.size" in run("graph", "--focus", "size").out


def test_what_lies_deeper_is_folded(run: Run) -> None:
    deep = ["+trainer.a={_target_:builtins.dict,b:{_target_:builtins.dict,c:1}}"]
    assert "c 1" in run("graph", *deep).out
    assert "c 1" not in run("graph", *deep, "--depth", "1").out


def test_the_configs_flags_change_the_graph(run: Run) -> None:
    assert "max_steps 3" in run("graph", "-M", "3").out


def test_the_result_goes_to_a_file_or_to_the_editor(run: Run, project: Path, editor: Editor) -> None:
    assert run("graph", "--format", "svg", "-o", "graph.svg") == (0, "", "")
    assert (project / "graph.svg").read_text() == run("graph", "--format", "svg").out
    assert run("graph", "--format", "html", "-e").code == 0
    assert editor.names[0].endswith("tiny.html")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--format", "png"], "--format cannot be 'png'"),
        (["--format", "SVG"], "did you mean 'svg'?"),
        (["--depth", "two"], "--depth needs a whole number, not 'two'"),
        (["--depth", "-1"], "--depth cannot be -1"),
        (["--target", "trainr"], "did you mean 'trainer'?"),
        (["--target="], "--target needs KEY, not an empty text"),
        (["--focus", "trainer.sise"], "did you mean"),
        (["--format", "python", "--depth", "1"], "the python form is always whole"),
        (["--json", "--focus", "size"], "the json form is always whole"),
        (["--links", "file"], "the tree form has no links"),
        (["--format", "html", "--links", "vscode"], "--format svg"),
        (["--format", "svg", "--json", "--links", "file"], "the json form has no links"),
        (["--format", "svg", "--links", "vim"], "--links cannot be 'vim'"),
        (["mode=???"], "'mode' is still ???"),
        (["--open"], "the tree form is text"),
        (["--format", "svg", "--json", "--open"], "the json form is text"),
        (["--format", "svg", "--open", "-o", "nosuch/x"], "nosuch/x"),
    ],
)
def test_a_mistake_is_named(run: Run, words: list[str], message: str) -> None:
    done = run("graph", *words)
    assert (done.code, done.out) == (2, "")
    assert message in done.errors
    assert len(done.errors.splitlines()) <= 3


def test_an_svg_leads_to_the_lines_it_shows(run: Run, project: Path) -> None:
    small = "configs/size/small.yaml"
    assert f'<a href="{small}#L3">' in run("graph", "--format", "svg", "--links", "file").out
    editor = run("graph", "--format", "svg", "--links", "vscode").out
    assert f'<a href="vscode://file{project}/{small}:3:1">' in editor
    assert "<a " not in run("graph", "--format", "svg").out


@pytest.mark.parametrize("columns", ["0", "1", "5", "x", "-1", "100000"])
def test_a_terminal_of_any_width_gets_its_tree(run: Run, columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    done = run("graph")
    assert (done.code, done.errors) == (0, "")
    assert "trainer" in done.out


@pytest.mark.parametrize("form", ["svg", "html"])
def test_without_a_display_the_path_is_said(
    run: Run, project: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    done = run("graph", "--format", form, "--open")
    assert (done.code, done.errors) == (0, "there is no display to open it on\n")
    shown = Path(done.out.strip())
    assert shown.name == f"tiny.{form}"
    assert shown.read_text() == run("graph", "--format", form).out
    assert run("graph", "--format", form, "--open", "-o", "x.out").out == "x.out\n"
    assert (project / "x.out").read_text() == shown.read_text()


def test_a_picture_is_opened_in_the_vs_code_around_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    os.mkfifo(tmp_path / "called")
    code = tmp_path / "bin" / "code"
    code.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/called\n')
    code.chmod(0o755)
    monkeypatch.setenv("TERM_PROGRAM", "vscode")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    done = run("graph", "--format", "svg", "--open")
    assert (done.code, done.errors) == (0, "")
    assert (tmp_path / "called").read_text().splitlines() == ["--reuse-window", done.out.strip()]


def test_outside_of_every_project_the_one_of_forge_is_drawn(run: Run, empty: Path) -> None:
    done = run("graph", cwd=empty)
    assert done.code == 0
    assert done.out.startswith("pretrain/tiny\n")
