"""What a config may name: the patterns of the policy, and the arguments that would switch on foreign code.

A pattern is a dotted name. ``<Class>`` stands for one name that begins with a capital letter, ``<name>`` for any one
name, ``**`` for one or more names, and ``*`` for a run of letters inside a name. No wildcard ever matches a name that
begins with an underscore.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["FORGE", "GUARDED_ARGUMENTS", "LIBRARIES", "LOADERS"]

#: Class methods that may be taken from a class although they are written in its base class.
LOADERS: Final = ("from_pretrained", "from_config", "_from_config")

_DTYPES: Final = (
    *("bfloat16", "float16", "float32", "float64", "half", "float", "double", "complex64", "complex128", "bool"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "int", "long", "short"),
    *("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu", "float4_e2m1fn_x2"),
)
_ACTIVATIONS: Final = (
    *("celu", "elu", "gelu", "glu", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "log_softmax"),
    *("logsigmoid", "mish", "prelu", "relu", "relu6", "rrelu", "selu", "sigmoid", "silu", "softmax", "softmin"),
    *("softplus", "softshrink", "softsign", "tanh", "tanhshrink", "threshold"),
)
_LOSSES: Final = (
    *("binary_cross_entropy", "binary_cross_entropy_with_logits", "cosine_embedding_loss", "cross_entropy"),
    *("ctc_loss", "gaussian_nll_loss", "hinge_embedding_loss", "huber_loss", "kl_div", "l1_loss"),
    *("linear_cross_entropy", "margin_ranking_loss", "mse_loss", "multi_margin_loss", "nll_loss"),
    *("poisson_nll_loss", "smooth_l1_loss", "soft_margin_loss", "triplet_margin_loss"),
)
# `bytes`, `bytearray` and `memoryview` are left out: nothing needs them. `re.compile` too: a hostile pattern can hang.
_BUILTINS: Final = (
    *("bool", "complex", "dict", "float", "frozenset", "int", "list", "range", "set", "slice", "str", "tuple"),
)
# No `factorial`, `comb` or `perm`: a small number in a config would keep the processor busy for ever.
_MATH: Final = (
    *("acos", "asin", "atan", "atan2", "ceil", "cos", "cosh", "degrees", "exp", "fabs", "floor", "fmod", "fsum", "gcd"),
    *("hypot", "isqrt", "log", "log10", "log1p", "log2", "pow", "radians", "sin", "sinh", "sqrt", "tan", "tanh"),
    *("e", "inf", "nan", "pi", "tau"),
)

LIBRARIES: Final[tuple[str, ...]] = (
    *(f"builtins.{name}" for name in _BUILTINS),
    *(f"math.{name}" for name in _MATH),
    "collections.OrderedDict",
    "datetime.timedelta",
    "torch.device",
    *(f"torch.{name}" for name in _DTYPES),
    *(f"torch.nn.functional.{name}" for name in _ACTIVATIONS + _LOSSES),
    "torch.nn.<Class>",
    "torch.nn.init.*_",
    "torch.optim.<Class>",
    "torch.optim.lr_scheduler.<Class>",
    "torch.utils.data.<Class>",
    "torch.distributed.pipelining.Schedule*",
    "transformers.*Config",
    "transformers.*Config.from_pretrained",
    "transformers.*ForCausalLM",
    *(f"transformers.*ForCausalLM.{name}" for name in LOADERS),
    "transformers.*Tokenizer",
    "transformers.*Tokenizer.from_pretrained",
    "transformers.*TokenizerFast",
    "transformers.*TokenizerFast.from_pretrained",
    "transformers.get_*schedule*",
    "tokenizers.AddedToken",
    "tokenizers.Regex",
    "tokenizers.Tokenizer",
    "tokenizers.Tokenizer.from_file",
    "tokenizers.Tokenizer.from_pretrained",
    "tokenizers.Tokenizer.from_str",
    *(f"tokenizers.{part}.<Class>" for part in ("decoders", "models", "normalizers", "processors", "trainers")),
    "tokenizers.pre_tokenizers.<Class>",
    "tokenizers.pre_tokenizers.ByteLevel.alphabet",
    "peft.*Config",
    "torchao.optim.<Class>",
)

#: Forge's own names: those of which the configs of the library are made, one by one. Forge writes, removes, serves and starts
#: things too, and a config is not to reach any of that.
FORGE: Final[tuple[str, ...]] = (
    "forge.launch.topology.Mount",
    "forge.launch.topology.Topology",
    *(f"forge.ml.data.corpus.{name}" for name in ("ChatCorpus", "Mixture", "TextCorpus")),
    *(f"forge.ml.data.read.{name}" for name in ("file_rows", "hub_rows", "text_files")),
    *(f"forge.ml.data.tokenizer.{name}" for name in ("pretrained", "train_bpe")),
    "forge.ml.models.adapter.QLora",
    "forge.ml.models.causal_lm",
    "forge.ml.models.decoder.<Class>",
    "forge.ml.optim.muon.Muon",
    *(f"forge.ml.optim.schedule.{name}" for name in ("constant", "cosine", "linear", "wsd")),
    "forge.ml.parallel.Layout",  # defined in forge.plan, where no torch is needed to look at it
    "forge.ml.train.Trainer",
    "forge.ml.train.callbacks.early_stopping.EarlyStopping",
    "forge.ml.train.callbacks.memory_snapshot.MemorySnapshot",
    "forge.ml.train.callbacks.nonfinite.NonFinite",
    "forge.ml.train.callbacks.profiler.Profiler",
    "forge.ml.train.callbacks.samples.TextSamples",
    *(f"forge.ml.train.loggers.{name}" for name in ("MLflow", "TensorBoard", "Trackio", "Wandb")),
)


def _off(value: object) -> bool:
    """A plain false value: the switch stays off."""
    return value is None or value is False or (type(value) in {int, str} and not value)


def _unset(value: object) -> bool:
    return value is None


def _on(value: object) -> bool:
    """A plain true: the protection stays on."""
    return value is True


def _on_or_unset(value: object) -> bool:
    return value is None or value is True


def _installed(value: object) -> bool:
    """A name such as ``sdpa``, never ``owner/repository``, which would download a kernel and run it."""
    if isinstance(value, dict):
        return all(_installed(item) for item in value.values())
    return value is None or (type(value) is str and _PLAIN_NAME.fullmatch(value) is not None)


_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_|]*")
_IMPLEMENTATIONS: Final = (
    *("attn_implementation", "_attn_implementation", "_attn_implementation_internal"),
    *("experts_implementation", "_experts_implementation", "_experts_implementation_internal"),
)

#: The arguments that could make a library run code that comes with a model, each with the test of a harmless value.
GUARDED_ARGUMENTS: Final[Mapping[str, Callable[[object], bool]]] = MappingProxyType(
    {
        "trust_remote_code": _off,
        "allow_all_kernels": _off,
        "use_kernels": _off,
        "kernel_config": _unset,
        "auto_map": _unset,
        "weights_only": _on,
        "use_safetensors": _on_or_unset,
        **dict.fromkeys(_IMPLEMENTATIONS, _installed),
    }
)
