"""Signatures read from source: on small trees, one language feature each, and against `inspect` on real packages."""

from __future__ import annotations

import importlib
import inspect
import itertools
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from forge.graph.signature import Lookup, Parameter, Signature, Signatures, lookup, signature_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGE_CACHE_HOME", str(tmp_path / "cache"))


ages = itertools.count(1_000_000_000)


def write(path: Path, text: str) -> None:
    """Write a file with a time of its own in the past: what changed a moment ago is never kept on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (age := next(ages), age))


def written(folder: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        write(folder / "src" / name, text)
    return str(folder / "src")


def shown(signature: Signature | None) -> str:
    """``a, /, b=1, *, c: int, *args, **kwargs`` in a short form of its own: ``!`` marks a required parameter."""
    if signature is None:
        return "cannot tell"
    marks = {"positional_only": "/", "positional_or_keyword": "", "keyword_only": "*"}
    parts = [f"{marks[p.kind]}{p.name}{'!' if p.required else ''}" for p in signature.parameters]
    return " ".join(
        [*parts, *(["*args"] if signature.var_positional else []), *(["**kwargs"] if signature.var_keyword else [])]
    )


DATA = "from dataclasses import dataclass, field, KW_ONLY, InitVar\nfrom typing import ClassVar, NamedTuple\nimport dataclasses\n"
WRAPS = "import functools\n"

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
    "only overloads": ("from typing import overload\n@overload\ndef f(a): ...\n@overload\ndef f(a, b): ...", "f", "cannot tell"),
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
    "a decorator that passes on": (
        WRAPS + "def d(g):\n    @functools.wraps(g)\n    def w(*a, **k):\n        return g(*a, **k)\n    return w\n@d\ndef f(a): ...",
        "f",
        "a!",
    ),
    "a decorator that changes arguments": (
        WRAPS + "def d(g):\n    @functools.wraps(g)\n    def w(*a, **k):\n        k.pop('x', None)\n        return g(*a, **k)\n    return w\n@d\ndef f(a): ...",
        "f",
        "cannot tell",
    ),
    "a decorator that adds arguments": (
        WRAPS + "def d(g):\n    @functools.wraps(g)\n    def w(*a, **k):\n        return g(1, *a, **k)\n    return w\n@d\ndef f(a): ...",
        "f",
        "cannot tell",
    ),
    "a method decorator that passes on": (
        WRAPS + "def d(g):\n    @functools.wraps(g)\n    def w(self, *a, **k):\n        return g(self, *a, **k)\n    return w\nclass f:\n    @d\n    def __init__(self, a): ...",
        "f",
        "a!",
    ),
    "a decorator with arguments": (
        WRAPS + "def d(n):\n    def o(g):\n        @functools.wraps(g)\n        def w(*a, **k):\n            return g(*a, **k)\n        return w\n    return o\n@d(1)\ndef f(a): ...",
        "f",
        "a!",
    ),
    "a decorator that registers": ("ALL = []\ndef d(g):\n    ALL.append(g)\n    return g\n@d\ndef f(a): ...", "f", "a!"),
    "a decorator that returns something else": ("def d(g):\n    return 1\n@d\ndef f(a): ...", "f", "cannot tell"),
    "a decorator that is unknown": ("import math\n@math.d\ndef f(a): ...", "f", "cannot tell"),
    "a class as decorator": ("class d:\n    def __init__(self, g): ...\n@d\ndef f(a): ...", "f", "cannot tell"),
    "a class decorator that replaces __init__": (
        "def d(c):\n    c.__init__ = print\n    return c\n@d\nclass f:\n    def __init__(self, a): ...",
        "f",
        "a *args **kwargs",
    ),
    "a class decorator with and without brackets": (
        "def d(c=None, *, x=1):\n    def w(c):\n        c.tag = x\n        return c\n    return w(c) if c is not None else w\n@d\n@d(x=2)\nclass f:\n    def __init__(self, a): ...",
        "f",
        "a!",
    ),
    "a wrapper applied afterwards": ("import math\ndef f(a): ...\nf = math.wrap(f)", "f", "cannot tell"),
    "a method that a wrapper replaces": (
        "def d(c):\n    c.load = classmethod(print)\n    return c\nclass C:\n    @classmethod\n    def load(cls, a): ...\nC = d(C)",
        "C.load",
        "a *args **kwargs",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("source", "name", "wanted"), SIGNATURES.values(), ids=SIGNATURES.keys())
def test_a_signature_is_read_from_source(source: str, name: str, wanted: str, tmp_path: Path) -> None:
    folder = written(tmp_path, {"zoo.py": source + "\n"})
    assert shown(signature_of(f"zoo.{name}", [folder])) == wanted


def test_bases_and_decorators_are_followed_into_other_files(tmp_path: Path) -> None:
    files = {
        "zoo/__init__.py": "from .nets import *",
        "zoo/nets.py": "from .base import Base\nfrom .deco import same\n@same\nclass Net(Base): ...",
        "zoo/base.py": "class Base:\n    def __init__(self, width: int = 3): ...",
        "zoo/deco.py": "def same(c):\n    return c",
    }
    assert shown(signature_of("zoo.Net", [written(tmp_path, files)])) == "width"


def test_a_signature_says_what_it_is_and_where(tmp_path: Path) -> None:
    text = '\n\nclass Net:\n    """A net.\n\n    More."""\n    def __init__(self, width: "int | None" = None, *, bias: bool): ...\n'
    folder = written(tmp_path, {"zoo.py": text})
    assert signature_of("zoo.Net", [folder]) == Signature(
        "zoo.Net",
        (
            Parameter("width", "positional_or_keyword", False, "'int | None'", "None"),
            Parameter("bias", "keyword_only", True, "bool", None),
        ),
        False,
        False,
        "A net.",
        os.path.join(folder, "zoo.py"),
        3,
        True,
    )


def test_the_three_answers_are_kept_apart(tmp_path: Path) -> None:
    folder = written(tmp_path, {"zoo.py": "class Network: ...\nx = object()\n"})
    assert lookup("zoo.Network", [folder]).status == "found"
    assert lookup("zoo.Netwrok", [folder]) == Lookup("absent", None, "Netwrok", "zoo", ("Network",))
    assert lookup("zoo.x", [folder]).status == "unknown"
    assert lookup("zoo.1 + 1", [folder]).status == "unknown"


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
    folder = written(tmp_path, {"zoo.py": source + "\n"})
    assert Signatures([folder]).makes_object(f"zoo.{name}") is wanted


# The cache


def test_an_answer_on_disk_is_used_again_without_a_parser(tmp_path: Path) -> None:
    folder = written(tmp_path, {"zoo.py": "def f(a): ...\n"})
    first = lookup("zoo.f", [folder])
    program = (
        # The search path of this process: what another one finds on another path is not for it.
        f"import sys; sys.path[:] = {sys.path!r}; from forge.graph.signature import lookup; "
        f"found = lookup('zoo.f', [{folder!r}]); assert 'ast' not in sys.modules; print(found)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == str(first)


def changed(tmp_path: Path, files: dict[str, str], then: dict[str, str | None]) -> tuple[str, str]:
    """What ``zoo.f`` is before and after a change of files, each time by a new reader."""
    folder = written(tmp_path, files)
    before = shown(lookup("zoo.f", [folder]).signature)
    for name, text in then.items():
        path = tmp_path / "src" / name
        if text is None:
            path.unlink()
        else:
            write(path, text)
    return before, shown(lookup("zoo.f", [folder]).signature)


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    assert changed(tmp_path, {"zoo.py": "def f(a): ..."}, {"zoo.py": "def f(a, b): ..."}) == ("a!", "a! b!")


def test_a_file_written_a_moment_ago_is_always_read_again(tmp_path: Path) -> None:
    """Two writes within one tick of the file system's clock leave time and size as they are."""
    folder = written(tmp_path, {})
    path = tmp_path / "src" / "zoo.py"
    path.parent.mkdir()
    for name in "abcdefgh":
        path.write_text(f"def f({name}): ...")
        assert shown(lookup("zoo.f", [folder]).signature) == f"{name}!"


def test_a_changed_base_in_another_file_is_seen(tmp_path: Path) -> None:
    files = {
        "zoo/__init__.py": "from .a import A\nclass f(A): ...",
        "zoo/a.py": "class A:\n    def __init__(self, a): ...",
    }
    assert changed(tmp_path, files, {"zoo/a.py": "class A:\n    def __init__(self, longer): ..."}) == ("a!", "longer!")


def test_a_file_that_comes_to_win_is_seen(tmp_path: Path) -> None:
    assert changed(tmp_path, {"zoo.py": "def f(a): ..."}, {"zoo/__init__.py": "def f(package): ..."}) == (
        "a!",
        "package!",
    )


def test_a_file_that_goes_away_is_seen(tmp_path: Path) -> None:
    assert changed(tmp_path, {"zoo.py": "def f(a): ..."}, {"zoo.py": None}) == ("a!", "cannot tell")


def test_a_name_that_comes_to_exist_is_seen(tmp_path: Path) -> None:
    folder = written(tmp_path, {"zoo.py": "x = 1"})
    assert lookup("zoo.f", [folder]).status == "absent"
    write(tmp_path / "src" / "zoo.py", "def f(): ...")
    assert lookup("zoo.f", [folder]).status == "found"


def test_two_projects_with_a_package_of_one_name_do_not_mix(tmp_path: Path) -> None:
    one = written(tmp_path / "one", {"zoo.py": "def f(a): ..."})
    two = written(tmp_path / "two", {"zoo.py": "def f(b): ..."})
    assert [shown(lookup("zoo.f", [folder]).signature) for folder in (one, two, one)] == ["a!", "b!", "a!"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"made_by": 1}', "\x00", '{"targets": {"zoo.f": 3}}'])
def test_a_broken_cache_is_as_good_as_none(content: str, tmp_path: Path) -> None:
    folder = written(tmp_path, {"zoo.py": "def f(a): ..."})
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "signatures.json").write_text(content)
    assert shown(lookup("zoo.f", [folder]).signature) == "a!"


def test_a_cache_that_cannot_be_written_is_no_reason_to_fail(tmp_path: Path) -> None:
    folder = written(tmp_path, {"zoo.py": "def f(a): ..."})
    (tmp_path / "cache").write_text("a file where the folder would be")
    assert shown(lookup("zoo.f", [folder]).signature) == "a!"


def test_files_nothing_needs_any_more_leave_the_cache(tmp_path: Path) -> None:
    folder = written(tmp_path, {"zoo.py": "def f(a): ...\n"})
    for width in range(5):
        write(tmp_path / "src" / "zoo.py", "def f(a): ...\n" + "#" * width)
        lookup("zoo.f", [folder])
    store = json.loads((tmp_path / "cache" / "signatures.json").read_text())
    assert sum(path.endswith("src/zoo.py") for path, *_ in store["files"]) == 1


# Real packages

STANDARD = [
    "collections.OrderedDict", "pathlib.Path.write_text", "functools.wraps", "logging.basicConfig",
    "logging.Formatter", "logging.StreamHandler", "json.dumps", "random.Random.sample", "textwrap.TextWrapper",
    "string.Formatter.format", "argparse.ArgumentParser", "concurrent.futures.ThreadPoolExecutor", "tempfile.mkdtemp",
    "dataclasses.field", "shutil.copytree",
]  # fmt: skip
LEARNING = [
    "torch.optim.AdamW", "torch.optim.SGD", "torch.optim.Adafactor", "torch.optim.Muon", "torch.nn.Linear", "torch.nn.Embedding",
    "torch.nn.Transformer", "torch.nn.CrossEntropyLoss", "torch.nn.Sequential", "torch.utils.data.DataLoader",
    "torch.utils.data.distributed.DistributedSampler", "torch.optim.lr_scheduler.CosineAnnealingLR", "torch.optim.lr_scheduler.LambdaLR",
    "torch.optim.lr_scheduler.OneCycleLR", "torch.compile", "torch.nn.init.xavier_uniform_", "torch.nn.functional.cross_entropy",
    "torch.distributed.init_process_group", "torch.distributed.fsdp.fully_shard", "torch.distributed.device_mesh.init_device_mesh",
    "transformers.Trainer", "transformers.TrainingArguments", "transformers.LlamaConfig", "transformers.Qwen2Config",
    "transformers.GPT2Config", "transformers.LlamaForCausalLM", "transformers.GenerationConfig", "transformers.AutoTokenizer.from_pretrained",
    "transformers.DataCollatorWithPadding", "transformers.get_cosine_schedule_with_warmup", "transformers.BitsAndBytesConfig",
    "peft.LoraConfig", "peft.PromptTuningConfig", "peft.get_peft_model", "peft.PeftModel.from_pretrained",
    "tokenizers.Tokenizer", "tokenizers.ByteLevelBPETokenizer", "tokenizers.normalizers.NFC",
]  # fmt: skip
VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def imported(target: str) -> object:
    parts = target.split(".")
    for depth in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:depth]))
        except ModuleNotFoundError:
            continue
        for part in parts[depth:]:
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(target)


def same_as_inspect(target: str) -> str:
    """Empty when what is read says the same as what is imported; "cannot tell" is never wrong."""
    found = signature_of(target)
    if found is None:
        return ""
    real = [p for p in inspect.signature(imported(target)).parameters.values() if p.kind not in VARIABLE]  # type: ignore[arg-type]
    if real and real[0].name == "self" and found.is_class:  # compiled classes write it down
        real = real[1:]
    names = [p.name for p in found.parameters]
    if names != [p.name for p in real]:
        return f"{target}: read {names}, imported {[p.name for p in real]}"
    required = {p.name for p in real if p.default is inspect.Parameter.empty}
    missing = {p.name for p in found.parameters if p.required}
    return "" if missing == required else f"{target}: requires {missing} as read, {required} as imported"


@pytest.mark.parametrize("target", STANDARD)
def test_the_standard_library_is_read_as_inspect_sees_it(target: str) -> None:
    assert same_as_inspect(target) == ""


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
def test_torch_and_transformers_are_read_as_inspect_sees_them() -> None:
    pytest.importorskip("torch")
    wrong = [problem for target in LEARNING if (problem := same_as_inspect(target))]
    assert wrong == []
    read = [target for target in LEARNING if signature_of(target) is not None]
    assert len(read) >= 25, sorted(set(LEARNING) - set(read))


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
def test_no_name_that_exists_is_called_absent() -> None:
    pytest.importorskip("torch")
    signatures = Signatures()
    wrong = []
    for name in ("torch", "torch.nn", "torch.optim", "torch.optim.lr_scheduler", "torch.utils.data", "torch.nn.functional",
                 "torch.cuda", "torch.multiprocessing", "peft", "tokenizers.models", "os", "logging", "json"):  # fmt: skip
        names = [one for one in dir(importlib.import_module(name)) if not one.startswith("_")]
        wrong += [f"{name}.{one}" for one in names if signatures.lookup(f"{name}.{one}").status == "absent"]
    assert wrong == []


@pytest.mark.torch
@pytest.mark.parametrize(
    ("target", "part", "meant"),
    [
        ("torch.optim.AdmW", "AdmW", "AdamW"),
        ("torch.optm.AdamW", "optm", "optim"),
        ("torch.optim.lr_schedular.LambdaLR", "lr_schedular", "lr_scheduler"),
        ("torch.utils.data.DataLoder", "DataLoder", "DataLoader"),
        ("transformers.LlamaConfg", "LlamaConfg", "LlamaConfig"),
        ("transformers.AutoTokenizer.from_pretraned", "from_pretraned", "from_pretrained"),
        ("peft.LoraConfg", "LoraConfg", "LoraConfig"),
    ],
)
def test_a_misspelt_target_is_told_with_what_was_meant(target: str, part: str, meant: str) -> None:
    pytest.importorskip("torch")
    found = lookup(target)
    assert (found.status, found.part, found.candidates[0]) == ("absent", part, meant)


@pytest.mark.torch
@pytest.mark.parametrize(
    "target", ["torch.bfloat16", "torch.device", "torch.float8_e4m3fn", "torch.pdist", "torch.cuda.FloatTensor"]
)
def test_compiled_names_are_unknown_and_never_absent(target: str) -> None:
    pytest.importorskip("torch")
    assert lookup(target).status == "unknown"
