from __future__ import annotations

import collections
import importlib.util
import math
import os
import sys
from typing import TYPE_CHECKING

import pytest

from forge.base.errors import PolicyError, TargetError, TrustError
from forge.base.origin import Origin
from forge.base.trust import trust
from forge.build.locate import importable, locate, locate_all
from forge.compose.project import source_packages
from forge.graph.policy import default_policy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MODULE = """
import os
from collections import Counter
from os import system
from functools import partial

SIZE = 3
run = partial(system, "true")

class Model:
    class Inner:
        pass
    @classmethod
    def make(cls):
        return cls()
    @staticmethod
    def plain():
        return "plain"
    def act(self):
        return "act"
"""


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project's source folder with the package `minepkg`; what importing it changed is undone."""
    monkeypatch.setenv("FORGE_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("FORGE_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "project" / "src"
    (folder / "minepkg").mkdir(parents=True)
    (folder / "minepkg" / "__init__.py").write_text("")
    (folder / "minepkg" / "models.py").write_text(MODULE)
    (folder / "minepkg" / "broken.py").write_text("import nosuchmodule_at_all\n")
    (folder / "minepkg" / "wrong.py").write_text("def f(:\n")
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] in {"minepkg", "hidden"}]:
        del sys.modules[name]


def find(target: str, source: Path) -> object:
    folders = [str(source)]
    return locate(target, default_policy(source_packages(folders)), folders)


def test_a_name_of_the_standard_library_is_found() -> None:
    policy = default_policy()
    assert locate("math.sqrt", policy) is math.sqrt
    assert locate("collections.OrderedDict", policy) is collections.OrderedDict
    assert locate("builtins.dict", policy) is dict
    assert locate("math.pi", policy) == math.pi


def test_a_refused_name_is_not_imported() -> None:
    sys.modules.pop("antigravity", None)
    with pytest.raises(PolicyError):
        locate("antigravity.geohash", default_policy())
    assert "antigravity" not in sys.modules


def test_no_name_is_imported_when_one_of_many_is_refused() -> None:
    sys.modules.pop("colorsys", None)
    policy = default_policy(extra=("colorsys.rgb_to_hls",))
    wanted = [("colorsys.rgb_to_hls", None, ""), ("os.system", Origin("/x/a.yaml", 2), "a.b")]
    with pytest.raises(PolicyError, match=r"^/x/a.yaml:2: a.b: "):
        locate_all(wanted, policy)
    assert "colorsys" not in sys.modules


def test_a_trusted_project_is_found_at_any_depth(source: Path) -> None:
    trust(source)
    model = find("minepkg.models.Model", source)
    assert isinstance(model, type)
    assert find("minepkg.models.SIZE", source) == 3
    assert find("minepkg.models.Model.make", source).__self__ is model  # type: ignore[attr-defined]
    assert find("minepkg.models.Model.plain", source)() == "plain"  # type: ignore[operator]
    assert find("minepkg.models.Model.Inner", source).__qualname__ == "Model.Inner"  # type: ignore[attr-defined]


def test_an_untrusted_project_is_not_imported(source: Path) -> None:
    with pytest.raises(TrustError, match="forge trust"):
        find("minepkg.models.Model", source)
    assert "minepkg" not in sys.modules
    assert locate("math.sqrt", default_policy(["minepkg"]), [str(source)]) is math.sqrt


@pytest.mark.parametrize(
    "name",
    ["system", "run", "os.system", "os.path.join", "Counter", "os", "Model.act", "Model.make.im_func", "partial"],
)
def test_what_a_project_only_imports_cannot_be_reached_through_it(source: Path, name: str) -> None:
    trust(source)
    with pytest.raises(PolicyError, match="is refused"):
        find(f"minepkg.models.{name}", source)


def test_a_misspelt_name_is_answered_with_the_nearest_one(source: Path) -> None:
    trust(source)
    with pytest.raises(TargetError, match=r"minepkg.models has no 'Modell'\n  did you mean 'Model'\?"):
        find("minepkg.models.Modell", source)
    with pytest.raises(TargetError, match=r"Model has no 'mak'\n  did you mean 'make'\?"):
        find("minepkg.models.Model.mak", source)
    with pytest.raises(TargetError, match="minepkg has no 'modles'"):
        find("minepkg.modles.Model", source)


def test_a_missing_module_and_a_missing_dependency_are_told_apart(source: Path) -> None:
    trust(source)
    with pytest.raises(TargetError, match=r"cannot import minepkg.broken: No module named 'nosuchmodule_at_all'"):
        find("minepkg.broken.Model", source)
    with pytest.raises(TargetError, match="there is no module 'nosuchlibrary'"):
        locate("nosuchlibrary.Model", default_policy(extra=("nosuchlibrary.Model",)))


def test_a_missing_module_of_an_extra_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchao", None)
    with pytest.raises(TargetError, match=r"there is no module 'torchao'\n  pip install 'forge\[lowbit\]'"):
        locate("torchao.optim.AdamW4bit", default_policy())


def test_a_mistake_in_the_project_keeps_its_type(source: Path) -> None:
    trust(source)
    with pytest.raises(SyntaxError):
        find("minepkg.wrong.f", source)


def test_the_import_path_is_as_before(source: Path) -> None:
    trust(source)
    before = list(sys.path)
    find("minepkg.models.Model", source)
    with pytest.raises(SyntaxError):
        find("minepkg.wrong.f", source)
    assert sys.path == before
    with importable([str(source)]):
        assert sys.path == [*before, str(source)]
    assert sys.path == before


def compiled(source: Path, module: str, text: str) -> Path:
    """A compiled file that Python runs without a look at the source: hash-based and unchecked."""
    import importlib._bootstrap_external as external

    code = compile(text, f"{module}.py", "exec")
    cached = source / "__pycache__" / f"{module}.{sys.implementation.cache_tag}.pyc"
    cached.parent.mkdir(exist_ok=True)
    cached.write_bytes(external._code_to_hash_pyc(code, b"x" * 8, checked=False))
    return cached


def test_compiled_files_that_came_with_a_project_are_ignored(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    (source / "hidden.py").write_text("SIZE = 1\n")
    (source / "minepkg" / "models.py").write_text(f"import hidden\n{MODULE}")
    cached = [
        compiled(source, "hidden", "SIZE = 2"),
        compiled(source / "minepkg", "models", "class Model: evil = True"),
    ]
    monkeypatch.syspath_prepend(str(source))  # even where Python has looked before
    assert importlib.util.find_spec("hidden") is not None
    trust(source)
    assert not hasattr(find("minepkg.models.Model", source), "evil")
    assert sys.modules["hidden"].SIZE == 1
    assert [os.listdir(file.parent) for file in cached] == [[file.name] for file in cached]


def test_compiled_files_of_other_modules_are_used_as_ever(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "project" / "src-of-others"
    installed.mkdir()
    (installed / "hidden.py").write_text("SIZE = 1\n")
    compiled(installed, "hidden", "SIZE = 2")
    (source / "minepkg" / "models.py").write_text(f"from hidden import SIZE as OTHER\nWHERE = OTHER\n{MODULE}")
    monkeypatch.syspath_prepend(str(installed))
    trust(source)
    assert find("minepkg.models.WHERE", source) == 2


def test_importing_a_project_does_not_end_its_trust(source: Path) -> None:
    trust(source)
    find("minepkg.models.Model", source)
    del sys.modules["minepkg.models"]
    find("minepkg.models.Model", source)


def test_a_package_that_is_not_the_projects_own_is_not_taken_for_it(source: Path, tmp_path: Path) -> None:
    installed = tmp_path / "installed"
    installed.mkdir()
    (installed / "hidden.py").write_text("class Model: pass\n")
    (source / "hidden.py").write_text("class Model: pass\n")
    trust(source)
    sys.path.insert(0, str(installed))
    try:
        with pytest.raises(PolicyError, match="'hidden' is hidden by"):
            find("hidden.Model", source)
        assert "hidden" not in sys.modules
    finally:
        sys.path.remove(str(installed))


def test_source_packages_are_the_public_names_of_the_folder(tmp_path: Path) -> None:
    for name in ("pkg", "_private", "not-a-name", "__pycache__", ".hidden"):
        (tmp_path / name).mkdir()
    for name in ("module.py", "data.txt", "_secret.py", "setup.cfg"):
        (tmp_path / name).write_text("")
    assert source_packages([str(tmp_path), str(tmp_path / "missing")]) == ("module", "pkg")


@pytest.mark.torch
@pytest.mark.parametrize(
    "target",
    [
        "torch.optim.AdamW",
        "torch.nn.functional.gelu",
        "torch.nn.functional.silu",
        "torch.nn.functional.cross_entropy",
        "torch.nn.init.kaiming_normal_",
        "torch.bfloat16",
        "torch.device",
        "torch.utils.data.DataLoader",
        "torch.distributed.pipelining.Schedule1F1B",
        "transformers.LlamaConfig",
        "transformers.AutoModelForCausalLM.from_config",
        "transformers.LlamaForCausalLM._from_config",
        "transformers.LlamaConfig.from_pretrained",
        "transformers.AutoTokenizer.from_pretrained",
        "transformers.get_cosine_schedule_with_warmup",
        "tokenizers.Tokenizer.from_file",
        "tokenizers.pre_tokenizers.ByteLevel.alphabet",
        "tokenizers.trainers.BpeTrainer",
        "peft.LoraConfig",
    ],
)
@pytest.mark.filterwarnings("default")
def test_the_libraries_names_lead_to_their_objects(target: str) -> None:
    found = locate(target, default_policy())
    assert found is not None


@pytest.mark.torch
def test_every_function_and_type_that_is_named_outright_exists() -> None:
    policy = default_policy()
    for rule in policy.rules:
        named = rule.pattern.startswith(("torch.", "math.", "builtins.", "tokenizers."))
        if named and not set("*<") & set(rule.pattern):
            locate(rule.pattern, policy)


@pytest.mark.torch
def test_a_misspelt_class_of_torch_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(TargetError, match=r"torch.optim has no 'AdamX'\n  did you mean 'Adam"):
        locate("torch.optim.AdamX", default_policy())
