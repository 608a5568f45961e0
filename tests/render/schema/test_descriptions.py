from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from jsonschema import Draft7Validator

from forge.base.errors import ConfigSyntaxError
from forge.compose.arguments import arguments_of
from forge.compose.document import parse_document
from forge.compose.project import find_project
from forge.render.schema.descriptions import ARGS, META, project_schema
from forge.render.schema.seen import seen

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "text",
    [
        "args: {f: {key: a}}",
        "args: {f: null}",
        "args: {f: {key: 3}}",
        "args: {f: {kee: a}}",
        "args: {f: {key: a, type: int, min: 1, max: 2, default: 1, help: x, choices: [1], aliases: [-f]}}",
        "args: {f: {key: a, type: integer}}",
        "args: {f: {key: a, aliases: -f}}",
        "args: {f: {key: a, aliases: [f]}}",
        "args: {f: {key: a, choices: x}}",
        "args: {f: {key: a, min: x}}",
        "args: {f: 3}",
        "args: [f]",
    ],
)
def test_a_flag_is_refused_where_composing_refuses_it(text: str) -> None:
    tree = parse_document(text.encode(), "x.yaml", "project").tree
    assert isinstance(tree, dict)
    try:
        arguments_of(tree)
        composes = True
    except ConfigSyntaxError:
        composes = False
    assert Draft7Validator(ARGS).is_valid(tree["args"]) is composes


def test_meta_takes_what_a_config_says_of_itself() -> None:
    assert Draft7Validator(META).is_valid({"name": "x", "tags": ["a"], "main": "trainer", "own": 3})
    assert not Draft7Validator(META).is_valid({"name": ["x"]})


def test_a_project_file_names_its_configs(project: Path) -> None:
    found = project_schema(seen(find_project(str(project))))
    assert found["properties"]["default_config"]["enum"] == ["other", "tiny", "other.yaml", "tiny.yaml", None]
