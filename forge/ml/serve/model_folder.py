"""What the folder of a model says about serving it: its tokens, its chat template, its length and its usual settings."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tokenizers import Tokenizer

from forge.base.errors import ModelError
from forge.base.files import read_bounded
from forge.base.json_file import read_object
from forge.base.places import chat_templates

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ServedModel", "read_served_model", "read_tokenizer"]

_LONGEST_CONFIG: Final = 16 << 20
_LONGEST_TOKENIZER: Final = 256 << 20
_LONGEST_TEMPLATE: Final = 1 << 20
_SAMPLING: Final = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model as the HTTP side knows it; of its weights it knows nothing.

    ``special_tokens`` are the tokenizer's by their names, as templates read them. ``usual`` are the settings that the folder
    proposes for what a request leaves open.
    """

    name: str
    texts: str
    """The folder of its tokenizer."""
    tokenizer: Tokenizer
    template: str | None
    special_tokens: Mapping[str, str]
    ends: frozenset[int]
    longest: int
    vocabulary: int
    pooling: str = ""
    usual: Mapping[str, float] = field(default_factory=dict)

    def tokens(self, text: str, *, special: bool = True) -> list[int]:
        """The tokens of a text, with those that the tokenizer puts around it."""
        return self.tokenizer.encode(text, add_special_tokens=special).ids


def read_served_model(
    folder: str,
    *,
    texts: str | None = None,
    name: str | None = None,
    template: str | None = None,
    longest: int | None = None,
) -> ServedModel:
    """Read a model's folder; ``texts`` is another one that has the tokenizer and the chat template.

    ``template`` is the name of one of forge's chat templates, or a file, to be used instead.
    ``longest`` is how many tokens a prompt and its text have together, if not as many as the model knows positions.
    """
    if not os.path.isdir(folder):
        raise ModelError(
            f"there is no model folder {folder}", hint="give the path of a folder with config.json and weights"
        )
    config = _json(folder, "config.json", needed=True)
    generation = _json(folder, "generation_config.json")
    texts = texts or folder
    described = _json(texts, "tokenizer_config.json")
    tokenizer = read_tokenizer(texts)
    text = config.get("text_config", config)
    return ServedModel(
        name=name or os.path.basename(os.path.abspath(folder)),
        texts=texts,
        tokenizer=tokenizer,
        template=_template_file(template) if template is not None else _own_template(texts, described),
        special_tokens=_special_tokens(described),
        ends=_ends(config, generation, described, tokenizer),
        longest=_longest(text, longest),
        vocabulary=int(text.get("vocab_size") or tokenizer.get_vocab_size()),
        pooling=_pooling(folder),
        usual=_usual(generation),
    )


def _longest(config: dict[str, Any], wanted: int | None) -> int:
    positions = int(config.get("max_position_embeddings") or config.get("n_positions") or 0)
    if wanted is not None and positions and wanted > positions:
        raise ModelError(
            f"texts of {wanted:,} tokens are asked for, and the model knows {positions:,} positions",
            hint=f"set --max-model-len to {positions} or less, or leave it out",
        )
    return wanted or positions or 2048


def _json(folder: str, name: str, *, needed: bool = False) -> dict[str, Any]:
    path = os.path.join(folder, name)
    if not os.path.isfile(path) and not needed:
        return {}
    if not os.path.isfile(path):
        raise ModelError(f"the folder {folder} has no {name}", hint="give the path of a Hugging Face model folder")
    return read_object(path, _LONGEST_CONFIG)


def read_tokenizer(folder: str) -> Tokenizer:
    """The tokenizer of a folder, which neither cuts nor fills texts."""
    path = os.path.join(folder, "tokenizer.json")
    if not os.path.isfile(path):
        raise ModelError(f"the folder {folder} has no tokenizer.json", hint="save the model's tokenizer into it first")
    try:
        found = Tokenizer.from_buffer(read_bounded(path, _LONGEST_TOKENIZER))
    except Exception as error:  # the library has no class of its own for it
        raise ModelError(f"{path} cannot be read: {str(error)[:100]}") from error
    found.no_truncation()
    found.no_padding()
    return found


def _own_template(folder: str, described: dict[str, Any]) -> str | None:
    path = os.path.join(folder, "chat_template.jinja")
    if os.path.isfile(path):
        return read_bounded(path, _LONGEST_TEMPLATE).decode()
    found = described.get("chat_template")
    if isinstance(found, list):  # several by name, an older form
        named = {entry["name"]: entry["template"] for entry in found if isinstance(entry, dict)}
        found = named.get("default")
    return found if isinstance(found, str) else None


def _template_file(name: str) -> str:
    path = name if os.path.isfile(name) else os.path.join(chat_templates(), f"{name}.jinja")
    if not os.path.isfile(path):
        known = ", ".join(sorted(entry.removesuffix(".jinja") for entry in os.listdir(chat_templates())))
        raise ModelError(f"there is no chat template {name}", hint=f"give the path of a file, or one of {known}")
    return read_bounded(path, _LONGEST_TEMPLATE).decode()


def _special_tokens(described: dict[str, Any]) -> dict[str, str]:
    found = {name: value for name, value in described.items() if name.endswith("_token")}
    texts = {name: value.get("content") if isinstance(value, dict) else value for name, value in found.items()}
    return {name: text for name, text in texts.items() if isinstance(text, str)}


def _ends(
    config: dict[str, Any], generation: dict[str, Any], described: dict[str, Any], tokenizer: Tokenizer
) -> frozenset[int]:
    """The tokens that end a text: all that any of the files names."""
    found: set[int] = set()
    for source in (config, config.get("text_config", {}), generation):
        value = source.get("eos_token_id")
        found.update(value if isinstance(value, list) else [value] if isinstance(value, int) else [])
    named = _special_tokens(described).get("eos_token")
    number = tokenizer.token_to_id(named) if named else None
    return frozenset(found if number is None else found | {number})


def _pooling(folder: str) -> str:
    """How the model was trained to make embeddings, when it was: as sentence-transformers writes it down."""
    found = _json(folder, os.path.join("1_Pooling", "config.json"))
    if found.get("pooling_mode_mean_tokens"):
        return "mean"
    return "last" if found.get("pooling_mode_lasttoken") else ""


def _usual(generation: dict[str, Any]) -> dict[str, float]:
    """What the folder proposes; without ``do_sample`` it means the likeliest token each time."""
    found = {name: generation[name] for name in _SAMPLING if isinstance(generation.get(name), (int, float))}
    return found | ({"temperature": 0.0} if generation.get("do_sample") is False else {})
