from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

import forge
from forge.base.errors import RunError, TrustError
from forge.build.frozen import thaw
from forge.graph.equal import equal

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """
counter: {_target_: collections.OrderedDict, a: 2, b: 1}
own: {_target_: own_code.make, size: 3}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "configs").mkdir(parents=True)
    (folder / "src" / "own_code").mkdir(parents=True)
    (folder / "src" / "own_code" / "__init__.py").write_text("def make(size):\n    return [0] * size\n")
    (folder / "project.yaml").write_text("name: p\nsource: src\n")
    (folder / "configs" / "c.yaml").write_text(CONFIG)
    return folder


def test_what_was_frozen_is_built(project: Path, tmp_path: Path) -> None:
    handle = forge.open(project)
    handle.trust()
    config = handle.config("c", "own.size=5")
    config.freeze(tmp_path / "run")
    frozen = thaw(tmp_path / "run")
    assert equal(frozen.graph.root, config.graph.root)
    assert frozen.build("counter") == {"a": 2, "b": 1}
    assert frozen.build("own") == [0] * 5
    assert frozen.facts.overrides == ("own.size=5",)
    assert frozen.has("own")
    assert not frozen.has("other")


def test_code_that_is_not_trusted_is_not_imported(project: Path, tmp_path: Path) -> None:
    forge.open(project).config("c").freeze(tmp_path / "run")
    with pytest.raises(TrustError):
        thaw(tmp_path / "run").build("own")


def test_a_key_that_is_not_there(project: Path, tmp_path: Path) -> None:
    forge.open(project).config("c").freeze(tmp_path / "run")
    with pytest.raises(RunError, match="has no other"):
        thaw(tmp_path / "run").build("other")


def test_a_secret_is_refused(project: Path, tmp_path: Path) -> None:
    (project / "configs" / "s.yaml").write_text("logger: {_target_: collections.OrderedDict, api_key: hunter2}\n")
    with pytest.raises(RunError, match=r"s\.yaml:1: logger\.api_key: this value is a secret"):
        forge.open(project).config("s").freeze(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_secret_that_no_object_gets_is_a_mask(project: Path, tmp_path: Path) -> None:
    (project / "configs" / "s.yaml").write_text("api_key: hunter2\nlogger: {_target_: collections.OrderedDict}\n")
    forge.open(project).config("s").freeze(tmp_path / "run")
    assert thaw(tmp_path / "run").build("logger") == {}
    assert not any(b"hunter2" in file.read_bytes() for file in (tmp_path / "run").iterdir())


def test_a_damaged_run_is_named(project: Path, tmp_path: Path) -> None:
    forge.open(project).config("c").freeze(tmp_path / "run")
    (tmp_path / "run" / "run.json").write_text('{"project": 1}')
    with pytest.raises(RunError, match=r"run\.json does not describe a run"):
        thaw(tmp_path / "run")


def test_damaged_rules_and_graphs_are_named(project: Path, tmp_path: Path) -> None:
    forge.open(project).config("c").freeze(tmp_path / "run")
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps({**facts, "rules": [[1, 2, 3]]}))
    with pytest.raises(RunError, match=r"run\.json does not describe a run"):
        thaw(tmp_path / "run")
    (tmp_path / "run" / "graph.json").write_bytes(b"{\xff")
    with pytest.raises(RunError, match=r"graph\.json is no frozen graph"):
        thaw(tmp_path / "run")
