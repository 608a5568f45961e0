from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Editor, Run


def test_the_page_has_the_readme_the_configs_and_the_groups(run: Run) -> None:
    done = run("index")
    assert (done.code, done.errors) == (0, "")
    assert done.out.startswith("# demo\n\nA small project.\n\nWhat the demo is about.\n\n## Configs\n")
    assert "| **tiny** (default) | A tiny config. |" in done.out
    assert "| size | large, small |" in done.out
    assert "Details." not in done.out


def test_a_broken_config_is_marked_and_does_not_break_the_table(run: Run, project: Path) -> None:
    (project / "configs" / "bad.yaml").write_text("defaults: [{size: smal}]\n")
    (project / "configs" / "bar.yaml").write_text("meta: {description: 'a | b'}\n")
    out = run("index").out
    assert "| bad | broken: configs/bad.yaml:1" in out
    assert "| bar | a \\| b |" in out


def test_the_page_is_data_for_programs(run: Run) -> None:
    found = json.loads(run("index", "--json").out)
    assert (found["project"], found["readme"]) == ("demo", "What the demo is about.")
    assert found["groups"]["size"] == ["large", "small"]
    assert [config["name"] for config in found["configs"]] == ["other", "tiny"]


def test_a_project_with_nothing_has_a_page_too(run: Run, empty: Path) -> None:
    (empty / "project.yaml").write_text("name: bare\n")
    done = run("index", cwd=empty)
    assert done.code == 0
    assert done.out.startswith("# bare\n\n## Configs\n")


def test_the_page_goes_to_a_file_or_to_the_editor(run: Run, project: Path, editor: Editor) -> None:
    shown = run("index").out
    assert run("index", "-o", "INDEX.md") == (0, "", "")
    assert (project / "INDEX.md").read_text() == shown
    assert run("index", "-e").code == 0
    assert editor.text == shown
    assert editor.names[0].endswith("demo.md")


def test_index_takes_no_words(run: Run) -> None:
    assert run("index", "tiny").code == 2
    assert run("index", "mode=slow").code == 2


def test_outside_of_every_project_the_page_is_that_of_forges_own(run: Run, empty: Path) -> None:
    done = run("index", cwd=empty)
    assert done.code == 0
    assert done.out.startswith("# pydoc\n")
    assert "| **pretrain/tiny** (default) |" in done.out
