from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Run

MODULE = """\
class Weight:
    def numel(self) -> int:
        return 617


class Model:
    def state_dict(self) -> dict:
        return {}

    def parameters(self) -> list:
        return [Weight(), Weight()]

    def __repr__(self) -> str:
        return "a model"
"""


def test_the_main_object_is_built_and_printed(run: Run) -> None:
    text = "trainer: dict\n{'size': {'dim': 8, 'layers': 2}, 'max_steps': 100, 'title': 'run-fast'}\n"
    assert run("build") == (0, text, "")


def test_a_part_is_built_with_the_changes_of_the_line(run: Run) -> None:
    assert run("build", "--target", "size", "size=large").out == "size: dict\n{'dim': 800, 'layers': 20}\n"


def test_a_part_may_be_named_without_a_flag(run: Run) -> None:
    assert run("build", "size", "size=large") == run("build", "--target", "size", "size=large")


def test_what_was_built_is_described_for_programs(run: Run) -> None:
    found = json.loads(run("build", "--json", "--target", "size").out)
    assert found == {"target": "size", "type": "dict", "repr": "{'dim': 8, 'layers': 2}"}


def test_the_result_goes_to_a_file(run: Run, project: Path) -> None:
    shown = run("build").out
    assert run("build", "-o", "built.txt") == (0, "", "")
    assert (project / "built.txt").read_text() == shown


@pytest.mark.parametrize("secret", ["hunter2", "a'b\\nc", "12345"])
def test_a_secret_is_masked_in_what_an_object_shows(run: Run, project: Path, secret: str) -> None:
    text = f"trainer:\n  _target_: builtins.dict\n  api_key: {json.dumps(secret)}\n  login: me:${{trainer.api_key}}\n"
    (project / "configs" / "secret.yaml").write_text(text)
    done = run("-t", "secret", "build")
    assert (done.code, done.errors, done.out.count("********")) == (0, "", 2)
    assert secret not in done.out
    assert repr(secret)[1:-1] not in done.out
    failed = run("-t", "secret", "build", "trainer._target_=builtins.int", "~trainer.login")
    assert failed.code == 1
    assert secret not in failed.errors


def test_a_long_text_is_cut(run: Run) -> None:
    done = run("build", f"+trainer.long={'x' * 3000}")
    assert done.out.endswith("x ...\n")
    assert len(done.out) < 2100


def test_an_object_that_fails_is_a_failed_job_with_its_place(run: Run, project: Path) -> None:
    (project / "configs" / "fails.yaml").write_text("trainer: {_target_: datetime.timedelta, dayz: 1}\n")
    done = run("-t", "fails", "build")
    first, second, third = done.errors.splitlines()
    assert (done.code, done.out) == (1, "")
    assert first.startswith("error: building trainer failed: TypeError: ")
    assert "configs/fails.yaml:1" in second
    assert "--debug" in third
    shown = run("--debug", "-t", "fails", "build")
    assert shown.code == 1
    assert "Traceback" in shown.errors


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trainer: {_target_: os.system, command: ls}\n", "os.system"),
        ("trainer: {_target_: math.sine, _args_: [1]}\n", "math.sine"),
        ("trainer: {_target_: builtins.dict, size: '???'}\n", "trainer.size"),
    ],
)
def test_what_cannot_be_built_is_the_users_mistake(run: Run, project: Path, text: str, message: str) -> None:
    (project / "configs" / "wrong.yaml").write_text(text)
    done = run("-t", "wrong", "build")
    assert (done.code, done.out) == (2, "")
    assert "configs/wrong.yaml:1" in done.errors
    assert message in done.errors
    assert len(done.errors.splitlines()) <= 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--target", "nosuch"], "there is no 'nosuch'"),
        (["--target="], "--target needs KEY"),
        (["-x"], "build has no flag '-x'"),
        (["nosuch"], "there is no 'nosuch'"),
        (["size", "--target", "trainer"], "two parts, size and trainer"),
    ],
)
def test_a_mistake_on_the_line_is_named(run: Run, words: list[str], message: str) -> None:
    done = run("build", *words)
    assert (done.code, done.out) == (2, "")
    assert message in done.errors


def test_a_projects_own_code_is_built_only_when_it_is_trusted(run: Run, project: Path) -> None:
    (project / "src" / "own").mkdir(parents=True)
    (project / "src" / "own" / "__init__.py").write_text("def two() -> int:\n    return 2\n")
    (project / "project.yaml").write_text("name: demo\nsource: src\n")
    (project / "configs" / "own.yaml").write_text("trainer: {_target_: own.two}\n")
    refused = run("-t", "own", "build")
    assert refused.code == 2
    assert "forge trust" in refused.errors
    assert run("trust").code == 0
    assert run("-t", "own", "build").out == "trainer: int\n2\n"


def test_a_thing_with_parameters_is_counted(run: Run, project: Path) -> None:
    (project / "src" / "shaped").mkdir(parents=True)
    (project / "src" / "shaped" / "__init__.py").write_text(MODULE)
    (project / "project.yaml").write_text("name: demo\nsource: src\n")
    (project / "configs" / "model.yaml").write_text("trainer: {_target_: shaped.Model}\n")
    assert run("trust").code == 0
    assert run("-t", "model", "build").out == "trainer: shaped.Model, 1,234 parameters\na model\n"
    assert json.loads(run("-t", "model", "build", "--json").out)["parameters"] == 1234


def test_outside_of_every_project_a_part_of_forges_own_is_built(run: Run, empty: Path) -> None:
    done = run("build", "--target", "launch", cwd=empty)
    assert (done.code, done.errors) == (0, "")
    assert done.out.startswith("launch: forge.launch.topology.Topology\n")
