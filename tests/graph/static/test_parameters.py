"""Functions, classes and dataclasses: the parameters of a call of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from forge.graph.static.classes import Definition
from forge.graph.static.disk import Disk
from forge.graph.static.parameters import makes_object, signature_from
from forge.graph.static.source import SourceTree

if TYPE_CHECKING:
    from pathlib import Path

DATA = "from dataclasses import dataclass, field, KW_ONLY, InitVar\nfrom typing import ClassVar, NamedTuple\nimport dataclasses\n"


def read(source: str, name: str, folder: Path) -> str:
    """The parameters of ``zoo.<name>``: ``!`` for required, ``/`` for by place only, ``*`` for by name only."""
    (folder / "zoo.py").write_text(source + "\n")
    tree = SourceTree(Disk([str(folder)]))
    found = tree.resolve(f"zoo.{name}")
    assert isinstance(found, Definition)
    signature = signature_from(tree, found, f"zoo.{name}")
    if signature is None:
        return "cannot tell"
    marks = {"positional_only": "/", "positional_or_keyword": "", "keyword_only": "*"}
    parts = [f"{marks[p.kind]}{p.name}{'!' if p.required else ''}" for p in signature.parameters]
    return " ".join(
        [*parts, *(["*args"] if signature.var_positional else []), *(["**kwargs"] if signature.var_keyword else [])]
    )


SIGNATURES = {
    "a function": ("def f(a, /, b, c=1, *, d, e=2): ...", "f", "/a! b! c *d! *e"),
    "variable arguments": ("def f(a, *rest, **more): ...", "f", "a! *args **kwargs"),
    "an async function": ("async def f(a): ...", "f", "a!"),
    "no arguments": ("def f(): ...", "f", ""),
    "a class with __init__": ("class f:\n    def __init__(self, a, b=1): ...", "f", "a! b"),
    "a class without": ("class f: ...", "f", ""),
    "an inherited __init__": ("class A:\n    def __init__(self, a): ...\nclass B(A): ...\nclass f(B): ...", "f", "a!"),
    "a generic class": ("from typing import Generic, TypeVar\nT = TypeVar('T')\nclass f(Generic[T]):\n    def __init__(self, a): ...", "f", "a!"),
    "a base with parameters": ("class A:\n    def __init__(self, a): ...\nclass f(A['x']): ...", "f", "a!"),
    "the first of two bases": ("class A:\n    def __init__(self, a): ...\nclass B:\n    def __init__(self, b): ...\nclass f(A, B): ...", "f", "a!"),
    "a diamond": ("class O:\n    def __init__(self, o): ...\nclass A(O): ...\nclass B(O):\n    def __init__(self, b): ...\nclass f(A, B): ...", "f", "b!"),
    "__new__": ("class f:\n    def __new__(cls, a): ...", "f", "a!"),
    "__new__ that takes anything": ("class f:\n    def __new__(cls, *a, **k): ...\n    def __init__(self, a): ...", "f", "a!"),
    "__new__ and __init__ that differ": ("class f:\n    def __new__(cls, a): ...\n    def __init__(self, b): ...", "f", "cannot tell"),
    "*args instead of self": ("class f:\n    def __init__(*args, a): ...", "f", "*a! *args"),
    "an unknown base": ("import math\nclass f(math.X): ...", "f", "cannot tell"),
    "an unknown base behind an own __init__": ("import math\nclass f(math.X):\n    def __init__(self, a): ...", "f", "a!"),
    "an exception": ("class f(ValueError): ...", "f", "cannot tell"),
    "an enumeration": ("import enum\nclass f(enum.Enum):\n    A = 1", "f", "cannot tell"),
    "a metaclass that calls": ("class M(type):\n    def __call__(cls, x): ...\nclass f(metaclass=M):\n    def __init__(self, a): ...", "f", "cannot tell"),
    "a metaclass that does not": ("class M(type): ...\nclass f(metaclass=M):\n    def __init__(self, a): ...", "f", "a!"),
    "an abstract class": ("from abc import ABC, ABCMeta\nclass A(metaclass=ABCMeta):\n    def __init__(self, a): ...\nclass f(A, ABC): ...", "f", "a!"),
    "an __init__ that is assigned": ("class f:\n    __init__ = print", "f", "cannot tell"),
    "a static method": ("class C:\n    @staticmethod\n    def f(a): ...", "C.f", "a!"),
    "a class method": ("class C:\n    @classmethod\n    def f(cls, a): ...", "C.f", "a!"),
    "a method of an object": ("class C:\n    def f(self, a): ...", "C.f", "self! a!"),
    "a property": ("class C:\n    @property\n    def f(self): ...", "C.f", "cannot tell"),
    "an overloaded function": ("from typing import overload\n@overload\ndef f(a): ...\n@overload\ndef f(a, b): ...\ndef f(a, b=1): ...", "f", "a! b"),
    "a dataclass": (DATA + "@dataclass\nclass f:\n    a: int\n    b: int = 1\n    C: ClassVar[int] = 2\n    d = 3", "f", "a! b"),
    "dataclass options": (DATA + "@dataclasses.dataclass(frozen=True, kw_only=True)\nclass f:\n    a: int\n    b: int = 1", "f", "*a! *b"),
    "dataclass fields": (
        DATA + "@dataclass\nclass f:\n    a: int = field()\n    b: int = field(default=1)\n    c: list = field(default_factory=list)\n"
        "    d: int = field(init=False)\n    e: int = field(kw_only=True)\n    g: InitVar[int] = 1",
        "f",
        "a! b c g *e!",
    ),
    "KW_ONLY": (DATA + "@dataclass\nclass f:\n    a: int\n    _: KW_ONLY\n    b: int", "f", "a! *b!"),
    "inherited fields": (DATA + "@dataclass\nclass A:\n    a: int\n    b: int = 1\n@dataclass\nclass f(A):\n    c: int = 2\n    a: int = 3", "f", "a b c"),
    "a field that is no longer one": (DATA + "@dataclass\nclass A:\n    a: int\n@dataclass\nclass f(A):\n    a: int = field(init=False, default=1)\n    b: int = 2", "f", "b"),
    "a plain class below a dataclass": (DATA + "@dataclass\nclass A:\n    a: int\nclass f(A):\n    b: int = 1", "f", "a!"),
    "a dataclass with its own __init__": (DATA + "@dataclass\nclass f:\n    a: int\n    def __init__(self, z): ...", "f", "z!"),
    "a dataclass without __init__": (DATA + "@dataclass(init=False)\nclass f:\n    a: int", "f", ""),
    "a dataclass on an unknown base": (DATA + "import math\n@dataclass\nclass f(math.X):\n    a: int", "f", "cannot tell"),
    "a named tuple": (DATA + "class f(NamedTuple):\n    a: int\n    b: int = 1", "f", "a! b"),
    "below a named tuple": (DATA + "class A(NamedTuple):\n    a: int\nclass f(A): ...", "f", "a!"),
    "subclasses made dataclasses by their base": (
        DATA + "class A:\n    def __init_subclass__(cls):\n        dataclass(cls, kw_only=True)\nclass f(A):\n    a: int\n    b: int = 1",
        "f",
        "*a *b *args **kwargs",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("source", "name", "wanted"), SIGNATURES.values(), ids=SIGNATURES.keys())
def test_the_parameters_of_a_call_are_read(source: str, name: str, wanted: str, tmp_path: Path) -> None:
    assert read(source, name, tmp_path) == wanted


MAKES = {
    "a class": ("class C: ...", "C", True),
    "a text": ("class C(str): ...", "C", False),
    "a list": ("class C(list): ...", "C", False),
    "a named tuple": ("from typing import NamedTuple\nclass C(NamedTuple):\n    a: int", "C", False),
    "a class that makes what it likes": ("class C:\n    def __new__(cls): return 'x'", "C", False),
    "a function that says so": ("class C: ...\ndef f() -> C: ...", "f", True),
    "a function that says so in quotes": ("def f() -> 'C': ...\nclass C: ...", "f", True),
    "a function that gives a text": ("def f() -> str: ...", "f", False),
    "a function that says nothing": ("def f(): ...", "f", False),
    "a function that gives something abstract": (
        "from abc import ABC\nclass C(ABC): ...\ndef f() -> C: ...",
        "f",
        False,
    ),
}


@pytest.mark.parametrize(("source", "name", "wanted"), MAKES.values(), ids=MAKES.keys())
def test_what_a_call_gives_is_known_only_when_it_is_sure(source: str, name: str, wanted: bool, tmp_path: Path) -> None:  # noqa: FBT001 - an expected value
    (tmp_path / "zoo.py").write_text(source + "\n")
    tree = SourceTree(Disk([str(tmp_path)]))
    found = tree.resolve(f"zoo.{name}")
    assert isinstance(found, Definition)
    assert makes_object(tree, found) is wanted
