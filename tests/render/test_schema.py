from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from jsonschema import Draft7Validator
from referencing import Registry, Resource

from forge.base.places import library_configs, shipped_projects
from forge.compose.document import parse_document
from forge.compose.project import find_project
from forge.render.schema import CONFIG_SCHEMA, schema_files, schemas

if TYPE_CHECKING:
    from pathlib import Path

Schemas: TypeAlias = "dict[str, dict[str, Any]]"


def data(text: str) -> Any:
    """A text as forge reads it, with its defaults list in place."""
    document = parse_document(text.encode(), "x.yaml", "project")
    return document.tree if document.defaults is None else {"defaults": document.defaults, **document.tree}


def refused(found: Schemas, name: str, text: str) -> list[str]:
    """The dotted places that a schema refuses."""
    registry: Any = Registry().with_resources([(one, Resource.from_contents(held)) for one, held in found.items()])
    errors = Draft7Validator(found[name], registry=registry).iter_errors(data(text))
    return sorted({".".join(map(str, error.absolute_path)) for error in errors})


@pytest.fixture(scope="module")
def shipped() -> Schemas:
    return schemas(find_project(os.path.join(shipped_projects(), "pydoc")))


@pytest.fixture
def demo(project: Path) -> Schemas:
    (project / "src").mkdir()
    (project / "src" / "demo_code.py").write_text(
        "def run(size: int, /, steps: int = 1, *, mode: 'str' = 'fast', ratio: float | None = None, deep: bool = False):\n"
        "    '''Run it.'''\n\n\ndef loose(size: int = 1, **more): ...\n"
    )
    (project / "configs" / "run.yaml").write_text(
        "runner: {_target_: demo_code.run}\nany: {_target_: demo_code.loose}\n"
    )
    return schemas(find_project(str(project)))


def test_each_is_a_schema_that_its_validator_takes(shipped: Schemas) -> None:
    for name, schema in shipped.items():
        Draft7Validator.check_schema(schema)
        assert schema["$schema"] == "http://json-schema.org/draft-07/schema#", name


def test_every_shipped_file_is_accepted(shipped: Schemas) -> None:
    project = find_project(os.path.join(shipped_projects(), "pydoc"))
    own = {config.name for config in project.configs()}
    wrong = {}
    for name, file in project.files().items():
        schema = CONFIG_SCHEMA if name in own else f"choice.{name.rpartition('/')[0].replace('/', '.')}.json"
        with open(file, encoding="utf-8") as opened:
            wrong[name] = refused(shipped, schema, opened.read())
    assert {name: places for name, places in wrong.items() if places} == {}
    below = [os.path.join(folder, one) for folder, _, names in os.walk(library_configs()) for one in names]
    assert len(wrong) >= len([file for file in below if file.endswith(".yaml")])
    with open(os.path.join(project.folder, "project.yaml"), encoding="utf-8") as opened:
        assert refused(shipped, "project.json", opened.read()) == []


def test_each_file_has_its_schema(shipped: Schemas) -> None:
    project = find_project(os.path.join(shipped_projects(), "pydoc"))
    patterns = schema_files(project)
    assert set(patterns) == set(shipped)
    assert [os.path.relpath(one, project.folder) for one in patterns[CONFIG_SCHEMA]] == [
        "configs/chat/*.yaml",
        "configs/pretrain/*.yaml",
    ]


def test_a_folder_of_configs_and_choices_is_named_file_by_file(project: Path) -> None:
    folder = project / "configs" / "size"
    (folder / "whole.yaml").write_text("# @package _global_\na: 1\n")
    (project / "project.yaml").write_text("name: demo\n")
    (folder / "small.yaml").write_text("a: 1\n")
    found = schema_files(find_project(str(project)))
    assert str(folder / "whole.yaml") in found[CONFIG_SCHEMA]
    assert not any(str(folder / "*.yaml") in patterns for patterns in found.values())


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("defaults: [{/optimizer: adamv}]", ["defaults.0"]),
        ("defaults: [{/optimiser: adamw}]", ["defaults.0"]),
        ("defaults: [{override /model: nosuch}]", ["defaults.0"]),
        ("defaults: [{/callback: [nonfinite, nosuch]}]", ["defaults.0"]),
        ("defaults: [nosuch]", ["defaults.0"]),
        ("defaults: [{/optimizer: adamw, /model: tiny}]", ["defaults.0"]),
        ("trainer: {max_step: 5}", ["trainer"]),
        ("trainer: {max_steps: many}", ["trainer.max_steps"]),
        ("trainer: {per_device_train_batch_size: 0}", ["trainer.per_device_train_batch_size"]),
        ("trainer: {eval_strategy: sometimes}", ["trainer.eval_strategy"]),
        ("trainer: {async_save: maybe}", ["trainer.async_save"]),
        ("other: {_target_: torch.optim.AdamW, lrr: 1}", ["other"]),
        ("other: {_target_: torch.optim.AdamW, amsgrad: 'x'}", ["other.amsgrad"]),
        ("other: {deep: [{_target_: torch.optim.AdamW, eps: small}]}", ["other.deep.0.eps"]),
        ("other: {_target_: x.y, _symbol_: x.y}", ["other"]),
        ("other: {_symbol_: x.y, lr: 1}", ["other"]),
        ("other: {_target_: x.y, _partial_: perhaps}", ["other._partial_"]),
        ("other: {_target_: x.y, _args_: 1}", ["other._args_"]),
        ("other: {_target_: 3}", ["other._target_"]),
        ("args: {x: {key: a, typ: int}}", ["args.x"]),
        ("args: {x: {key: a, type: integer}}", ["args.x.type"]),
        ("meta: {name: 3}", ["meta.name"]),
        ("callback: {samples: {every_step: 1}}", ["callback.samples"]),
    ],
)
def test_what_is_surely_wrong_is_refused(shipped: Schemas, text: str, places: list[str]) -> None:
    assert refused(shipped, CONFIG_SCHEMA, text) == places


@pytest.mark.parametrize(
    "text",
    [
        "defaults: [_self_, {/optimizer: adamw}, {optimizer: sgd}, {override /model@model: tiny}, {/adapter@model.adapter: lora}]",
        "defaults: [{optional /optimizer: nosuch}, {/optimizer: null}, {/optimizer: '${x}'}, /model/tiny, chat/full@here]",
        "defaults: [{override hydra/launcher: basic}, {/dataset@dataset.datasets.talk: chat_files}]",
        "trainer: {max_steps: '${x}', seed: '???', model: {_target_: any.thing}}",
        "trainer: {max_steps: 1_000, async_save: no}",
        "trainer: {_target_: my.Trainer, anything: 1}",
        "trainer: {_target_: '${x}', anything: 1}",
        "trainer: {callbacks: {_list_: true, a: {_target_: x.y}}}",
        "optimizer: {_target_: torch.optim.Adam, lr: 1.0, eps: 1}",
        "new: {anything: [1, {goes: here}]}",
        "raw: {_target_: x.y, _recursive_: false, inner: {_target_: torch.optim.AdamW, lrr: 1}}",
        "model: {config: {hidden_size: 3, anything: 1}}",
        "args: {max_steps: null, x: {help: Another text.}}",
        "hydra: {run: {dir: x}}",
    ],
)
def test_what_other_files_decide_is_accepted(shipped: Schemas, text: str) -> None:
    assert refused(shipped, CONFIG_SCHEMA, text) == []


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("defaults: [_layout, _self_]\ntp: 2", []),
        ("defaults: [fsdp, {/optimizer: adamw}]", []),
        ("# nothing", []),
        ("tp: two", ["tp"]),
        ("tpp: 2", [""]),
        ("_target_: my.Layout\ntpp: 2", []),
        ("defaults: [_layuot]", ["defaults.0"]),
        ("defaults: [/parallel/_layout, {/optimizer: nosuch}]", ["defaults.1"]),
    ],
)
def test_a_choice_is_judged_at_the_place_of_its_group(shipped: Schemas, text: str, places: list[str]) -> None:
    assert refused(shipped, "choice.parallel.json", text) == places


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("name: x\ndefault_config: pretrain/tiny.yaml\nsource: src\ngroups: [a]", []),
        ("nmae: x", [""]),
        ("default_config: nosuch", ["default_config"]),
        ("search_path: one", ["search_path"]),
    ],
)
def test_a_project_file_is_judged_too(shipped: Schemas, text: str, places: list[str]) -> None:
    assert refused(shipped, "project.json", text) == places


def test_the_projects_own_code_is_read(demo: Schemas) -> None:
    assert refused(demo, CONFIG_SCHEMA, "runner: {steps: 2, mode: slow, ratio: 1, deep: yes}") == []
    assert refused(demo, CONFIG_SCHEMA, "runner: {steps: x}") == ["runner.steps"]
    assert refused(demo, CONFIG_SCHEMA, "runner: {size: 1}") == ["runner"], "it can be given by position only"
    assert refused(demo, CONFIG_SCHEMA, "any: {size: x, other: 1}") == ["any.size"]
    assert refused(demo, CONFIG_SCHEMA, "a: {_target_: demo_code.loose, other: 1}") == []
    assert refused(demo, CONFIG_SCHEMA, "defaults: [{size: small}]\nmode: fast") == []
    assert refused(demo, CONFIG_SCHEMA, "defaults: [{size: smal}]") == ["defaults.0"]


def test_a_flag_binds_a_value_only_where_every_config_has_the_flag(project: Path) -> None:
    assert refused(schemas(find_project(str(project))), CONFIG_SCHEMA, "mode: medium") == ["mode"]
    (project / "configs" / "free.yaml").write_text("mode: anything\n")
    assert refused(schemas(find_project(str(project))), CONFIG_SCHEMA, "mode: medium") == []


def test_a_search_path_of_its_own_leaves_every_list_of_names_open(project: Path) -> None:
    (project / "configs" / "wide.yaml").write_text("hydra: {searchpath: [elsewhere]}\na: 1\n")
    found = schemas(find_project(str(project)))
    assert refused(found, CONFIG_SCHEMA, "defaults: [{size: smal}, {/new: x}, anything]") == []


def test_no_value_of_a_config_is_in_a_schema(project: Path) -> None:
    assert "hunter2" not in str(schemas(find_project(str(project))))


def test_a_project_with_broken_files_has_a_schema(project: Path) -> None:
    (project / "configs" / "broken.yaml").write_text("a: [")
    (project / "configs" / "size" / "odd.yaml").write_text("defaults: [nosuch]\n'a b': {'c.d': 1, 3: 4}\n")
    found = schemas(find_project(str(project)))
    assert refused(found, CONFIG_SCHEMA, "defaults: [{size: odd}]") == []
