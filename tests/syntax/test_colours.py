"""VS Code and vim see the same in a forge config, and nothing in other YAML.

``fixtures/*.tokens`` has each line of a YAML file behind ``| ``, and below it what its parts are, by the names that
``fixtures/concepts.json`` translates for either editor. ``FORGE_UPDATE_SNAPSHOTS=1 pytest tests/syntax`` writes them
anew from what VS Code sees; read the difference before keeping it.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "syntax" / "fixtures"
OWN = sorted(FIXTURES.glob("*.yaml"))
OTHERS = sorted((FIXTURES / "others").glob("*.yaml"))
SHIPPED = [*sorted((ROOT / "configs").rglob("*.yaml")), *sorted((ROOT / "projects").rglob("*.yaml"))]
SPECIAL = re.compile("_(target|symbol|args|partial|recursive|convert|list|new)_")
UPDATE = os.environ.get("FORGE_UPDATE_SNAPSHOTS") == "1"
NAMES = json.loads((FIXTURES / "concepts.json").read_text(encoding="utf-8"))
CONCEPTS = {
    editor: {name: concept for concept, editors in NAMES.items() for name in editors[editor]}
    for editor in ("textmate", "vim")
}


@pytest.fixture(scope="module")
def seen(request: pytest.FixtureRequest) -> Callable[[str], dict[Path, Any]]:
    """What an editor sees in all the files, asked once."""
    known: dict[str, dict[Path, Any]] = {}

    def ask(editor: str) -> dict[Path, Any]:
        if editor not in known:
            known[editor] = request.getfixturevalue(editor)([*OWN, *OTHERS, *SHIPPED])
        return known[editor]

    return ask


def concept_of(editor: str, names: Sequence[str]) -> str | None:
    return next((CONCEPTS[editor][name] for name in reversed(names) if name in CONCEPTS[editor]), None)


def concepts(editor: str, tokens: Any) -> list[list[tuple[int, int, str]]]:
    """Per line, the spans that mean something to forge; neighbours of one meaning are one span."""
    found = []
    for line, spans in zip(tokens.lines, tokens.spans, strict=True):
        merged: list[tuple[int, int, str]] = []
        for start, end, names in spans:
            concept = concept_of(editor, names)
            if concept is None or not line[start:end].strip():
                continue
            if merged and merged[-1][1:] == (start, concept):
                merged[-1] = (merged[-1][0], end, concept)
            else:
                merged.append((start, end, concept))
        found.append(merged)
    return found


def written(lines: Sequence[str], spans: list[list[tuple[int, int, str]]]) -> str:
    """The text of a ``.tokens`` file."""
    text = []
    for line, marks in zip(lines, spans, strict=True):
        text.append(f"| {line}".rstrip())
        text += [f"  {' ' * start}{'^' * (end - start)} {concept}" for start, end, concept in marks]
    return "\n".join(text) + "\n"


@pytest.mark.parametrize("editor", ["textmate", "vim"])
@pytest.mark.parametrize("file", OWN, ids=lambda file: file.stem)
def test_a_config_is_seen_as_it_is_written_down(editor: str, file: Path, seen: Callable[[str], Any]) -> None:
    tokens = seen(editor)[file]
    text = written(tokens.lines, concepts(editor, tokens))
    expected = file.with_suffix(".tokens")
    if UPDATE and editor == "textmate":
        expected.write_text(text, encoding="utf-8")
    assert text == expected.read_text(encoding="utf-8")


@pytest.mark.parametrize("file", OTHERS, ids=lambda file: file.stem)
def test_other_yaml_keeps_its_colours_in_vs_code(file: Path, seen: Callable[[str], Any]) -> None:
    tokens = seen("textmate")[file]
    strange = {
        line[start:end]
        for line, spans in zip(tokens.lines, concepts("textmate", tokens), strict=True)
        for start, end, _ in spans
    }
    assert strange <= {"defaults", "${", "TAG", "-latest", "}"}


@pytest.mark.parametrize("file", OTHERS, ids=lambda file: file.stem)
def test_other_yaml_is_not_touched_by_vim(file: Path, seen: Callable[[str], Any]) -> None:
    assert not [name for name in all_names(seen("vim")[file]) if name.startswith("forge")]


def all_names(tokens: Any) -> set[str]:
    return {name for spans in tokens.spans for span in spans for name in span.names}


# ---- every config that is part of forge


@pytest.mark.parametrize("editor", ["textmate", "vim"])
@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: str(file.relative_to(ROOT)))
def test_what_a_shipped_config_means_is_what_is_coloured(editor: str, file: Path, seen: Callable[[str], Any]) -> None:
    tokens = seen(editor)[file]
    found = concepts(editor, tokens)
    text = file.read_text(encoding="utf-8")
    expected = sorted(meanings(text))
    coloured = [
        (number, start, end, concept)
        for number, spans in enumerate(found)
        for start, end, concept in spans
        if concept in {"special", "target", "delimiter", "group", "self", "section"}
    ]
    assert sorted(coloured) == expected
    assert not [name for name in all_names(tokens) if re.search("invalid|illegal|error", name, re.IGNORECASE)]


def meanings(text: str) -> Iterator[tuple[int, int, int, str]]:
    """What a YAML parser finds that forge reads in a way of its own: line, start, end, and the name of the concept."""
    root: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    for key, value in pairs(root):
        if SPECIAL.fullmatch(key.value):
            yield (*place(key), "special")
        if key.value in {"_target_", "_symbol_"}:
            yield (*place(value), "target")
    for node in below(root):
        if isinstance(node, yaml.ScalarNode) and "${" in node.value:
            yield from delimiters(text, node)
    for key, value in root.value:
        if key.value in {"defaults", "args", "meta"}:
            yield (*place(key), "section")
        if key.value == "defaults":
            yield from defaults(value)


def delimiters(text: str, node: yaml.Node) -> Iterator[tuple[int, int, int, str]]:
    assert node.start_mark.line == node.end_mark.line, "the test reads interpolations of one line only"
    line, column = node.start_mark.line, node.start_mark.column
    for found in re.finditer(r"\$\{|\}", text[node.start_mark.index : node.end_mark.index]):
        yield line, column + found.start(), column + found.end(), "delimiter"


def defaults(items: yaml.Node) -> Iterator[tuple[int, int, int, str]]:
    for item in items.value:
        if isinstance(item, yaml.ScalarNode) and item.value == "_self_":
            yield (*place(item), "self")
        if isinstance(item, yaml.MappingNode):
            ((group, _),) = item.value
            *words, name = group.value.split(" ")
            line, start, _ = place(group)
            start += len(" ".join([*words, ""]))
            yield line, start, start + len(name.split("@")[0]), "group"


def place(node: yaml.Node) -> tuple[int, int, int]:
    assert node.style is None, "the test reads plain keys and targets only"
    return node.start_mark.line, node.start_mark.column, node.end_mark.column


def below(node: yaml.Node) -> Iterator[yaml.Node]:
    yield node
    inner = node.value if isinstance(node, yaml.CollectionNode) else []
    for one in inner:
        for child in one if isinstance(one, tuple) else (one,):
            yield from below(child)


def pairs(node: yaml.Node) -> Iterator[tuple[Any, Any]]:
    return (pair for one in below(node) if isinstance(one, yaml.MappingNode) for pair in one.value)


def test_the_test_knows_what_a_config_means() -> None:
    text = "defaults:\n  - override /a@b.c: d\n  - _self_\nx: {_target_: m.C, y: '${a}'}\n"
    assert sorted(meanings(text)) == [
        (0, 0, 8, "section"),
        (1, 13, 15, "group"),
        (2, 4, 10, "self"),
        (3, 4, 12, "special"),
        (3, 14, 17, "target"),
        (3, 23, 25, "delimiter"),
        (3, 26, 27, "delimiter"),
    ]


# ---- the names themselves


def test_every_name_of_the_grammars_is_a_known_concept() -> None:
    named: set[str] = set()
    for grammar in (ROOT / "syntax" / "vscode" / "syntaxes").glob("*.json"):
        text = grammar.read_text(encoding="utf-8")
        named.update(re.findall(r"[\w.-]+\.forge", " ".join(re.findall(r'"name": "([^"]*)"', text))))
    assert {name for name in named if not name.startswith("meta.")} == set(CONCEPTS["textmate"])


def test_every_concept_has_a_colour_in_vim() -> None:
    text = (ROOT / "syntax" / "vim" / "syntax" / "forge.vim").read_text(encoding="utf-8")
    assert set(CONCEPTS["vim"]) <= set(re.findall(r"^hi def link (\w+)", text, re.MULTILINE))
