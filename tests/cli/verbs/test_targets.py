from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Editor, Run


def test_every_object_is_listed_and_the_main_one_is_marked(run: Run) -> None:
    assert run("targets") == (0, "  size     builtins.dict\n* trainer  builtins.dict\n", "")


def test_the_list_is_data_for_programs(run: Run) -> None:
    size, trainer = json.loads(run("targets", "--json").out)
    assert size == {"key": "size", "target": "builtins.dict", "main": False}
    assert trainer["main"]


def test_every_listed_target_is_taken_by_the_verbs_that_take_one(run: Run) -> None:
    for target in json.loads(run("targets", "--json").out):
        for verb in ("graph", "code", "build"):
            assert run(verb, "--target", target["key"]).code == 0


def test_a_config_of_plain_values_has_none(run: Run, project: Path) -> None:
    (project / "configs" / "plain.yaml").write_text("a: 1\n")
    assert run("-t", "plain", "targets").out == "the config describes no objects, only values\n"
    assert json.loads(run("-t", "plain", "targets", "--json").out) == []


def test_the_result_goes_to_a_file_or_to_the_editor(run: Run, project: Path, editor: Editor) -> None:
    shown = run("targets").out
    assert run("targets", "-o", "targets.txt").out == ""
    assert (project / "targets.txt").read_text() == shown
    assert run("targets", "-e").code == 0
    assert editor.text == shown


def test_an_override_counts_and_a_word_does_not(run: Run) -> None:
    assert "trainer.more" in run("targets", "+trainer.more={_target_:builtins.list}").out
    assert run("targets", "size").code == 2


def test_outside_of_every_project_the_one_of_forge_is_listed(run: Run, empty: Path) -> None:
    done = run("targets", cwd=empty)
    assert done.code == 0
    assert "torch.optim.AdamW" in done.out
