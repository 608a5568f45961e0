from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Editor, Run

TREE = """\
tiny  (configs/tiny.yaml, project)
└── size/small  as size  (configs/size/small.yaml, project)
"""


def test_the_files_are_a_tree_that_says_who_named_whom(run: Run) -> None:
    done = run("trefs")
    assert done == (0, TREE, "")


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("files", "configs/tiny.yaml\nconfigs/size/small.yaml\n"),
        ("md", "- [tiny](configs/tiny.yaml)\n  - [size/small](configs/size/small.yaml)\n"),
    ],
)
def test_the_files_are_a_list(run: Run, form: str, text: str) -> None:
    assert run("trefs", "--format", form) == (0, text, "")


def test_the_files_are_a_picture(run: Run) -> None:
    assert '"tiny" -> "size/small";' in run("trefs", "--format=dot").out
    assert run("trefs", "--format=svg").out.startswith("<svg")


def test_the_files_are_data_for_programs(run: Run, project: Path) -> None:
    root, size = json.loads(run("trefs", "--json").out)
    assert (root["config"], root["parent"], root["file"]) == ("tiny", None, str(project / "configs" / "tiny.yaml"))
    assert (size["config"], size["parent"], size["package"], size["depth"]) == ("size/small", "tiny", "size", 1)


def test_an_override_brings_another_file(run: Run) -> None:
    assert "configs/size/large.yaml" in run("trefs", "size=large").out


def test_the_result_goes_to_a_file_or_to_the_editor(run: Run, project: Path, editor: Editor) -> None:
    assert run("trefs", "-o", "files.txt") == (0, "", "")
    assert (project / "files.txt").read_text() == TREE
    assert run("trefs", "-e", "--format", "md").code == 0
    assert editor.names[0].endswith("tiny-files.md")


def test_another_form_is_a_mistake(run: Run) -> None:
    done = run("trefs", "--format", "html")
    assert done == (2, "", "error: --format cannot be 'html'\n  it is one of: tree, files, md, dot, svg\n")


def test_outside_of_every_project_the_files_of_forge_are_shown(run: Run, empty: Path) -> None:
    done = run("trefs", cwd=empty)
    assert done.code == 0
    assert done.out.startswith("pretrain/tiny  (")
    assert "optimizer/adamw  as optimizer" in done.out
