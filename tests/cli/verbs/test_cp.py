from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Editor, Run

REMARK = "# Copied from optimizer/adamw of forge's library (version "


def test_a_config_of_the_library_comes_home_and_says_where_from(run: Run, project: Path) -> None:
    done = run("cp", "optimizer/adamw", ".")
    assert done == (0, "configs/optimizer/adamw.yaml\n", "")
    lines = (project / "configs" / "optimizer" / "adamw.yaml").read_text().splitlines()
    assert lines[0].startswith("# AdamW as large models")
    assert lines[1] == ""
    assert lines[2].startswith(REMARK)
    assert lines[3] == "_target_: torch.optim.AdamW"
    (project / "configs" / "uses.yaml").write_text("defaults: [/optimizer: adamw, _self_]\n")
    why = run("-t", "uses", "why", "optimizer.lr").out
    assert "configs/optimizer/adamw.yaml:" in why


def test_what_is_there_stays_unless_it_is_to_go(run: Run, project: Path) -> None:
    file = project / "configs" / "optimizer" / "adamw.yaml"
    file.parent.mkdir()
    file.write_text("mine: 1\n")
    done = run("cp", "optimizer/adamw.yaml", ".")
    assert done.code == 2
    assert "configs/optimizer/adamw.yaml is there already\n  add --force to replace it" in done.errors
    assert file.read_text() == "mine: 1\n"
    assert run("cp", "optimizer/adamw", ".", "--force").code == 0
    assert REMARK in file.read_text()


def test_other_folders_and_files_are_taken_too(run: Run, empty: Path, editor: Editor) -> None:
    assert run("cp", "optimizer/adamw", str(empty)).code == 0
    assert (empty / "optimizer" / "adamw.yaml").is_file()
    assert run("cp", "optimizer/adamw", str(empty / "other.yaml"), "--edit").code == 0
    assert REMARK in editor.text


def test_what_cannot_be_copied_is_said(run: Run, empty: Path) -> None:
    assert "did you mean 'optimizer/adamw'?" in run("cp", "optimizer/adamww", ".").errors
    assert "size/small is a config of the project demo itself" in run("cp", "size/small", ".").errors
    assert "there is no folder 'none'" in run("cp", "optimizer/adamw", "none").errors
    assert run("cp", "optimizer/adamw", ".", cwd=empty).code == 0
