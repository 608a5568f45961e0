from __future__ import annotations

import builtins
import importlib
import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.base.errors import ForgeError
from forge.build.locate import locate
from forge.graph.allowed import FORGE, GUARDED_ARGUMENTS, LIBRARIES, LOADERS
from forge.graph.policy import default_policy

WILD = re.compile(r"<Class>|<name>|\*")
TRAIN = ("torch", "transformers", "peft", "tokenizers", "torchao")
OPEN_ROOT = re.compile(r"[a-z]+\Z")
IMPLEMENTATIONS = sorted(name for name in GUARDED_ARGUMENTS if "implementation" in name)
ROOT = Path(__file__).parents[2]
BESIDE = {"forge.launch.topology.Mount"}  # what only a user's own config names, as the documents say
SWITCHES = ("trust_remote_code", "allow_all_kernels", "use_kernels")

policy = default_policy()


def fixed(pattern: str) -> str:
    """What a pattern says in full: the names before its first wildcard."""
    names = pattern.split(".")
    return ".".join(names[: next((place for place, name in enumerate(names) if WILD.search(name)), len(names))])


def examples(pattern: str) -> list[str]:
    """The names that exist now and that a pattern with one wildcard stands for."""
    place = fixed(pattern)
    before, after = pattern.split(".")[place.count(".") + 1], pattern.split(".")[place.count(".") + 2 :]
    own = default_policy(extra=[f"{place}.{before}"]).rules[-1:]
    names = [name for name in dir(importlib.import_module(place)) if type(policy)(own).allows(f"{place}.{name}")]
    return [".".join([place, name, *after]) for name in names]


def accepted(target: str) -> bool:
    """Whether the builder finds the name and takes the object behind it."""
    try:
        locate(target, policy)
    except ForgeError:
        return False
    return True


def root_is(pattern: str, names: tuple[str, ...]) -> bool:
    return pattern.partition(".")[0] in names


@pytest.mark.parametrize("pattern", LIBRARIES)
def test_a_library_pattern_stays_in_one_module(pattern: str) -> None:
    """The package is written in full, and one wildcard stands for one name directly in that module."""
    assert OPEN_ROOT.match(pattern.partition(".")[0])
    assert len(WILD.findall(pattern)) <= 2
    assert sum(WILD.search(name) is not None for name in pattern.split(".")) <= 1
    assert not any(name == "*" or "**" in name for name in pattern.split("."))
    assert fixed(pattern)


def test_no_library_is_open_to_any_function() -> None:
    """A wildcard of a library stands for classes, or for functions with a name that says what they are for."""
    wild = [pattern for pattern in LIBRARIES if WILD.search(pattern)]
    last = {pattern.removeprefix(f"{fixed(pattern)}.").split(".")[0] for pattern in wild}
    functions = {name for name in last if name != "<Class>" and not re.search(r"[A-Z]", name)}
    assert functions == {"*_", "get_*schedule*"}


def test_nothing_is_listed_twice_or_covered_by_another() -> None:
    assert len(set(LIBRARIES + FORGE)) == len(LIBRARIES + FORGE)
    classes = {fixed(pattern) for pattern in LIBRARIES if pattern.endswith(".<Class>")}
    covered = [
        p for p in LIBRARIES if not WILD.search(p) and p.rpartition(".")[0] in classes and p.split(".")[-1][0].isupper()
    ]
    assert covered == []


@pytest.mark.parametrize("pattern", [each for each in LIBRARIES if not root_is(each, TRAIN)])
def test_what_comes_with_python_exists(pattern: str) -> None:
    locate(pattern, policy)


def test_builtins_are_plain_types_that_do_nothing() -> None:
    listed = [pattern.rpartition(".")[2] for pattern in LIBRARIES if pattern.startswith("builtins.")]
    assert all(isinstance(getattr(builtins, name), type) for name in listed)
    assert not {"type", "object", "super", "memoryview", "bytes", "bytearray"} & set(listed)


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("pattern", [each for each in LIBRARIES if root_is(each, TRAIN) and not WILD.search(each)])
def test_what_is_named_in_full_exists_and_is_accepted(pattern: str) -> None:
    pytest.importorskip(pattern.partition(".")[0])
    locate(pattern, policy)


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("pattern", [each for each in LIBRARIES if root_is(each, TRAIN) and WILD.search(each)])
def test_a_pattern_names_something_that_exists_and_is_accepted(pattern: str) -> None:
    pytest.importorskip(pattern.partition(".")[0])
    found = examples(pattern)
    assert all(policy.allows(target) for target in found)
    assert any(accepted(target) for target in found)


def test_of_forge_a_config_reaches_what_the_configs_of_the_library_name_and_nothing_else() -> None:
    texts = [path.read_text() for path in (ROOT / "configs").rglob("*.yaml")]
    named = {name for text in texts for name in re.findall(r"\bforge\.[\w.]+\w", text)}
    assert {name for name in named if not policy.allows(name)} == set()
    whole = {pattern for pattern in FORGE if not WILD.search(pattern)}
    assert whole - named <= BESIDE
    assert set(FORGE) - whole == {"forge.ml.models.decoder.<Class>"}


@pytest.mark.parametrize(
    "target",
    [
        "forge.ml.data.entries.prune",
        "forge.ml.convert.new_model.NewModelFolder",
        "forge.ml.checkpoint.stage.Stage",
        "forge.ml.workbench.channel.Channel",
        "forge.ml.models.decoder.modeling.DecoderModel",
        "forge.graph.allowed.LIBRARIES",
        "forge.base.files.remove_tree",
    ],
)
def test_what_writes_removes_serves_and_starts_is_out_of_reach(target: str) -> None:
    assert not policy.allows(target)


@pytest.mark.torch
@pytest.mark.parametrize("target", [pattern for pattern in FORGE if not WILD.search(pattern)])
def test_what_is_named_of_forge_exists_and_is_accepted(target: str) -> None:
    locate(target, policy)


@pytest.mark.torch
def test_the_loaders_are_class_methods_that_load() -> None:
    transformers = pytest.importorskip("transformers")
    classes = (transformers.LlamaForCausalLM, transformers.AutoModelForCausalLM)
    for name in LOADERS:
        assert any(getattr(getattr(each, name, None), "__self__", None) is each for each in classes)


PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers(), max_size=2)


@given(PLAIN)
def test_a_switch_stays_off(value: Any) -> None:
    for name in SWITCHES:
        assert not (GUARDED_ARGUMENTS[name](value) and value), "a true value was let through"
        assert GUARDED_ARGUMENTS[name](False)
        assert not GUARDED_ARGUMENTS[name](object())


@given(PLAIN)
def test_a_protection_stays_on(value: Any) -> None:
    assert GUARDED_ARGUMENTS["weights_only"](value) is (value is True)
    assert GUARDED_ARGUMENTS["use_safetensors"](value) is (value is True or value is None)
    assert GUARDED_ARGUMENTS["auto_map"](value) is GUARDED_ARGUMENTS["kernel_config"](value) is (value is None)


@given(st.text(), st.sampled_from(["/", ":", "@", ".", "\n", "\uff0f", " ", "-"]), st.text())
def test_an_implementation_is_never_the_address_of_a_kernel(before: str, mark: str, after: str) -> None:
    for name in IMPLEMENTATIONS:
        assert not GUARDED_ARGUMENTS[name](before + mark + after)
        assert not GUARDED_ARGUMENTS[name]({"text": "sdpa", "vision": {"deep": before + mark + after}})


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_an_implementation_is_one_that_is_installed(name: str) -> None:
    allowed = ("sdpa", "eager", "flash_attention_2", "paged|sdpa", None, "", {"text": "sdpa"})
    assert all(GUARDED_ARGUMENTS[name](value) for value in allowed)
    assert not any(GUARDED_ARGUMENTS[name](value) for value in (1, b"sdpa", ["sdpa"], object()))


def test_a_text_that_only_pretends_to_be_one_is_refused() -> None:
    class Text(str):
        __slots__ = ()

    assert not GUARDED_ARGUMENTS["attn_implementation"](Text("sdpa"))
    assert not GUARDED_ARGUMENTS["trust_remote_code"](Text(""))
