"""What a user who made a mistake reads, and that one look finds all mistakes that can be found at once."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forge.base.errors import ConfigError, ForgeError
from forge.compose.composer import compose_fresh
from forge.compose.project import Project, Root

sys.path.insert(0, os.path.dirname(__file__))
from hydra_oracle import override_texts, trees, write_tree

FULL = bool(os.environ.get("FORGE_FULL"))

FILES = {
    "run.yaml": "defaults:\n- base\n- model: small\n- optimizer: adamw\n- _self_\ntrainer: {steps: 3}\n",
    "base.yaml": "seed: 1\n",
    "model/small.yaml": "size: 1\n",
    "model/large.yaml": "size: 9\n",
    "optimizer/adamw.yaml": "lr: 1\n",
    "optimizer/sgd.yaml": "lr: 2\n",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    write_tree(tmp_path, FILES)
    monkeypatch.chdir(tmp_path)
    return made(tmp_path)


def made(folder: Path) -> Project:
    return Project("p", "", str(folder), None, (Root(str(folder), "project"),), ())


def message(project: Project, *overrides: str, name: str = "run") -> str:
    with pytest.raises(ForgeError) as caught:
        compose_fresh(project, name, overrides)
    text = str(caught.value)
    assert len(text.splitlines()) <= 3, text
    assert "Traceback" not in text
    assert "omegaconf" not in text.lower()
    return text


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"run.yaml": "defaults:\n- modle: small\n"}, "run.yaml:2: there is no config group 'modle'\n  did you mean 'model'?"),
        ({"run.yaml": "defaults:\n- model: smal\n"}, "run.yaml:2: group 'model' has no choice 'smal'\n  did you mean 'small'?"),
        ({"run.yaml": "defaults:\n- model: zzzzz\n"}, "run.yaml:2: group 'model' has no choice 'zzzzz'\n  choices: large, small"),
        ({"run.yaml": "defaults:\n\n- bsae\n"}, "run.yaml:3: there is no config 'bsae'\n  did you mean 'base'?"),
        ({"run.yaml": "defaults:\n- model/smal\n"}, "run.yaml:2: group 'model' has no choice 'smal'\n  did you mean 'small'?"),
        ({"model/small.yaml": "defaults:\n- /optimizer: adam\n"}, "model/small.yaml:2: group 'optimizer' has no choice 'adam'\n  did you mean 'adamw'?"),
        ({"model/small.yaml": "defaults:\n- layer: x\n"}, "model/small.yaml:2: there is no config group 'model/layer'"),
        ({"base.yaml": "a: [\n"}, "base.yaml:2: not valid YAML"),
        ({"base.yaml": "a: 1\na: 2\n"}, "base.yaml:2: the key 'a' stands twice, first in line 1"),
        ({"base.yaml": "- a\n"}, "base.yaml:1: this file holds a list, which has no place at the root"),
        ({"base.yaml": "defaults: x\n"}, "base.yaml:1: 'defaults' must be a list"),
        ({"base.yaml": "defaults: [run]\n"}, "base.yaml:1: configs include each other: run → base → run"),
        ({"base.yaml": "defaults: [base]\n"}, "base.yaml:1: configs include each other: base → base"),
        ({"run.yaml": "defaults:\n- model: small\n- override optimzer: sgd\n"}, "run.yaml:3"),
        ({"run.yaml": "defaults:\n- model: small\n- model: large\n"}, "run.yaml:"),
        ({"run.yaml": "defaults:\n- override model: large\n- model: small\n"}, "run.yaml:"),
        ({"run.yaml": "defaults:\n- _self_\n- _self_\n"}, "run.yaml:"),
        ({"run.yaml": "defaults:\n- model: ???\n"}, "run.yaml:"),
        ({"run.yaml": "defaults:\n- model: ${gone}\n"}, "run.yaml:"),
        ({"base.yaml": "trainer: [1]\n"}, "run.yaml:6: trainer: this is a mapping, but base.yaml:1 made it a list"),
        ({"base.yaml": "args: {f: {kee: x}}\n"}, "base.yaml:1: args.f: a flag has no 'kee'"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_file_is_told_with_its_place(project: Project, files: dict[str, str], expected: str) -> None:
    write_tree(Path(project.folder), files)
    assert message(project).startswith(expected), message(project)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("model=smal", "override 'model=smal': group 'model' has no choice 'smal'\n  did you mean 'small'?"),
        ("modle=small", "override 'modle=small': the config has no key 'modle'\n  did you mean 'model'?"),
        ("+schedule=cosine", None),
        (
            "optimizer=[adamw,sdg]",
            "override 'optimizer=[adamw,sdg]': group 'optimizer' has no choice 'sdg'\n  did you mean 'sgd'?",
        ),
        ("~modle", "override '~modle': "),
        ("model@x=small", "override 'model@x=small': "),
        ("+model=large", "override '+model=large': "),
        ("trainer.stps=1", "override 'trainer.stps=1': 'trainer' has no key 'stps'\n  did you mean 'steps'?"),
        ("model=small,large", "override 'model=small,large': several values make a sweep"),
        ("model=", "override 'model=': "),
        ("model={a: 1}", "override 'model={a: 1}': "),
        ("model=3", "override 'model=3': "),
        ("model=???", "override 'model=???': "),
        ("model=${gone}", "override 'model=${gone}': "),
    ],
)
def test_a_mistake_in_an_override_is_told_with_the_override(
    project: Project, override: str, expected: str | None
) -> None:
    if expected is None:
        assert compose_fresh(project, "run", [override]).tree["schedule"] == "cosine"
        return
    assert message(project, override).startswith(expected), message(project, override)


@pytest.mark.parametrize("override", ["+optimizer@more=sgd", "+optimizer=sgd"])
def test_a_group_added_on_the_line_of_a_config_in_a_folder_is_told_where_it_goes(
    project: Project, override: str
) -> None:
    write_tree(Path(project.folder), {"chat/run.yaml": "defaults:\n- /base\n- _self_\n"})
    written = override.lstrip("+").replace("=", ": ")
    assert message(project, override, name="chat/run") == (
        f"override '{override}': there is no config group 'chat/optimizer': what a line adds is looked for beside chat/run\n"
        f"  a config can add it: forge new config NAME --from chat/run, with - /{written} in its defaults"
    )


def test_a_group_that_a_config_does_not_use_is_told_where_it_goes(project: Project) -> None:
    write_tree(Path(project.folder), {"chat/run.yaml": "defaults:\n- /base\n- _self_\n"})
    assert message(project, "optimizer=sgd", name="chat/run") == (
        "override 'optimizer=sgd': could not override 'optimizer'. No match in the defaults list\n"
        "  a config can add it: forge new config NAME --from chat/run, with - /optimizer: sgd in its defaults"
    )


def test_a_config_that_is_not_there_gets_a_suggestion(project: Project) -> None:
    assert message(project, name="rnu").startswith("there is no config 'rnu'\n  did you mean 'run'?")
    assert message(project, name="model/smal").startswith("group 'model' has no choice 'smal'\n  did you mean 'small'?")


def test_several_mistakes_are_found_at_once(project: Project) -> None:
    write_tree(
        Path(project.folder),
        {
            "run.yaml": "defaults:\n- bsae\n- model: smal\n- optimzer: adamw\n- optimizer: adamw\n- override gone: x\n- _self_\ntrainer: {steps: 3}\n",
            "optimizer/adamw.yaml": "defaults: [/schedle: x]\nlr: 1\n",
        },
    )
    problems: list[ForgeError] = []
    composed = compose_fresh(
        project,
        "run",
        ["traner.steps=1", "trainer.stps=2", "trainer.steps=7", "a=[", "optimizer=sdg"],
        problems=problems,
    )
    told = "\n".join(map(str, problems))
    for part in ("'bsae'", "'smal'", "'optimzer'", "'gone'", "'traner'", "'stps'", "'[' is not closed", "'sdg'"):
        assert part in told, part
    assert all(problem.origin is not None for problem in problems)
    assert composed.tree["trainer"] == {"steps": 7}
    assert len(problems) == len({str(problem) for problem in problems})


def test_a_broken_file_does_not_hide_the_mistakes_in_others(project: Project) -> None:
    write_tree(Path(project.folder), {"base.yaml": "a: [\n", "model/small.yaml": "a: 1\na: 2\n"})
    problems: list[ForgeError] = []
    composed = compose_fresh(project, "run", ["trainer.stps=2"], problems=problems)
    told = "\n".join(map(str, problems))
    assert "base.yaml:2" in told
    assert "model/small.yaml:2" in told
    assert "'stps'" in told
    assert composed.tree["trainer"] == {"steps": 3}


def test_without_mistakes_the_list_stays_empty(project: Project) -> None:
    problems: list[ForgeError] = []
    assert compose_fresh(project, "run", problems=problems).tree == compose_fresh(project, "run").tree
    assert problems == []


def test_a_package_of_endless_depth_is_a_typed_error(project: Project) -> None:
    write_tree(Path(project.folder), {"run.yaml": "defaults:\n- ? model@" + "a." * 5000 + "b\n  : small\n"})
    assert "levels" in message(project)
    assert len(message(project)) < 500


def test_a_chain_of_a_thousand_configs_is_composed_or_a_typed_error(project: Project) -> None:
    write_tree(
        Path(project.folder),
        {f"c{number}.yaml": f"defaults: [c{number + 1}]\nk{number}: 1\n" for number in range(1000)},
    )
    write_tree(Path(project.folder), {"c1000.yaml": "end: 1\n"})
    assert message(project, name="c0")
    assert compose_fresh(project, "c950").tree["end"] == 1


@settings(max_examples=150 if FULL else 40, deadline=None, suppress_health_check=list(HealthCheck))
@given(files=trees(), overrides=st.lists(override_texts(), max_size=3))
def test_collecting_finds_a_mistake_exactly_where_raising_does(files: dict[str, str], overrides: list[str]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        write_tree(Path(scratch), files)
        problems: list[ForgeError] = []
        try:
            collected = compose_fresh(made(Path(scratch)), "config", overrides, problems=problems)
        except ConfigError as error:
            # Some mistakes leave nothing to go on with; then the strict way fails too.
            problems.append(error)
        try:
            strict = compose_fresh(made(Path(scratch)), "config", overrides)
        except ForgeError:
            assert problems
            return
        assert problems == []
        assert collected.tree == strict.tree
