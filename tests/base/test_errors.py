from __future__ import annotations

import inspect
import re

from forge.base import errors
from forge.base.errors import ConfigError, ForgeError, MissingValueError
from forge.base.origin import Origin


def drawn_tree() -> dict[str, str]:
    """Each class of the drawing with the class above it."""
    parents: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"([ │├└─]+)([A-Z]\w*Error)\b", line)
        if match is None:
            continue
        depth, name = len(match[1]), match[2]
        while above and above[-1][0] >= depth:
            above.pop()
        parents[name] = above[-1][1] if above else "Exception"
        above.append((depth, name))
    return parents


def test_the_tree_in_the_docstring_is_the_tree_of_classes() -> None:
    classes = {
        name: value for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, Exception)
    }
    assert drawn_tree() == {name: value.__base__.__name__ for name, value in classes.items()}
    assert sorted(classes) == sorted(errors.__all__)


def test_the_drawing_says_what_each_docstring_says() -> None:
    for name in errors.__all__:
        assert inspect.getdoc(getattr(errors, name)), name
        if name != "ForgeError":
            assert re.search(rf"{name} {{2,}}\w", errors.__doc__ or ""), name


def test_a_message_says_where_what_and_what_to_do() -> None:
    error = MissingValueError("the value is missing", origin=Origin("/x/a.yaml", 3), hint="set it", key="model.dim")
    assert str(error) == "/x/a.yaml:3: model.dim: the value is missing\n  set it"
    assert error.where == "/x/a.yaml:3"


def test_a_message_leaves_out_what_is_not_known() -> None:
    assert str(ForgeError("it broke")) == "it broke"
    assert str(ForgeError("it broke", key="a.b")) == "a.b: it broke"
    assert ForgeError("it broke").where == ""


def test_one_except_clause_catches_a_family() -> None:
    assert issubclass(errors.ConfigLimitError, ConfigError)
    assert issubclass(errors.CycleError, errors.GraphError)
