"""A call of a config against a signature: the same verdict as Python's own binding, and messages that help."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from forge.base.origin import Origin
from forge.base.secrets import Secret
from forge.graph.call_check import call_findings, target_findings
from forge.graph.node import Call, Const, Edge, Expr, Map, Missing, Mode, Node, Seq
from forge.graph.static.signature import Lookup, Signatures

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGE_CACHE_HOME", str(tmp_path / "cache"))


def node_of(value: Any, path: tuple[Any, ...]) -> Node:
    if isinstance(value, (Call, Map, Seq, Missing, Expr)):
        return value
    if isinstance(value, list):
        return Seq(path, tuple(Edge(i, node_of(one, (*path, i))) for i, one in enumerate(value)))
    if isinstance(value, dict):
        return Map(path, tuple(Edge(key, node_of(one, (*path, key))) for key, one in value.items()))
    return Const(path, value, origin=Origin("/p/a.yaml", 7))


def call(target: str, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, mode: Mode = "call") -> Call:
    positional = tuple(
        Edge(i, node_of(one, ("x", "_args_", i)), Origin("/p/a.yaml", 10 + i)) for i, one in enumerate(args)
    )
    named = tuple(
        Edge(key, node_of(one, ("x", key)), Origin("/p/a.yaml", 20 + i))
        for i, (key, one) in enumerate((kwargs or {}).items())
    )
    return Call(
        ("x",), target, positional, named, mode, origin=Origin("/p/a.yaml", 1), target_origin=Origin("/p/a.yaml", 2)
    )


def said(source: str, *args: Any, mode: Mode = "call", folder: Path, **kwargs: Any) -> list[str]:
    """What is said of a call of ``zoo.f``, written as ``line code: message``."""
    (folder / "zoo.py").write_text(source + "\n")
    targets = Signatures([str(folder)])
    found = targets.lookup("zoo.f")
    assert found.signature is not None
    node = call("zoo.f", args, kwargs, mode)
    return [
        f"{one.origin.line if one.origin else 0} {one.code}: {one.message}{', ' + one.hint if one.hint else ''}"
        for one in (*target_findings(node, found), *call_findings(node, found.signature, targets))
    ]


F = "def f(width: int, depth: int = 2, *, bias: bool = True, name: str | None = None): ..."

SAID = {
    "nothing is wrong": (F, [3], {"bias": False}, []),
    "misspelt argument": (F, [3], {"dpeth": 1}, ["20 unknown-argument: f has no argument 'dpeth', did you mean 'depth'?"]),
    "unlike any argument": (F, [3], {"zzz": 1}, ["20 unknown-argument: f has no argument 'zzz', it takes width, depth, bias, name"]),
    "argument of a function without any": ("def f(): ...", [], {"a": 1}, ["20 unknown-argument: f has no argument 'a', it takes none by name"]),
    "missing": (F, [], {"depth": 1}, ["2 missing-argument: f needs the argument 'width', add width: (int), or write _partial_: true"]),
    "too many": (F, [1, 2, 3], {}, ["12 too-many-arguments: f takes 2 positional arguments, 3 given"]),
    "any at all": ("def f(*, a=1): ...", [1], {}, ["10 too-many-arguments: f takes no positional arguments, 1 given"]),
    "given twice": (F, [1], {"width": 2}, ["20 argument-twice: f gets 'width' twice: in _args_ and by its name, remove one of them"]),
    "positional only by name": ("def f(a, /): ...", [], {"a": 1}, [
        "20 unknown-argument: f has no argument 'a', it takes none by name",
        "2 missing-argument: f needs the argument 'a', add a:, or write _partial_: true",
    ]),
    "text for a number": (F, ["3"], {}, ["10 wrong-type: 'width' of f must be int, not the text '3'"]),
    "list for a number": (F, [[1]], {}, ["10 wrong-type: 'width' of f must be int, not a list"]),
    "mapping for a text": (F, [1], {"name": {"a": 1}}, ["20 wrong-type: 'name' of f must be str | None, not a mapping"]),
    "nothing for a number": (F, [None], {}, ["10 wrong-type: 'width' of f must be int, not None"]),
    "nothing where nothing is allowed": (F, [1], {"name": None}, []),
    "nothing where the default is nothing": ("def f(a: int = None): ...", [None], {}, []),
    "a whole number as a float": (F, [3.0], {}, ["10 float-for-int: 'width' of f is a whole number, and 3.0 is not written as one, write 3"]),
    "a fraction for a whole number": (F, [3.5], {}, ["10 wrong-type: 'width' of f must be int, not 3.5"]),
    "an int for a float": ("def f(a: float): ...", [1], {}, []),
    "yes or no for a number": (F, [True], {}, ["10 bool-for-number: 'width' of f is a number (int), and True is a yes or no"]),
    "a number for yes or no": (F, [1], {"bias": 7}, ["20 wrong-type: 'bias' of f must be bool, not 7"]),
    "one for yes": (F, [1], {"bias": 1}, []),
    "one of some texts": ("from typing import Literal\ndef f(a: Literal['none', 'all']): ...", ["noen"], {}, [
        "10 wrong-type: 'a' of f must be Literal['none', 'all'], not the text 'noen', did you mean 'none'?"]),
    "an annotation in quotes": ("def f(a: 'int'): ...", ["x"], {}, ["10 wrong-type: 'a' of f must be int, not the text 'x'"]),
    "an annotation that its default contradicts": ("def f(a: int = 'auto', b: str = 3, c: bool = 1.5): ...", ["x", 3, "y"], {}, []),
    "an annotation that cannot be told": ("def f(a: Tensor, b: int | Tensor, c): ...", ["x", "y", "z"], {}, []),
    "a slip beside **kwargs": ("def f(hidden_size=1, **more): ...", [], {"hiden_size": 1}, [
        "20 near-argument: f accepts any argument, but 'hiden_size' looks like a slip, did you mean 'hidden_size'?"]),
    "something else beside **kwargs": ("def f(hidden_size=1, **more): ...", [], {"rope_theta": 1}, []),
    "anything": ("def f(*args, **kwargs): ...", [1, "x"], {"b": []}, []),
    "not yet given": (F, [Missing(("x",))], {}, []),
    "a secret": (F, [Secret("hush")], {}, []),
    "a computed value": (F, [Expr(("x",), "${a}1", "b1")], {}, ["10 wrong-type: 'width' of f must be int, not the text 'b1'"]),
    "a class method": ("class f:\n    def __init__(self, a): ...", [], {"b": 1}, [
        "20 unknown-argument: f has no argument 'b', it takes a", "2 missing-argument: f needs the argument 'a', add a:, or write _partial_: true"]),
}  # fmt: skip


@pytest.mark.parametrize(("source", "args", "kwargs", "wanted"), SAID.values(), ids=SAID.keys())
def test_what_is_said_of_a_call(
    source: str, args: list[Any], kwargs: dict[str, Any], wanted: list[str], tmp_path: Path
) -> None:
    assert said(source, *args, folder=tmp_path, **kwargs) == wanted


OBJECTS = F + "\nclass Plain: ...\nclass Text(str): ...\ndef made(): ...\ndef named() -> Plain: ..."


@pytest.mark.parametrize(
    ("inner", "wanted"),
    [
        (call("zoo.Plain"), "what Plain makes"),
        (call("zoo.named"), "what named makes"),
        (call("zoo.made", mode="partial"), "a partial call of made"),
        (call("zoo.made", mode="symbol"), "the object made"),
        (call("zoo.Text"), ""),
        (call("zoo.made"), ""),
        (call("math.sqrt"), ""),
        (call("torch.bfloat16", mode="symbol"), ""),
    ],
)
def test_an_object_where_a_plain_value_is_wanted_is_wrong_when_that_is_sure(
    inner: Call, wanted: str, tmp_path: Path
) -> None:
    found = said(OBJECTS, inner, folder=tmp_path)
    assert found == ([f"10 wrong-type: 'width' of f must be int, not {wanted}"] if wanted else [])


def test_a_partial_call_may_lack_arguments_and_not_have_too_many(tmp_path: Path) -> None:
    assert said(F, mode="partial", folder=tmp_path) == []
    assert [line.split(":")[0] for line in said(F, mode="partial", folder=tmp_path, other=1)] == ["20 unknown-argument"]


def test_an_object_taken_as_it_is_takes_no_arguments() -> None:
    found = target_findings(call("zoo.f", [], {"a": 1}, "symbol"), Lookup("unknown"))
    assert [str(one).partition(": ")[2] for one in found] == [
        "x.a: f is taken as it is, so it takes no arguments, write _target_ instead of _symbol_ to call it"
    ]
    assert target_findings(call("zoo.f", mode="symbol"), Lookup("unknown")) == []


def test_a_target_that_is_not_there_is_said_at_its_line() -> None:
    found = target_findings(call("torch.optim.AdmW"), Lookup("absent", None, "AdmW", "torch.optim", ("AdamW", "Adam")))
    assert [str(one) for one in found] == ["/p/a.yaml:2: x: torch.optim has no 'AdmW', did you mean 'AdamW'?"]


def test_a_secret_is_never_shown(tmp_path: Path) -> None:
    hidden = Expr(("x",), "${oc.env:X}", Secret("hush"))
    assert not any("hush" in line for line in said(F, hidden, folder=tmp_path, name=Secret("hush"), zzz=Secret("hush")))


NAMES = ["alpha", "bravo", "charlie", "delta", "echo"]


@st.composite
def functions(draw: st.DrawFn) -> str:
    """The parameter list of a function, any that Python allows."""
    names = draw(st.permutations(NAMES))
    cuts = sorted(draw(st.lists(st.integers(0, len(names)), min_size=2, max_size=2)))
    first, middle, last = names[: cuts[0]], names[cuts[0] : cuts[1]], names[cuts[1] :]
    optional = draw(st.integers(0, cuts[1]))  # the last ones before the star have defaults
    plain = [name if i < cuts[1] - optional else f"{name}=0" for i, name in enumerate((*first, *middle))]
    parts = [*plain[: len(first)], *(["/"] if first else []), *plain[len(first) :]]
    star = draw(st.booleans())
    if star:
        parts.append("*rest")
    elif last:
        parts.append("*")
    parts += [name if draw(st.booleans()) else f"{name}=0" for name in last]
    return ", ".join([*parts, *(["**more"] if draw(st.booleans()) else [])])


SHAPES = [
    "def f({}): ...",
    "class f:\n    def __init__(self, {}): ...",
    "class A:\n    def __init__(self, {}): ...\nclass f(A): ...",
]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    functions(),
    st.sampled_from(SHAPES),
    st.integers(0, 6),
    st.lists(st.sampled_from([*NAMES, "foxtrot"]), unique=True),
    st.sampled_from(["call", "partial"]),
)
def test_the_verdict_is_that_of_python_itself(
    tmp_path: Path, parameters: str, shape: str, positional: int, named: list[str], mode: Mode
) -> None:
    source = shape.format(parameters)
    space: dict[str, Any] = {}
    exec(source, space)  # noqa: S102 - generated above
    arguments, named_arguments = range(positional), dict.fromkeys(named, 0)
    only_by_place = parameters.partition("/")[0].replace("=0", "").split(", ") if "/" in parameters else []
    # Older versions of bind_partial refuse such a name even where **more takes it, unlike a real call.
    assume(mode == "call" or "**more" not in parameters or not set(named) & set(only_by_place))
    try:
        if mode == "call":
            space["f"](*arguments, **named_arguments)
        else:
            inspect.signature(space["f"]).bind_partial(*arguments, **named_arguments)
        accepted = True
    except TypeError:
        accepted = False
    found = said(source, *range(positional), mode=mode, folder=tmp_path, **dict.fromkeys(named, 0))
    assert (found == []) is accepted, found


TYPES = st.sampled_from(["int", "str", "float", "bool", "list", "dict", "int | None", "Tensor", "list[int]"])


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TYPES, st.sampled_from([1, "x", 1.5, True, None, [], {}]))
def test_a_value_of_the_annotated_type_is_never_wrong(tmp_path: Path, annotation: str, value: Any) -> None:
    kinds = {"int": int, "str": str, "float": (int, float), "bool": bool, "list": list, "dict": dict}
    parts = [kinds.get(part.split("[")[0]) for part in annotation.split(" | ")]
    right = (
        annotation == "Tensor"
        or (value is None and "None" in annotation)
        or any(isinstance(value, p) for p in parts if p)
    )
    errors = [line for line in said(f"def f(a: {annotation}): ...", value, folder=tmp_path) if "wrong-type" in line]
    assert not (right and errors), errors
