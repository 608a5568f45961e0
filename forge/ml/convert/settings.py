"""The files beside the weights: config.json, the tokenizer with its chat template, and what generation stops at."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from forge.base.errors import ModelError
from forge.base.files import read_bounded
from forge.base.json_file import read_object
from forge.ml.chat.conversation import Conversation, RowError
from forge.ml.chat.limits import Limits, limited, memory_limited
from forge.ml.chat.template import Template

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from transformers import PreTrainedTokenizerBase

__all__ = [
    "TurnEnd",
    "as_json",
    "carried_files",
    "for_other_readers",
    "generation_config",
    "tokenizer_files",
    "turn_end",
    "with_length",
]

_LIMIT: Final = 512 << 20
_ANSWER: Final = "forge-answer-7c1e"
_TALK: Final = [{"role": "user", "content": "question"}, {"role": "assistant", "content": _ANSWER}]
# What a tokenizer consists of, and what a model comes with.
_TOKENIZER: Final = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json"),
    *("merges.txt", "tokenizer.model", "tekken.json", "spiece.model", "vocab.txt", "chat_template.jinja"),
    "chat_template.json",
)
_BESIDE: Final = ("LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE", "USE_POLICY.md", "README.md")
_OLD_TYPE: Final = "PreTrainedTokenizerFast"
_NEW_TYPE: Final = "TokenizersBackend"
_LONGEST_END: Final = 40


@dataclass(frozen=True, slots=True)
class TurnEnd:
    """How a template ends a turn: the text that follows it, and the token that this text begins with, if it is one."""

    text: str = ""
    token: str | None = None


def as_json(value: Any) -> bytes:
    """A value as the files of a model folder have it."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def for_other_readers(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with the names that older readers know beside those of today: they look for torch_dtype and rope_theta."""
    found = dict(config)
    if "dtype" in found:
        found["torch_dtype"] = found["dtype"]
    rope = found.get("rope_parameters")
    if isinstance(rope, dict) and "rope_theta" in rope:
        found["rope_theta"] = rope["rope_theta"]
        rest = {name: value for name, value in rope.items() if name != "rope_theta"}
        found["rope_scaling"] = rest if rest.get("rope_type", "default") != "default" else None
    return found


def carried_files(folder: str, *, tokenizer: bool) -> Iterator[tuple[str, bytes]]:
    """The files of a model folder that stay as they are: licence and card, and with ``tokenizer`` those of the tokenizer."""
    for name in (*_BESIDE, *(_TOKENIZER if tokenizer else ())):
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            _refuse_foreign(folder, name)
            yield name, read_bounded(path, _LIMIT)


def _refuse_foreign(folder: str, name: str) -> None:
    """ModelError for a link out of the folder: what it leads to would become part of a model that is given to others.

    A run's output folder has its files below ``checkpoints``, each with a link to it.
    """
    here, place = os.path.realpath(folder), os.path.realpath(os.path.join(folder, name))
    # The Hub's cache has its files beside the folder of a commit: snapshots/COMMIT/name is a link to blobs/HASH.
    blobs = os.path.join(os.path.dirname(os.path.dirname(here)), "blobs")
    in_checkpoint = place.startswith(os.path.join(here, "checkpoints", ""))
    if os.path.dirname(place) not in (here, blobs) and not in_checkpoint:
        raise ModelError(
            f"{os.path.join(folder, name)} is a link to {place}, which is not part of the model",
            hint="put the file itself in its place, or remove the link",
        )


def tokenizer_files(tokenizer: PreTrainedTokenizerBase) -> dict[str, bytes]:
    """What a tokenizer writes of itself, in the form that transformers 4 reads too."""
    with tempfile.TemporaryDirectory(prefix="forge-") as folder:
        tokenizer.save_pretrained(folder)
        files = {name: read_bounded(os.path.join(folder, name), _LIMIT) for name in sorted(os.listdir(folder))}
    config = json.loads(files["tokenizer_config.json"])
    # The new name of the class is known to transformers 5 alone, the old one to both.
    if config.get("tokenizer_class") == _NEW_TYPE:
        config["tokenizer_class"] = _OLD_TYPE
    for name in ("is_local", "local_files_only"):
        config.pop(name, None)
    return files | {"tokenizer_config.json": as_json(config)}


def turn_end(tokenizer: PreTrainedTokenizerBase) -> TurnEnd:
    """How the tokenizer's chat template ends what the assistant says.

    ModelError when the template refuses a plain conversation.
    """
    text = tokenizer.chat_template
    if not isinstance(text, str):
        return TurnEnd()
    tail = _rendered(text, tokenizer).partition(_ANSWER)[2].lstrip()
    tokens = {*tokenizer.get_added_vocab(), *_special_texts(tokenizer).values()}
    found = max((token for token in tokens if token and tail.startswith(token)), key=len, default=None)
    return TurnEnd((tail.split() or [""])[0][:_LONGEST_END], found)


def with_length(files: Mapping[str, bytes], length: int) -> dict[str, bytes]:
    """The files of a tokenizer, told how long a text may be."""
    name = "tokenizer_config.json"
    if name not in files:
        return dict(files)
    return {**files, name: as_json({**json.loads(files[name]), "model_max_length": length})}


def generation_config(
    folder: str, config: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase | None
) -> dict[str, Any]:
    """A folder's generation settings, stopping where the tokenizer's chat template ends a turn."""
    found = _given_generation(folder) or {
        name: config[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id") if config.get(name) is not None
    }
    # What only repeats config.json would be read from there again.
    found.pop("_from_model_config", None)
    if tokenizer is None:
        return found
    stop = turn_end(tokenizer).token
    first = [] if stop is None else [tokenizer.convert_tokens_to_ids(stop)]
    own = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    ends = list(dict.fromkeys([*first, *_numbers(found.get("eos_token_id")), *own]))
    if ends:
        found["eos_token_id"] = ends[0] if len(ends) == 1 else ends
    if tokenizer.pad_token_id is not None:
        found["pad_token_id"] = tokenizer.pad_token_id
    return found


def _given_generation(folder: str) -> dict[str, Any]:
    path = os.path.join(folder, "generation_config.json")
    if not os.path.isfile(path):
        return {}
    return read_object(path, _LIMIT)


def _numbers(value: Any) -> list[int]:
    return [number for number in (value if isinstance(value, list) else [value]) if isinstance(number, int)]


def _special_texts(tokenizer: PreTrainedTokenizerBase) -> dict[str, str]:
    return {name: text for name, text in tokenizer.special_tokens_map.items() if isinstance(text, str)}


def _rendered(text: str, tokenizer: PreTrainedTokenizerBase) -> str:
    limits = Limits()
    try:
        with memory_limited(limits), limited(limits):
            template = Template(text, special_tokens=_special_texts(tokenizer))
            return template.render(Conversation(messages=_TALK)).text
    except (RowError, ValueError) as error:
        raise ModelError(f"the chat template cannot be used: {error}", hint="name another one with -t") from error
