from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import forge
from forge.api.project import all_projects, open_project
from forge.base.places import library_configs, shipped_projects

sys.path.insert(0, os.path.dirname(__file__))
from corpus import CORPUS, Mistake

WANTED = 57
FULL = bool(os.environ.get("FORGE_FULL"))


def seeded(mistake: Mistake, folder: Path) -> Path:
    """A copy of the pydoc project with the mistake in it."""
    project = folder / "pydoc"
    shutil.copytree(Path(shipped_projects()) / "pydoc", project, ignore=shutil.ignore_patterns("__pycache__"))
    for name, (old, new) in mistake.edits.items():
        text = (project / name).read_text()
        assert old in text, f"{name} no longer has {old!r}"
        (project / name).write_text(text.replace(old, new))
    for name, text in mistake.adds.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    return project


def verdict(mistake: Mistake, folder: Path) -> str:
    """Empty when the mistake is caught; otherwise what check said instead."""
    found = open_project(seeded(mistake, folder)).config(mistake.config, *mistake.overrides).check()
    shown = [str(finding) for finding in found]
    for line in shown:
        if all(word in line for word in mistake.says) and mistake.at in line:
            return ""
    return f"{mistake.name}: {shown}"


@pytest.mark.parametrize("mistake", CORPUS, ids=lambda mistake: mistake.name)
def test_a_mistake_is_named_with_its_place_and_a_way_out(mistake: Mistake, tmp_path: Path) -> None:
    assert not verdict(mistake, tmp_path)


def test_the_corpus_is_as_large_as_promised() -> None:
    assert len({mistake.name for mistake in CORPUS}) >= 60


def test_finding_the_mistakes_imports_nothing_a_config_names(tmp_path: Path) -> None:
    program = f"""
import sys, pathlib, tempfile
sys.path[:0] = [{os.path.dirname(__file__)!r}]
import test_corpus
caught = 0
for number, mistake in enumerate(test_corpus.CORPUS[:: {1 if FULL else 4}]):
    caught += not test_corpus.verdict(mistake, pathlib.Path({str(tmp_path)!r}) / str(number))
assert caught >= {WANTED if FULL else WANTED // 4}, caught
named = {{"torch", "transformers", "peft", "tokenizers", "pydoc_text"}} & sys.modules.keys()
named |= {{name for name in sys.modules if name.startswith("forge.ml")}}
assert not named, named
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(forge.__file__).parents[1],
    )
    assert done.returncode == 0, done.stderr[-2000:]


def shipped_configs() -> list[tuple[str, str]]:
    return [
        (project.name, config.name)
        for project in all_projects(shipped_projects())
        for config in project.configs(examine=False)
    ]


@pytest.mark.parametrize(("project", "config"), shipped_configs())
def test_no_shipped_config_is_called_wrong(project: str, config: str) -> None:
    assert open_project(project).config(config).check() == []


def shipped_choices() -> list[str]:
    library = Path(library_configs())
    return [
        f"{file.parent.relative_to(library)}={file.stem if file.suffix == '.yaml' else file.name}"
        for file in sorted(library.rglob("*.yaml"))
        if not file.name.startswith("_") and file.parent.name not in ("adapter", "args", "dataset", "tokenizer")
    ]


PARTS = {"attention", "feedforward", "layer", "norm", "position"}


def what_a_choice_goes_with(choice: str) -> list[str]:
    """The parts of an assembled decoder go with one, many processes with a layout, two slices with an even number of heads."""
    group, _, name = choice.partition("=")
    if group in PARTS:
        return ["model=assembled"]
    if group == "launch" and name != "local":
        return ["parallel=ddp"]
    if group == "parallel" and {"tp", "cp"} & set(name.split("_")):
        return ["model.config.num_attention_heads=4", "model.config.num_key_value_heads=2"]
    return []


@pytest.mark.parametrize("choice", shipped_choices())
def test_no_shipped_choice_is_called_wrong(choice: str) -> None:
    config = open_project("pydoc").config("pretrain/tiny", *what_a_choice_goes_with(choice), choice)
    assert config.check() == []
