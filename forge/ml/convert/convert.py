"""`forge convert`: a model folder in, a changed one out; no more than two of its files are in memory at any time."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import torch

from forge.base.errors import ModelError
from forge.ml.convert.assembly import as_assembly, as_known, assembled_config, known_config
from forge.ml.convert.new_model import NewModelFolder, refuse_present
from forge.ml.convert.rows import grown
from forge.ml.convert.settings import (
    as_json,
    carried_files,
    for_other_readers,
    generation_config,
    tokenizer_files,
    with_length,
)
from forge.ml.convert.shards import SHARD, size_of, write_shards
from forge.ml.convert.source import embedding_names, empty_model, open_source
from forge.ml.convert.tokens import add_tokens, read_wanted
from forge.ml.data.tokenizer import pretrained
from forge.ml.models.decoder import DecoderConfig, code_files
from forge.ml.models.decoder.modeling import DecoderForCausalLM

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PretrainedConfig, PreTrainedTokenizerBase

    from forge.ml.convert.source import SourceModel
    from forge.ml.convert.tokens import NewRow
    from forge.ml.models.stored import Stored

__all__ = [
    "DTYPES",
    "Changes",
    "Converted",
    "convert",
    "convert_folder",
    "counted_tokens",
    "finished",
    "narrowed",
    "renamed",
    "write_model",
]

DTYPES: Final = ("bfloat16", "float16", "float32", "float64")
"""The types that weights may be converted to."""
_LEARNED: Final = "a model with a learned vector for each position cannot have its length changed"


@dataclass(frozen=True, slots=True)
class Changes:
    """What is to be changed on the way; by default nothing."""

    template: str | None = None
    add_tokens: str | None = None
    dtype: str | None = None
    to: str | None = None
    max_length: int | None = None
    max_shard_size: int = SHARD

    @property
    def tokenizer(self) -> bool:
        """Whether the tokenizer is another one afterwards."""
        return self.template is not None or self.add_tokens is not None


@dataclass(slots=True)
class Converted:
    """A model that is about to be written: its config, its tensors, and the files beside them."""

    config: PretrainedConfig
    plain: dict[str, Any]
    tensors: dict[str, Stored]
    files: dict[str, bytes] = field(default_factory=dict)
    new: list[NewRow] = field(default_factory=list)
    known: int = 0
    tokenizer: PreTrainedTokenizerBase | None = None
    source: SourceModel | None = None

    @property
    def size(self) -> int:
        """The bytes of its weights."""
        return sum(map(size_of, self.tensors.values()))


def convert_folder(
    folder: str,
    target: str,
    changes: Changes,
    *,
    begin: Callable[[SourceModel, Converted], Callable[[int], None] | None],
    check: Callable[[SourceModel, Converted, str], None] | None = None,
) -> None:
    """Convert the model in a folder into a new folder.

    ``begin`` is told what will be written, and returns what is to hear of the bytes that are, or None when nothing is to be
    written. ``check`` looks at the new files before they get their name, and raises what it has against them.
    """
    _refuse_same(folder, target)
    refuse_present(target)
    with open_source(folder, changes.max_length) as source:
        made = convert(source, changes)
        advance = begin(source, made)
        if advance is None:
            return
        write_model(
            target,
            made,
            changes.max_shard_size,
            advance,
            check=None if check is None else lambda staged: check(source, made, staged),
        )


def write_model(
    target: str,
    made: Converted,
    limit: int,
    advance: Callable[[int], None],
    *,
    check: Callable[[str], None] | None = None,
) -> None:
    """Write a model into a new folder, which ``check`` sees under another name before it is there."""
    with NewModelFolder(target, made.size) as new:
        write_shards(new, made.tensors, limit, advance)
        for name, content in made.files.items():
            new.write(name, content)
        if made.source is not None:
            made.source.refuse_changed()
        # The last: without it a folder is no model.
        new.write("config.json", as_json(made.plain))
        if check is not None:
            check(new.staged)
        new.commit()


def convert(source: SourceModel, changes: Changes) -> Converted:
    """The model as it will be written; no weight is read for this."""
    made = renamed(source, changes.to)
    made.source = source
    if changes.max_length is not None:
        _set_length(made, changes.max_length)
    made.files |= dict(carried_files(source.folder, tokenizer=not changes.tokenizer))
    if changes.tokenizer:
        _change_tokenizer(made, source, changes)
        assert made.tokenizer is not None  # noqa: S101 - for the type checker: it has just been read
        made.files |= tokenizer_files(made.tokenizer)
    if changes.max_length is not None:
        made.files = with_length(made.files, changes.max_length)
    generation = generation_config(source.folder, made.plain, made.tokenizer)
    made.files["generation_config.json"] = as_json(generation)
    if changes.dtype is not None:
        made.tensors = {name: narrowed(stored, changes.dtype) for name, stored in made.tensors.items()}
    return finished(made)


def finished(made: Converted) -> Converted:
    """The model with a config that says the type of its weights, to readers old and new."""
    made.plain = for_other_readers({**made.plain, "dtype": _main_dtype(made.tensors)})
    return made


def narrowed(stored: Stored, dtype: str) -> Stored:
    """The tensor in another type of floating-point numbers; numbers of other kinds stay."""
    wanted = getattr(torch, dtype)
    if not stored.dtype.is_floating_point or stored.dtype == wanted:
        return stored
    return stored.made(lambda tensor: tensor.to(wanted), wanted)


def _refuse_same(folder: str, target: str) -> None:
    if os.path.realpath(folder) == os.path.realpath(target):
        raise ModelError(
            "SRC and DST are the same folder, and a model is never converted in place",
            hint="name a new folder; remove the old one when you are content with it",
        )


def renamed(source: SourceModel, to: str | None) -> Converted:
    """The model under the names that were asked for; by default those of transformers, where it has some."""
    config, tensors = source.config, dict(source.tensors)
    if to == "assembled" and source.kind != "assembled":
        made = assembled_config(config)
        return Converted(made, _assembled_plain(made), as_assembly(config, tensors), _code(made))
    if source.kind != "assembled":
        return Converted(config, dict(source.plain), tensors)
    if not isinstance(config, DecoderConfig):
        raise TypeError(f"{type(config).__name__} is no assembly")
    known = None if to == "assembled" else known_config(config)
    if known is not None:
        known.architectures = [type(empty_model(known)).__name__]
        return Converted(known, _plain(known), as_known(known, tensors))
    if to == "hf":
        raise ModelError(
            f"the assembly in {source.folder} equals no architecture of transformers",
            hint="leave out --to hf: it is then written as it is, with the code that loads it",
        )
    return Converted(config, _assembled_plain(config), tensors, _code(config))


def _plain(config: PretrainedConfig) -> dict[str, Any]:
    return dict(json.loads(config.to_json_string(use_diff=True)))


def _assembled_plain(config: DecoderConfig) -> dict[str, Any]:
    return _plain(config) | {"architectures": [DecoderForCausalLM.__name__]}


def _code(config: DecoderConfig) -> dict[str, bytes]:
    return {name: text.encode() for name, text in code_files(config).items()}


def _set_length(made: Converted, length: int) -> None:
    names = [name for name in ("max_position_embeddings", "n_positions") if name in made.plain]
    learned = [name for name in made.tensors if name.endswith(("wpe.weight", "embed_positions.weight"))]
    if learned and made.tensors[learned[0]].shape[0] != length:
        raise ModelError(_LEARNED, hint="leave out --max-length")
    made.plain |= dict.fromkeys(names or ["max_position_embeddings"], length)


def _change_tokenizer(made: Converted, source: SourceModel, changes: Changes) -> None:
    tokenizer = pretrained(source.folder, chat_template=changes.template)
    embeddings = embedding_names(empty_model(made.config), made.tensors)
    rows = made.tensors[embeddings[0]].shape[0]
    made.known = counted_tokens(source.folder, tokenizer, rows)
    if changes.add_tokens is not None:
        made.new = add_tokens(tokenizer, read_wanted(changes.add_tokens))
    needed = max([rows, *(one.row + 1 for one in made.new)])
    if made.new:
        for name in embeddings:
            made.tensors[name] = grown(made.tensors[name], needed, made.new, made.known)
        made.plain["vocab_size"] = needed
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        number = getattr(tokenizer, name)
        if number is not None and name in {*made.plain, "pad_token_id"}:
            made.plain[name] = number
    made.tokenizer = tokenizer


def counted_tokens(folder: str, tokenizer: PreTrainedTokenizerBase, rows: int) -> int:
    """The number of tokens; ModelError when there are more of them than embeddings."""
    tokens = max(tokenizer.get_vocab().values(), default=-1) + 1
    if tokens > rows:
        raise ModelError(
            f"{folder}: vocabulary mismatch: its tokenizer has {tokens:,} tokens, and its model embeddings for {rows:,}",
            hint="the tokenizer belongs to another model: copy the right tokenizer files into the folder",
        )
    return tokens


def _main_dtype(tensors: dict[str, Stored]) -> str:
    """The type that most of the weights have."""
    sizes: dict[torch.dtype, int] = {}
    for stored in tensors.values():
        if stored.dtype.is_floating_point:
            sizes[stored.dtype] = sizes.get(stored.dtype, 0) + size_of(stored)
    return str(max(sizes, key=sizes.__getitem__, default=torch.float32)).removeprefix("torch.")
