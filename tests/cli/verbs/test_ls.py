from __future__ import annotations

import json
from typing import TYPE_CHECKING

import forge
from forge.cli.verbs.ls import _text

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Editor, Run

SHIPPED = ["llamafactory", "nanotron", "nebius", "pydoc", "samantha", "torchtune_70b"]


def test_every_config_has_a_line_with_its_description(run: Run) -> None:
    done = run("ls")
    assert (done.code, done.errors) == (0, "")
    first, *lines = done.out.splitlines()
    assert first.startswith("demo: A small project.  (")
    assert lines == ["   other  Another config.", " * tiny   A tiny config."]


def test_a_long_description_stays_beside_its_name_on_a_screen(project: Path) -> None:
    (project / "configs" / "tiny.yaml").write_text(f"meta: {{description: {'word ' * 30}}}\n")
    handle = forge.open(project)
    (project / "configs" / "other.yaml").unlink()
    _title, *shown = _text(handle, handle.configs(), 60).splitlines()
    assert shown[0].startswith(" * tiny  word")
    assert {line[:14] for line in shown[1:]} == {"         word "}
    assert max(map(len, shown)) <= 60
    assert len(_text(handle, handle.configs(), None).splitlines()) == 2


def test_what_is_broken_is_marked_with_its_place(run: Run, project: Path) -> None:
    (project / "configs" / "bad.yaml").write_text("defaults: [{size: smal}]\n")
    done = run("ls")
    assert done.code == 0
    line = next(line for line in done.out.splitlines() if line.split()[0] == "bad")
    assert "broken: configs/bad.yaml:1" in line


def test_the_list_is_data_for_programs(run: Run, project: Path) -> None:
    (project / "configs" / "bad.yaml").write_text("a: [\n")
    (found,) = json.loads(run("ls", "--json").out)
    assert (found["project"], found["folder"]) == ("demo", str(project))
    bad, other, tiny = found["configs"]
    assert tiny == {"name": "tiny", "description": "A tiny config.", "default": True, "problem": ""}
    assert not other["default"]
    assert bad["problem"].startswith("configs/bad.yaml:")


def test_with_r_every_project_below_is_listed_and_those_of_forge(run: Run, project: Path) -> None:
    (project.parent / "second").mkdir()
    (project.parent / "second" / "project.yaml").write_text("name: second\n")
    found = json.loads(run("ls", "-r", "--json", cwd=project.parent).out)
    assert [one["project"] for one in found] == ["demo", "second", *SHIPPED]


def test_with_r_a_chosen_project_is_where_the_search_begins(run: Run, project: Path, empty: Path) -> None:
    by_folder = json.loads(run("-p", str(project.parent), "ls", "-r", "--json", cwd=empty).out)
    assert [one["project"] for one in by_folder] == ["demo", *SHIPPED]
    by_name = json.loads(run("-p", "demo", "ls", "--recursive", "--json", cwd=project.parent).out)
    assert [one["project"] for one in by_name] == ["demo", *SHIPPED]


def test_with_r_a_project_that_is_not_there_is_a_mistake(run: Run) -> None:
    done = run("-p", "nosuch", "ls", "-r")
    assert (done.code, done.out) == (2, "")
    assert "there is no project 'nosuch'" in done.errors


def test_a_project_without_configs_says_how_to_make_one(run: Run, empty: Path) -> None:
    (empty / "project.yaml").write_text("name: bare\n")
    assert "`forge new config NAME` makes one" in run("ls", cwd=empty).out


def test_outside_of_every_project_the_one_of_forge_is_listed(run: Run, empty: Path) -> None:
    done = run("ls", cwd=empty)
    assert done.code == 0
    assert done.out.startswith("pydoc: ")
    assert " * pretrain/tiny " in done.out


def test_the_list_goes_to_a_file_or_to_the_editor(run: Run, project: Path, editor: Editor) -> None:
    shown = run("ls").out
    assert run("ls", "-o", "list.txt").out == ""
    assert (project / "list.txt").read_text() == shown
    assert run("ls", "-e").code == 0
    assert editor.text == shown


def test_ls_takes_no_words_and_no_overrides(run: Run) -> None:
    assert "ls does not know what to do with 'mode=slow'" in run("ls", "mode=slow").errors
    assert run("ls", "tiny").code == 2
