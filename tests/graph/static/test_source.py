"""What dotted names mean, on small source trees, one language feature each."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from forge.graph.static.classes import Absent, Definition, Unknown
from forge.graph.static.disk import Disk, Module
from forge.graph.static.source import SourceTree

if TYPE_CHECKING:
    from pathlib import Path

    from forge.graph.static.classes import Resolved

HERE = "class Net:\n    def __init__(self, width): ...\n"


def resolved(folder: Path, files: dict[str, str], target: str) -> Resolved:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return SourceTree(Disk([str(folder)])).resolve(target)


def place(found: Resolved, folder: Path) -> str:
    """Where a definition is, as ``file:line``."""
    assert isinstance(found, Definition), found
    return f"{found.module.path.removeprefix(f'{folder}/')}:{found.node.lineno}"


FOLLOWED = {
    "defined in the package itself": ({"zoo/__init__.py": HERE}, "zoo.Net", "zoo/__init__.py:1"),
    "in a module that is one file": ({"zoo.py": "\n" + HERE}, "zoo.Net", "zoo.py:2"),
    "in a submodule": ({"zoo/__init__.py": "", "zoo/nets.py": HERE}, "zoo.nets.Net", "zoo/nets.py:1"),
    "in a package without __init__": ({"zoo/nets.py": HERE}, "zoo.nets.Net", "zoo/nets.py:1"),
    "from import": ({"zoo/__init__.py": "from zoo.nets import Net", "zoo/nets.py": HERE}, "zoo.Net", "zoo/nets.py:1"),
    "from import as": (
        {"zoo/__init__.py": "from .nets import Net as Grid", "zoo/nets.py": HERE},
        "zoo.Grid",
        "zoo/nets.py:1",
    ),
    "import as": ({"zoo/__init__.py": "import zoo.nets as n", "zoo/nets.py": HERE}, "zoo.n.Net", "zoo/nets.py:1"),
    "from two levels up": (
        {"zoo/__init__.py": HERE, "zoo/a/__init__.py": "", "zoo/a/b.py": "from .. import Net"},
        "zoo.a.b.Net",
        "zoo/__init__.py:1",
    ),
    "star import": ({"zoo/__init__.py": "from .nets import *", "zoo/nets.py": HERE}, "zoo.Net", "zoo/nets.py:1"),
    "star import with __all__": (
        {"zoo/__init__.py": "from .nets import *", "zoo/nets.py": "__all__ = ['Net']\n" + HERE},
        "zoo.Net",
        "zoo/nets.py:2",
    ),
    "star import of star import": (
        {"zoo/__init__.py": "from .a import *", "zoo/a.py": "from .b import *", "zoo/b.py": HERE},
        "zoo.Net",
        "zoo/b.py:1",
    ),
    "the last of two star imports": (
        {"zoo/__init__.py": "from .a import *\nfrom .b import *", "zoo/a.py": HERE, "zoo/b.py": HERE},
        "zoo.Net",
        "zoo/b.py:1",
    ),
    "TYPE_CHECKING in a lazy package": (
        {
            "zoo/__init__.py": "import sys\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .a import *\n"
            "else:\n    sys.modules[__name__] = object()",
            "zoo/a.py": HERE,
        },
        "zoo.Net",
        "zoo/a.py:1",
    ),
    "try and except ImportError": (
        {"zoo/__init__.py": "try:\n    from .a import Net\nexcept ImportError:\n    Net = None", "zoo/a.py": HERE},
        "zoo.Net",
        "zoo/a.py:1",
    ),
    "the branch of this Python": (
        {"zoo.py": "import sys\nif sys.version_info >= (3, 8):\n    class Net: ...\nelse:\n    Net = None"},
        "zoo.Net",
        "zoo.py:3",
    ),
    "the branch of this system": (
        {"zoo.py": f"import sys\nif sys.platform != {sys.platform!r}:\n    Net = None\nelse:\n    class Net: ..."},
        "zoo.Net",
        "zoo.py:5",
    ),
    "both branches mean the same": (
        {"zoo/__init__.py": "if input:\n    from .a import Net\nelse:\n    from zoo.a import Net", "zoo/a.py": HERE},
        "zoo.Net",
        "zoo/a.py:1",
    ),
    "the later of two definitions": ({"zoo.py": "def f(a): ...\ndef f(b): ...\n"}, "zoo.f", "zoo.py:2"),
    "an assignment": ({"zoo.py": HERE + "Grid = Net"}, "zoo.Grid", "zoo.py:1"),
    "an assignment of a dotted name": (
        {"zoo/__init__.py": "from zoo import a\nGrid = a.Net", "zoo/a.py": HERE},
        "zoo.Grid",
        "zoo/a.py:1",
    ),
    "a class passed through a function": (
        {"zoo.py": "def same(c):\n    return c\n" + HERE + "Net = same(Net)"},
        "zoo.Net",
        "zoo.py:3",
    ),
    "a class method": (
        {"zoo.py": "class Net:\n    @classmethod\n    def load(cls, path): ..."},
        "zoo.Net.load",
        "zoo.py:3",
    ),
    "an inherited method": (
        {
            "zoo/__init__.py": "from .a import Base\nclass Net(Base): ...",
            "zoo/a.py": "class Base:\n    def load(self): ...",
        },
        "zoo.Net.load",
        "zoo/a.py:2",
    ),
    "a class in a class": ({"zoo.py": "class Net:\n    class Inner: ..."}, "zoo.Net.Inner", "zoo.py:2"),
    "inside with": ({"zoo.py": "with open('x'):\n    class Net: ..."}, "zoo.Net", "zoo.py:2"),
    "an attribute before a submodule of the same name": (
        {"zoo/__init__.py": "from .net import net", "zoo/net.py": "def net(a): ..."},
        "zoo.net",
        "zoo/net.py:1",
    ),
    "a submodule behind a star import of compiled code": (
        {"zoo/__init__.py": "from _thread import *", "zoo/nets.py": HERE},
        "zoo.nets.Net",
        "zoo/nets.py:1",
    ),
    "the stub of compiled code": (
        {"zoo/__init__.py": "from _thread import Net", "zoo/__init__.pyi": HERE},
        "zoo.Net",
        "zoo/__init__.pyi:1",
    ),
}


@pytest.mark.parametrize(("files", "target", "wanted"), FOLLOWED.values(), ids=FOLLOWED.keys())
def test_a_name_is_followed_to_its_definition(files: dict[str, str], target: str, wanted: str, tmp_path: Path) -> None:
    assert place(resolved(tmp_path, files, target), tmp_path) == wanted


ABSENT = {
    "not in the module": ({"zoo.py": HERE}, "zoo.Nett", ("Nett", "zoo")),
    "not in the package": ({"zoo/__init__.py": "", "zoo/nets.py": HERE}, "zoo.nest.Net", ("nest", "zoo")),
    "not in a star import": ({"zoo/__init__.py": "from .a import *", "zoo/a.py": HERE}, "zoo.Nett", ("Nett", "zoo")),
    "not exported": (
        {"zoo/__init__.py": "from .a import *", "zoo/a.py": "__all__ = ['Net']\nclass Hidden: ...\n" + HERE},
        "zoo.Hidden",
        ("Hidden", "zoo"),
    ),
    "a slip in a lazy package": (
        {"zoo/__init__.py": "def __getattr__(name): ...\nclass Network: ..."},
        "zoo.Netwrok",
        ("Netwrok", "zoo"),
    ),
    "a slip in a method": (
        {"zoo.py": "class Net:\n    def from_folder(self): ..."},
        "zoo.Net.from_foldr",
        ("from_foldr", "Net"),
    ),
}


@pytest.mark.parametrize(("files", "target", "wanted"), ABSENT.values(), ids=ABSENT.keys())
def test_a_name_that_is_surely_not_there_is_told_from_one_that_may_be(
    files: dict[str, str], target: str, wanted: tuple[str, str], tmp_path: Path
) -> None:
    found = resolved(tmp_path, files, target)
    assert isinstance(found, Absent), found
    assert (found.part, found.where) == wanted


def test_the_names_that_are_there_are_given_for_a_suggestion(tmp_path: Path) -> None:
    files = {
        "zoo/__init__.py": "from .a import *\nclass Own: ...\n_hidden = 1",
        "zoo/a.py": "__all__ = ['Net']\n" + HERE,
    }
    found = resolved(tmp_path, files, "zoo.Nett")
    assert isinstance(found, Absent)
    assert found.candidates == ("Net", "Own", "a")


UNKNOWN = {
    "a package that is not installed": ({}, "no_such_package_at_all.Net"),
    "compiled code": ({}, "math.sqrt"),
    "a value": ({"zoo.py": "x = object()"}, "zoo.x"),
    "an attribute of a value": ({"zoo.py": "x = object()"}, "zoo.x.y"),
    "made by __getattr__": ({"zoo.py": "def __getattr__(name): ..."}, "zoo.Anything"),
    "put into globals": ({"zoo.py": "globals()['Net'] = 1"}, "zoo.Other"),
    "declared global in a function": ({"zoo.py": "def setup():\n    global Net\n    Net = 1"}, "zoo.Net"),
    "a star import of compiled code": ({"zoo.py": "from _thread import *"}, "zoo.Net"),
    "a star import of something not installed": ({"zoo.py": "from no_such_package_at_all import *"}, "zoo.Net"),
    "two branches that differ": ({"zoo.py": "if input:\n    class Net: ...\nelse:\n    class Net: ..."}, "zoo.Net"),
    "a file that does not parse": ({"zoo.py": "class Net(:"}, "zoo.Net"),
    "a member of a class with a base that is unknown": (
        {"zoo.py": "import math\nclass Net(math.X): ..."},
        "zoo.Net.load",
    ),
    "a member put on the class from outside": (
        {"zoo.py": "class Net:\n    def lead(self): ...\nNet.load = 1"},
        "zoo.Net.load",
    ),
    "a module that imports itself": ({"zoo.py": "from zoo import Net"}, "zoo.Net"),
    "two modules that import each other": (
        {"zoo/__init__.py": "", "zoo/a.py": "from .b import Net", "zoo/b.py": "from .a import Net"},
        "zoo.a.Net",
    ),
    "two modules with stars at each other": (
        {"zoo/__init__.py": "", "zoo/a.py": "from .b import *\nNetish = 1", "zoo/b.py": "from .a import *"},
        "zoo.a.Net",
    ),
    "a class that is its own base": ({"zoo.py": "class Net(Net): ..."}, "zoo.Net.load"),
    "another name that differs by a number": ({"zoo.py": "def __getattr__(name): ...\nint8 = 1"}, "zoo.int7"),
    "another name with a suffix": ({"zoo.py": "def __getattr__(name): ...\nclass Network: ..."}, "zoo.NetworkFast"),
}


@pytest.mark.parametrize(("files", "target"), UNKNOWN.values(), ids=UNKNOWN.keys())
def test_what_cannot_be_told_is_unknown(files: dict[str, str], target: str, tmp_path: Path) -> None:
    found = resolved(tmp_path, files, target)
    assert isinstance(found, Unknown), found


def test_a_module_is_a_module(tmp_path: Path) -> None:
    assert isinstance(resolved(tmp_path, {"zoo/__init__.py": "", "zoo/a.py": ""}, "zoo.a"), Module)


def test_a_file_without_the_name_is_not_parsed(tmp_path: Path) -> None:
    """One star import leads to thousands of files in transformers: their bytes have to do."""
    files = {
        "zoo/__init__.py": "from .a import *\nfrom .b import *",
        "zoo/a.py": HERE,
        "zoo/b.py": "class Other(:  # no Python",
    }
    assert place(resolved(tmp_path, files, "zoo.Net"), tmp_path) == "zoo/a.py:1"


def test_an_installed_module_is_not_hidden_by_a_source_folder(tmp_path: Path) -> None:
    """A project's folders stand behind everything else when forge imports, so here too."""
    found = resolved(tmp_path, {"json/__init__.py": HERE}, "json.Net")
    assert isinstance(found, Absent)


def test_reading_imports_nothing(tmp_path: Path) -> None:
    boom = "raise SystemExit('imported')\n"
    found = resolved(tmp_path, {"zoo/__init__.py": boom + "from .a import *", "zoo/a.py": boom + HERE}, "zoo.Net")
    assert isinstance(found, Definition)
    assert "zoo" not in sys.modules
