from __future__ import annotations

import ast
import builtins

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.base.errors import GraphError
from forge.base.origin import Origin
from forge.render.python.imports import PARTIAL, Imports, imports_for, split_target

NAMES = ("torch", "optim", "torch_optim", "AdamW", "Adam", "list", "print", "json", "os", "Model", "make", "MAX_SIZE", "_Hidden",
         "__future__", "builtins", "match", "a", "A", "partial", "functools", "sys", "the_list")  # fmt: skip
TARGETS = st.lists(
    st.lists(st.sampled_from(NAMES), min_size=2, max_size=4).map(".".join) | st.just(PARTIAL), min_size=1, max_size=8
)


@pytest.mark.parametrize(
    ("target", "module", "names"),
    [
        ("torch.optim.AdamW", "torch.optim", ("AdamW",)),
        ("torch.bfloat16", "torch", ("bfloat16",)),
        ("m.Model.from_config", "m", ("Model", "from_config")),
        ("m._Hidden.make", "m", ("_Hidden", "make")),
        ("m.Outer.Inner.make", "m", ("Outer", "Inner", "make")),
        ("Package.make", "Package", ("make",)),
        ("m.MAX_SIZE", "m", ("MAX_SIZE",)),
    ],
)
def test_a_target_is_a_module_and_the_names_behind_it(target: str, module: str, names: tuple[str, ...]) -> None:
    assert split_target(target) == (module, names)


def test_the_caller_knows_better_where_a_module_ends() -> None:
    home = {"pkg.thing.make": ("pkg", ("thing", "make")), "pkg.only": ("pkg.only", ())}.get
    assert split_target("pkg.thing.make", home) == ("pkg", ("thing", "make"))
    assert split_target("pkg.other.make", home) == ("pkg.other", ("make",))
    assert split_target("pkg.only", home) == ("pkg", ("only",)), "a module by itself is no object"


@pytest.mark.parametrize("target", ["", "torch", ".a", "a.", "a..b", "a.b c", "a.class", "a.b()", "a.__debug__", "a.ﬁ"])
def test_what_is_no_dotted_name_is_refused_with_its_place(target: str) -> None:
    with pytest.raises(GraphError, match="not the dotted name") as caught:
        split_target(target, None, Origin("/x/a.yaml", 3))
    assert "/x/a.yaml:3" in str(caught.value)


@given(TARGETS)
def test_each_expression_reaches_its_target_through_the_imports(targets: list[str]) -> None:
    found = imports_for(targets)
    bound = bindings(found)
    assert set(found.expressions) == set(targets)
    assert set(bound) == found.names
    for target, expression in found.expressions.items():
        name, dot, rest = expression.partition(".")
        assert f"{bound[name]}{dot}{rest}" == target


@given(TARGETS)
def test_no_import_hides_a_builtin_and_none_is_unused(targets: list[str]) -> None:
    found = imports_for(targets)
    assert not found.names & set(dir(builtins))
    assert not any(name.startswith("__") and name.endswith("__") for name in found.names)
    assert {expression.partition(".")[0] for expression in found.expressions.values()} == found.names


def bindings(found: Imports) -> dict[str, str]:
    """What each name means after the statements; no name is bound twice."""
    pairs = []
    for node in ast.parse("\n".join(found.lines())).body:
        if isinstance(node, ast.ImportFrom):
            pairs += [(alias.asname or alias.name, f"{node.module}.{alias.name}") for alias in node.names]
        elif isinstance(node, ast.Import):
            assert all(alias.asname or "." not in alias.name for alias in node.names)
            pairs += [(alias.asname or alias.name, alias.name) for alias in node.names]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def test_statements_stand_in_two_sections_like_those_of_an_import_sorter() -> None:
    targets = ["torch.optim.AdamW", "torch.bfloat16", "torch.optim.make", "torch.optim.MAX_SIZE", "json.loads", PARTIAL]
    assert imports_for(targets).lines() == [
        "import json",
        "from functools import partial",
        "",
        "import torch",
        "from torch.optim import MAX_SIZE, AdamW, make",
    ]
    assert imports_for(["json.loads"]).lines() == ["import json"]
    assert imports_for([]).lines() == []


def test_a_long_statement_has_one_name_a_line() -> None:
    names = [f"AVeryLongNameOfAClass{letter}" for letter in "ABCDE"]
    lines = "\n".join(imports_for([f"pkg.{name}" for name in names]).lines()).splitlines()
    assert lines == ["from pkg import (", *(f"    {name}," for name in names), ")"]


def test_two_of_one_name_are_reached_through_their_modules() -> None:
    found = imports_for(["a.b.Model", "a.c.Model", "a.b.Other"])
    assert found.expressions == {"a.b.Model": "a_b.Model", "a.c.Model": "a_c.Model", "a.b.Other": "Other"}


def test_a_module_that_is_read_by_its_name_keeps_it() -> None:
    found = imports_for(["other.pkg.torch", "torch.bfloat16"])
    assert found.expressions == {"other.pkg.torch": "other_pkg.torch", "torch.bfloat16": "torch.bfloat16"}
