from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import functools
import math
import os
import types
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.base.errors import PolicyError
from forge.base.origin import Origin
from forge.graph.allowed import FORGE, GUARDED_ARGUMENTS, LIBRARIES
from forge.graph.node import Call, Const, Edge, Map
from forge.graph.policy import Policy, default_policy

ALLOWED = [
    *("builtins.dict", "builtins.range", "math.sqrt", "math.pi", "collections.OrderedDict", "datetime.timedelta"),
    *("torch.bfloat16", "torch.device", "torch.nn.Linear", "torch.nn.functional.gelu", "torch.nn.init.kaiming_normal_"),
    *("torch.optim.AdamW", "torch.optim.lr_scheduler.LambdaLR", "torch.utils.data.DataLoader"),
    *("torch.distributed.pipelining.Schedule1F1B", "torch.distributed.pipelining.ScheduleGPipe"),
    *(
        "transformers.LlamaConfig",
        "transformers.AutoConfig.from_pretrained",
        "transformers.AutoModelForCausalLM.from_config",
    ),
    *("transformers.LlamaForCausalLM._from_config", "transformers.AutoTokenizer.from_pretrained"),
    *(
        "transformers.PreTrainedTokenizerFast",
        "transformers.get_cosine_schedule_with_warmup",
        "transformers.get_scheduler",
    ),
    *(
        "tokenizers.Tokenizer.from_file",
        "tokenizers.models.BPE",
        "tokenizers.trainers.BpeTrainer",
        "tokenizers.AddedToken",
    ),
    *("tokenizers.pre_tokenizers.ByteLevel.alphabet", "peft.LoraConfig", "torchao.optim.AdamW8bit"),
    *("forge.ml.train.Trainer", "forge.ml.data.tokenizer.train_bpe", "forge.ml.models.causal_lm"),
    *("forge.launch.topology.Topology", "mine.models.deep.Model", "mine.make"),
]
REFUSED = [
    *("os.system", "builtins.eval", "math.factorial", "torch.load", "torch.nn.Linear.forward", "torch.nn._Private"),
    *(
        "torch.nn.init.torch",
        "transformers.pipeline",
        "transformers.LlamaConfig.push_to_hub",
        "transformers._X.AutoConfig",
    ),
    *(
        "forge.ml.train.trainer.Trainer",
        "forge.ml.Trainer",
        "forge.ml.data.entries.prune",
        "forge.graph.policy.Policy",
        "forge.launch.local.run",
    ),
    *(
        "mine",
        "mine._private.Model",
        "mine.models._Model",
        "minefield.Model",
        "other.models.Model",
        "mine.models.",
        "mine..m",
    ),
]


class Model:
    """A class of this module."""

    def forget(self) -> None:
        """A method."""

    @classmethod
    def make(cls) -> Model:
        """A class method."""
        return cls()

    @staticmethod
    def plain() -> None:
        """A static method."""


class Child(collections.UserDict[str, int]):
    """A class of this module whose base is not."""


def function() -> None:
    """A function of this module."""


HERE = Model.__module__
policy = default_policy(["mine"])


@pytest.mark.parametrize("target", ALLOWED)
def test_what_a_training_config_needs_is_allowed(target: str) -> None:
    policy.check_name(target)
    assert policy.homes(target)


@pytest.mark.parametrize("target", REFUSED)
def test_everything_else_is_refused(target: str) -> None:
    with pytest.raises(PolicyError) as caught:
        policy.check_name(target, Origin("/x/a.yaml", 3), "model.act")
    message = str(caught.value)
    assert message.startswith(f"/x/a.yaml:3: model.act: target {target!r} is refused")
    assert len(message.splitlines()) == 2
    assert policy.homes(target) == ()


@pytest.mark.parametrize(
    ("target", "hint"),
    [
        ("trch.optim.AdamW", "torch.optim.AdamW"),
        ("torch.optim.adamw", "torch.optim.<Class>"),
        ("torch.nn.functional.gelo", "torch.nn.functional.gelu"),
        ("mylib.Model", "settings.yaml"),
        ("not a name", "plain letters"),
    ],
)
def test_a_refusal_says_what_to_do(target: str, hint: str) -> None:
    with pytest.raises(PolicyError) as caught:
        policy.check_name(target)
    assert hint in (caught.value.hint or "")


@given(st.text(max_size=400))
def test_any_text_is_refused_in_a_short_message_of_plain_characters(text: str) -> None:
    with pytest.raises(PolicyError) as caught:
        policy.check_name(text)
    assert caught.value.what.isascii()
    assert len(caught.value.what) < 200
    assert len(str(caught.value).splitlines()) == 2


@given(
    st.sampled_from(ALLOWED), st.sampled_from([" ", "\n", "\0", ".", "\u200b", "\uff0e", "-", "()"]), st.integers(0, 80)
)
def test_one_foreign_character_anywhere_is_refused(target: str, character: str, position: int) -> None:
    place = min(position, len(target))
    changed = target[:place] + character + target[place:]
    if changed.endswith(".") or ".." in changed or character != ".":
        assert not policy.allows(changed)


def test_a_target_that_is_not_text_is_refused() -> None:
    for target in (None, 3, ["os.system"], b"os.system", type("Text", (), {})()):
        assert not policy.allows(target)  # type: ignore[arg-type]
        with pytest.raises(PolicyError):
            policy.check_name(target)  # type: ignore[arg-type]


def test_a_policy_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        policy.rules = ()  # type: ignore[misc]
    with pytest.raises((AttributeError, TypeError)):
        policy.more = ()  # type: ignore[attr-defined]
    with pytest.raises(TypeError):
        GUARDED_ARGUMENTS["trust_remote_code"] = bool  # type: ignore[index]
    assert isinstance(policy.rules, tuple)
    assert isinstance(LIBRARIES + FORGE, tuple)
    assert default_policy(["mine"]) == policy


def test_a_wildcard_never_matches_a_private_name_and_stays_in_its_place() -> None:
    own = default_policy(extra=("lib.*Thing", "lib.<name>.x", "lib.deep.**"))
    for target in ("lib.Thing", "lib.aThing", "lib.a.x", "lib.deep.a", "lib.deep.a.b.c"):
        assert own.allows(target)
    for target in (
        "lib._Thing",
        "lib.1Thing",
        "lib.a.Thing",
        "lib.a.b.x",
        "lib._a.x",
        "lib.deep",
        "lib.deep.a._b",
        "libx.Thing",
    ):
        assert not own.allows(target)


@pytest.mark.parametrize(
    "pattern", ["", "**", "*", "*.system", "os", "a..b", "a.b.", "<Class>.x", "a.<Any>", "a.b c", "a.(b|c)", "a.b\n"]
)
def test_a_pattern_of_the_user_must_begin_with_a_package(pattern: str) -> None:
    with pytest.raises(PolicyError, match="not a pattern"):
        default_policy(extra=[pattern])


@pytest.mark.parametrize(
    "package", ["os", "code", "torch", "transformers", "forge", "builtins", "_mine", "a.b", "", "gr\u00fcn"]
)
def test_a_source_package_may_not_take_a_name_that_others_rely_on(package: str) -> None:
    with pytest.raises(PolicyError, match="may not be named"):
        default_policy([package])


def object_policy() -> tuple[Policy, str]:
    root = HERE.partition(".")[0]
    return default_policy(extra=[f"{root}.**"]), f"{root}.thing"


@pytest.mark.parametrize(
    "allowed",
    [Model, function, Model.make, functools.partial(function), functools.partial(Model, 1), Model(), 3, "text", (1, 2)],
)
def test_objects_of_the_package_itself_and_plain_values_pass(allowed: object) -> None:
    own, target = object_policy()
    own.check_object(target, allowed)


@pytest.mark.parametrize(
    "refused",
    [
        *(
            os,
            os.system,
            os.path.join,
            open,
            eval,
            print,
            getattr,
            types.FunctionType,
            functools.partial(os.system, "x"),
        ),
        *(
            functools.partial(functools.partial(os.system)),
            functools.partial,
            functools.lru_cache(os.system),
            [].append,
        ),
        *(collections.Counter, os.environ, os.environ.update, Model.forget, Child.update, Child.fromkeys, math.sqrt),
        *(dt.timedelta, str.join, type, object(), types.SimpleNamespace(), functools.partial(Model.forget)),
    ],
)
def test_objects_that_were_only_imported_there_are_refused(refused: object) -> None:
    own, target = object_policy()
    with pytest.raises(PolicyError, match="is refused"):
        own.check_object(target, refused)


def test_a_static_method_passes_when_its_class_is_known() -> None:
    own, target = object_policy()
    own.check_object(target, Model.plain, owner=Model)
    with pytest.raises(PolicyError, match="method of an object"):
        own.check_object(target, Model.forget, owner=Model)


def test_the_way_to_an_object_leads_through_its_own_package_only() -> None:
    own, target = object_policy()
    own.check_step(target, Model)
    for step in (os, collections.Counter, Model(), function):
        with pytest.raises(PolicyError, match="leads through"):
            own.check_step(target, step)


HARMFUL: list[dict[str, Any]] = [
    {"trust_remote_code": True},
    {"trust_remote_code": 1},
    {"trust_remote_code": "yes"},
    {"adapter_kwargs": {"trust_remote_code": True}},
    {"deep": [{"er": ({"trust_remote_code": True},)}]},
    {"trust_remote_code": object()},
    {"weights_only": False},
    {"weights_only": None},
    {"use_safetensors": False},
    {"use_kernels": True},
    {"allow_all_kernels": True},
    {"kernel_config": {"a": "b"}},
    {"auto_map": {"AutoModel": "x--y.Z"}},
    {"attn_implementation": "owner/kernel"},
    {"attn_implementation": {"": "owner/kernel"}},
    {"attn_implementation": "owner\uff0fkernel"},
    {"_attn_implementation_internal": "owner/kernel:f"},
    {"experts_implementation": "owner/kernel@main"},
]
HARMLESS: list[dict[str, Any]] = [
    {"trust_remote_code": False},
    {"trust_remote_code": None, "weights_only": True, "use_safetensors": True},
    {"use_kernels": False, "use_safetensors": None},
    {"attn_implementation": "flash_attention_2"},
    {"attn_implementation": {"text": "sdpa", "vision": "eager"}},
    {"dtype": "bfloat16", "path": "owner/model"},
]


def call(arguments: dict[str, Any]) -> Call:
    def node(value: Any) -> Any:
        if isinstance(value, dict):
            return Map((), tuple(Edge(key, node(item)) for key, item in value.items()))
        return Const((), value)

    return Call(("model",), "transformers.AutoModelForCausalLM.from_pretrained", kwargs=node(arguments).items)


@pytest.mark.parametrize("arguments", HARMFUL)
def test_arguments_that_switch_on_foreign_code_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(PolicyError, match="is refused"):
        policy.check_arguments("mine.make", arguments)


@pytest.mark.parametrize("arguments", HARMLESS)
def test_other_arguments_are_left_alone(arguments: dict[str, Any]) -> None:
    policy.check_arguments("mine.make", arguments)
    policy.check_node(call(arguments))


@pytest.mark.parametrize("arguments", [each for each in HARMFUL if set(each) & set(GUARDED_ARGUMENTS)])
def test_harmful_arguments_are_seen_in_the_graph(arguments: dict[str, Any]) -> None:
    with pytest.raises(PolicyError, match="is refused"):
        policy.check_node(call(arguments))
    with pytest.raises(PolicyError, match="is refused"):
        policy.check_node(Map((), call(arguments).kwargs))


def test_a_guarded_argument_must_be_a_plain_value() -> None:
    made = Call(("x",), "builtins.bool")
    with pytest.raises(PolicyError, match="trust_remote_code=a Call"):
        policy.check_node(Map((), (Edge("trust_remote_code", made),)))


def test_a_value_that_holds_itself_is_no_endless_loop() -> None:
    value: dict[str, Any] = {}
    value["self"] = [value]
    policy.check_arguments("mine.make", value)
