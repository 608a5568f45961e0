from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import yaml

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Editor, Run


@pytest.mark.parametrize("name", ["show", "pp"])
def test_the_whole_config_is_printed_as_yaml(run: Run, name: str) -> None:
    done = run(name)
    assert (done.code, done.errors) == (0, "")
    found = yaml.safe_load(done.out)
    assert found["trainer"]["title"] == "run-${mode}"
    assert found["size"] == {"_target_": "builtins.dict", "dim": 8, "layers": 2}


def test_what_is_resolved_has_no_references_left(run: Run) -> None:
    done = run("show", "--resolve", "--path", "trainer.title", "mode=slow")
    assert done.out == "run-slow\n"


def test_each_line_says_where_it_comes_from(run: Run) -> None:
    lines = run("show", "--origins").out.splitlines()
    assert any(line.startswith("  dim: 8 ") and line.endswith("# configs/size/small.yaml:3") for line in lines)


def test_a_part_is_shown_alone(run: Run) -> None:
    assert run("show", "--path", "size.dim").out == "8\n"
    assert yaml.safe_load(run("show", "--path=size").out) == {"_target_": "builtins.dict", "dim": 8, "layers": 2}


def test_the_config_is_data_for_programs(run: Run) -> None:
    assert json.loads(run("show", "--json", "--path", "size").out)["layers"] == 2
    assert json.loads(run("show", "--json").out)["trainer"]["size"] == "${size}"


def test_an_override_and_a_flag_of_the_config_change_it(run: Run) -> None:
    words = ["show", "--path", "trainer", "--max-steps", "7", "mode=slow", "+trainer.x=1", "--resolve"]
    assert yaml.safe_load(run(*words).out) == {
        "_target_": "builtins.dict",
        "size": "${size}",  # an object that is shared stays one object
        "max_steps": 7,
        "title": "run-slow",
        "x": 1,
    }


def test_the_result_goes_to_a_file_that_forge_reads_back(run: Run, project: Path, editor: Editor) -> None:
    shown = run("show").out
    assert run("show", "-o", "configs/copy.yaml") == (0, "", "")
    assert (project / "configs" / "copy.yaml").read_text() == shown
    assert run("-t", "copy", "show").out == shown
    assert run("show", "--edit").out == ""
    assert editor.text == shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--path", "trainer.max_step"], "did you mean 'trainer.max_steps'?"),
        (["--path", ""], "--path needs KEY, not an empty text"),
        (["--path", "["], "tiny has no value '['"),
        (["--format", "json"], "show has no flag '--format'"),
        (["nosuch=1"], "the config has no key 'nosuch'"),
        (["other"], "forge -t other show"),
    ],
)
def test_a_mistake_is_named(run: Run, words: list[str], message: str) -> None:
    done = run("show", *words)
    assert (done.code, done.out) == (2, "")
    assert message in done.errors


def test_a_secret_is_masked_in_every_form(run: Run) -> None:
    for words in ([], ["--json"], ["--resolve"], ["--origins"], ["--path", "api_key"], ["--json", "--path=api_key"]):
        done = run("show", *words)
        assert done.code == 0
        assert "hunter2" not in done.out + done.errors


def test_outside_of_every_project_the_one_of_forge_is_shown(run: Run, empty: Path) -> None:
    done = run("show", "--path", "optimizer._target_", cwd=empty)
    assert (done.code, done.out) == (0, "torch.optim.AdamW\n")
