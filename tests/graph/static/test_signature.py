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

from forge.graph.static.signature import Lookup, Parameter, Signature, Signatures, lookup_target, signature_of

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
    assert lookup_target("zoo.Network", [folder]).status == "found"
    assert lookup_target("zoo.Netwrok", [folder]) == Lookup("absent", None, "Netwrok", "zoo", ("Network",))
    assert lookup_target("zoo.x", [folder]).status == "unknown"
    assert lookup_target("zoo.1 + 1", [folder]).status == "unknown"


# The cache


def test_an_answer_on_disk_is_used_again_without_a_parser(tmp_path: Path) -> None:
    folder = written(tmp_path, {"zoo.py": "def f(a): ...\n"})
    first = lookup_target("zoo.f", [folder])
    program = (
        # The search path of this process: what another one finds on another path is not for it.
        f"import sys; sys.path[:] = {sys.path!r}; from forge.graph.static.signature import lookup_target; "
        f"found = lookup_target('zoo.f', [{folder!r}]); assert 'ast' not in sys.modules; print(found)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == str(first)


def changed(tmp_path: Path, files: dict[str, str], then: dict[str, str | None]) -> tuple[str, str]:
    """What ``zoo.f`` is before and after a change of files, each time by a new reader."""
    folder = written(tmp_path, files)
    before = shown(lookup_target("zoo.f", [folder]).signature)
    for name, text in then.items():
        path = tmp_path / "src" / name
        if text is None:
            path.unlink()
        else:
            write(path, text)
    return before, shown(lookup_target("zoo.f", [folder]).signature)


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    assert changed(tmp_path, {"zoo.py": "def f(a): ..."}, {"zoo.py": "def f(a, b): ..."}) == ("a!", "a! b!")


def test_a_file_written_a_moment_ago_is_always_read_again(tmp_path: Path) -> None:
    """Two writes within one tick of the file system's clock leave time and size as they are."""
    folder = written(tmp_path, {})
    path = tmp_path / "src" / "zoo.py"
    path.parent.mkdir()
    for name in "abcdefgh":
        path.write_text(f"def f({name}): ...")
        assert shown(lookup_target("zoo.f", [folder]).signature) == f"{name}!"


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
    assert lookup_target("zoo.f", [folder]).status == "absent"
    write(tmp_path / "src" / "zoo.py", "def f(): ...")
    assert lookup_target("zoo.f", [folder]).status == "found"


def test_two_projects_with_a_package_of_one_name_do_not_mix(tmp_path: Path) -> None:
    one = written(tmp_path / "one", {"zoo.py": "def f(a): ..."})
    two = written(tmp_path / "two", {"zoo.py": "def f(b): ..."})
    assert [shown(lookup_target("zoo.f", [folder]).signature) for folder in (one, two, one)] == ["a!", "b!", "a!"]


def test_a_search_path_with_another_package_of_that_name_has_its_own_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = written(tmp_path / "one", {"zoo.py": "def f(a): ..."})
    two = written(tmp_path / "two", {"zoo.py": "def f(b): ..."})
    usual = list(sys.path)
    for folder, wanted in ((one, "a!"), (two, "b!"), (one, "a!")):
        monkeypatch.setattr(sys, "path", [folder, *usual])
        assert shown(lookup_target("zoo.f").signature) == wanted
    assert len(json.loads((tmp_path / "cache" / "signatures.json").read_text())["targets"]) == 2


def test_the_current_folder_counts_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    for name in "abab":
        monkeypatch.chdir(written(tmp_path / name, {"zoo.py": f"def f({name}): ..."}))
        assert shown(lookup_target("zoo.f").signature) == f"{name}!"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"made_by": 1}', "\x00", '{"targets": {"zoo.f": 3}}'])
def test_a_broken_cache_is_as_good_as_none(content: str, tmp_path: Path) -> None:
    folder = written(tmp_path, {"zoo.py": "def f(a): ..."})
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "signatures.json").write_text(content)
    assert shown(lookup_target("zoo.f", [folder]).signature) == "a!"


def test_a_cache_that_cannot_be_written_is_no_reason_to_fail(tmp_path: Path) -> None:
    folder = written(tmp_path, {"zoo.py": "def f(a): ..."})
    (tmp_path / "cache").write_text("a file where the folder would be")
    assert shown(lookup_target("zoo.f", [folder]).signature) == "a!"


def test_files_nothing_needs_any_more_leave_the_cache(tmp_path: Path) -> None:
    folder = written(tmp_path, {"zoo.py": "def f(a): ...\n"})
    for width in range(5):
        write(tmp_path / "src" / "zoo.py", "def f(a): ...\n" + "#" * width)
        lookup_target("zoo.f", [folder])
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
    found = lookup_target(target)
    assert (found.status, found.part, found.candidates[0]) == ("absent", part, meant)


@pytest.mark.torch
@pytest.mark.parametrize(
    "target", ["torch.bfloat16", "torch.device", "torch.float8_e4m3fn", "torch.pdist", "torch.cuda.FloatTensor"]
)
def test_compiled_names_are_unknown_and_never_absent(target: str) -> None:
    pytest.importorskip("torch")
    assert lookup_target(target).status == "unknown"
