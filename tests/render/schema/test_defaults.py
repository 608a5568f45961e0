from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from jsonschema import Draft7Validator

from forge.render.schema.defaults import choices_schema, defaults_schema, pick_name
from forge.render.schema.seen import Branch, Seen

if TYPE_CHECKING:
    from pathlib import Path


def seen(tmp_path: Path, *, open_ended: bool = False) -> Seen:
    file = tmp_path / "adamw.yaml"
    file.write_text("# The usual one.\n")
    names = ("optimizer/adamw", "optimizer/_base", "model/v1.5+x/tiny", "chat/full", "chat/size/small")
    return Seen(
        configs=("chat/full",),
        files=dict.fromkeys(names, str(file)),
        groups={
            "optimizer": ("_base", "adamw"),
            "model": ("v1.5+x/tiny",),
            "model/v1.5+x": ("tiny",),
            "chat": ("full", "size/small"),
            "chat/size": ("small",),
        },
        packages={},
        root=Branch(),
        targets=(),
        symbols=(),
        rules={},
        open_ended=open_ended,
    )


def accepted(found: Seen, base: str, item: object) -> bool:
    schema: dict[str, Any] = {"definitions": choices_schema(found), "allOf": [defaults_schema(found, [base])]}
    return bool(Draft7Validator(schema).is_valid([item]))


def test_names_are_looked_up_from_the_files_own_folder(tmp_path: Path) -> None:
    found = seen(tmp_path)
    assert accepted(found, "chat", "full")
    assert accepted(found, "chat", {"size": "small"})
    assert accepted(found, "chat", {"override /chat/size": "small"})
    assert not accepted(found, "chat", {"optimizer": "adamw"})
    assert not accepted(found, "", "full")
    assert accepted(found, "", {"optimizer": "adamw"})
    assert accepted(found, "optimizer", "_base")


def test_a_group_may_be_written_in_each_of_its_ways(tmp_path: Path) -> None:
    found = seen(tmp_path)
    for key in ("/optimizer", "override /optimizer", "/optimizer@a.b", "override /optimizer@_global_"):
        assert accepted(found, "chat", {key: "adamw"}), key
        assert not accepted(found, "chat", {key: "adam"}), key
    for value in (None, ["adamw", "_base"], "${other}"):
        assert accepted(found, "chat", {"/optimizer": value})
    for value in (3, ["adam"], {"a": 1}, True):
        assert not accepted(found, "chat", {"/optimizer": value})
    assert accepted(found, "chat", {"optional /optimizer": "adam"})
    assert accepted(found, "chat", {"optional override /optimizer": "adam"})


def test_letters_with_a_meaning_in_patterns_stand_for_themselves(tmp_path: Path) -> None:
    found = seen(tmp_path)
    assert accepted(found, "", {"model/v1.5+x": "tiny"})
    assert not accepted(found, "", {"model/v1x5+x": "tiny"})
    patterns = str(defaults_schema(found, [""])) + str(choices_schema(found))
    assert re.search(r"\\[^.^$*+?()\[\]{}|\\]", patterns.replace("\\\\", "\\")) is None, (
        "JavaScript knows fewer escapes"
    )


def test_choices_carry_the_comment_of_their_file(tmp_path: Path) -> None:
    first = choices_schema(seen(tmp_path))[pick_name("optimizer")]["anyOf"][0]
    assert (first["enum"], first["enumDescriptions"]) == (["adamw"], ["The usual one."])


def test_an_open_ended_search_path_refuses_no_name(tmp_path: Path) -> None:
    found = seen(tmp_path, open_ended=True)
    assert accepted(found, "", {"optimizer": "nosuch"})
    assert accepted(found, "", {"nosuch": "x"})
    assert accepted(found, "", "nosuch")
    assert not accepted(found, "", 3)
