from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Run

BAD = """\
trainer:
  _target_: os.system
  a: ${nosuch}
  b: {_taget_: builtins.dict}
"""


def test_a_finding_has_its_place_and_what_to_do(run: Run) -> None:
    done = run("check")
    assert (done.code, done.errors) == (0, "")
    finding, count = done.out.splitlines()
    assert finding.startswith("configs/tiny.yaml:11: api_key: ")
    assert "remove it" in finding
    assert count == "tiny: 1 warning"


def test_nothing_wrong_is_said_in_a_line(run: Run) -> None:
    assert run("check", "~api_key") == (0, "tiny: nothing wrong\n", "")


def test_an_error_is_exit_code_2_and_all_are_found_at_once(run: Run, project: Path) -> None:
    (project / "configs" / "bad.yaml").write_text(BAD)
    done = run("-t", "bad", "check")
    assert (done.code, done.errors) == (2, "")
    assert [line.split(":")[1] for line in done.out.splitlines()[:-1]] == ["2", "3", "4"]
    assert done.out.splitlines()[-1] == "bad: 3 errors"


def test_the_findings_are_data_for_programs(run: Run, project: Path) -> None:
    (found,) = json.loads(run("check", "--json").out)
    assert (found["project"], found["config"], found["severity"]) == ("demo", "tiny", "warning")
    assert (found["key"], found["line"]) == ("api_key", 11)
    assert found["file"] == str(project / "configs" / "tiny.yaml")
    assert json.loads(run("check", "--json", "~api_key").out) == []


def test_with_r_every_config_of_every_project_is_checked(run: Run, project: Path) -> None:
    (project / "configs" / "bad.yaml").write_text("defaults: [{size: smal}]\n")
    done = run("check", "-r", "--json")
    assert done.code == 2
    found = json.loads(done.out)
    assert any(one["config"] == "bad" and one["line"] == 1 and "small" in str(one) for one in found)
    text = run("check", "-r").out.splitlines()
    assert re.match(r"\d\d configs: 1 error", text[-1])
    assert len(text) == len(set(text))


def test_a_flag_that_a_verb_has_too_is_a_warning(run: Run, project: Path) -> None:
    (project / "configs" / "hides.yaml").write_text("args: {depth: {key: n, type: int}}\nn: 1\n")
    done = run("-t", "hides", "check")
    assert done.code == 0
    assert "--depth is a flag of forge graph too" in done.out


def test_the_targets_are_imported_when_asked(run: Run, project: Path) -> None:
    (project / "configs" / "wrong.yaml").write_text("trainer:\n  _target_: datetime.timedelta\n  dayz: 1\n")
    done = run("-t", "wrong", "check", "--import")
    assert done.code == 2
    assert "configs/wrong.yaml:3: trainer.dayz" in done.out
    assert "did you mean 'days'" in done.out


def test_what_hydra_would_do_otherwise_is_listed_when_asked(run: Run) -> None:
    assert "Hydra would build another one" in run("check", "--hydra-compat").out
    assert "Hydra" not in run("check").out


def test_the_result_goes_to_a_file(run: Run, project: Path) -> None:
    shown = run("check").out
    assert run("check", "-o", "found.txt") == (0, "", "")
    assert (project / "found.txt").read_text() == shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-r", "mode=slow"], "check -r takes no overrides"),
        (["tiny"], "forge -t tiny check"),
        (["-x"], "check has no flag '-x'"),
        (["--import=1"], "--import takes no value"),
    ],
)
def test_a_mistake_on_the_line_is_named(run: Run, words: list[str], message: str) -> None:
    done = run("check", *words)
    assert (done.code, done.out) == (2, "")
    assert message in done.errors


def test_a_wrong_override_is_a_finding(run: Run) -> None:
    done = run("check", "nosuch=1")
    assert done.code == 2
    assert "the config has no key 'nosuch'" in done.out + done.errors


def test_outside_of_every_project_the_one_of_forge_is_checked(run: Run, empty: Path) -> None:
    assert run("check", cwd=empty) == (0, "pretrain/tiny: nothing wrong\n", "")


LAUNCHED = """\
launch:
  _target_: forge.launch.topology.Topology
  kind: local
  python: /x
"""


def test_what_a_launch_says_when_it_is_built_is_said_with_its_line(run: Run, project: Path) -> None:
    (project / "configs" / "launched.yaml").write_text(LAUNCHED)
    done = run("-t", "launched", "check")
    assert done.code == 2
    assert done.out.startswith("configs/launched.yaml:4: launch.python: python belongs to ")
    assert run("-t", "launched", "check", "launch.kind=slurm").out.endswith("launched: nothing wrong\n")
    (project / "configs" / "launched.yaml").write_text("launch: {python: /x}\n")
    assert "configs/launched.yaml:1: launch: launch is no topology" in run("-t", "launched", "check").out
    (project / "configs" / "launched.yaml").write_text(LAUNCHED.replace("/x", "{_target_: builtins.list}"))
    assert run("-t", "launched", "check").code == 0  # only forge's own is built


def test_a_model_folder_that_is_not_there_is_a_warning(run: Run, empty: Path) -> None:
    done = run("-t", "pretrain/tiny", "check", "--model", "/nonexistent", cwd=empty)
    assert done.code == 0
    assert "model.path: there is no model folder /nonexistent" in done.out
