"""Tokens that are added to a tokenizer, and what the rows of their embeddings begin as."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import yaml
from transformers import AddedToken

from forge.base.errors import ForgeError, ModelError
from forge.base.files import read_bounded
from forge.base.spelling import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import PreTrainedTokenizerBase

__all__ = ["NewRow", "WantedToken", "add_tokens", "read_wanted"]

_LIMIT: Final = 1 << 20
_LISTS: Final = {"special_tokens": True, "regular_tokens": False}
_NAMED: Final = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_KEYS: Final = ("token", "init", "if_missing")
_MEAN: Final = "mean"
_ZERO: Final = "zero"


@dataclass(frozen=True, slots=True)
class WantedToken:
    """A token as the file asks for it.

    ``role`` is what it is to the tokenizer (``pad_token``), or empty. ``init`` is ``mean``, ``zero``, or the tokens whose mean it
    begins as. ``if_missing``: only where the tokenizer has none for that role.
    """

    token: str
    role: str = ""
    special: bool = True
    init: str | tuple[str, ...] = _MEAN
    if_missing: bool = False


@dataclass(frozen=True, slots=True)
class NewRow:
    """A token that the model has to learn: its number, and the numbers that it begins as the mean of.

    None is all tokens there were; no number at all is zero.
    """

    token: str
    row: int
    like: tuple[int, ...] | None


def read_wanted(path: str) -> list[WantedToken]:
    """The tokens that a YAML file asks for; ModelError says what in it is wrong."""
    try:
        found = yaml.safe_load(read_bounded(path, _LIMIT))
    except ForgeError as error:
        raise ModelError(
            error.what, hint="--add-tokens names a YAML file with special_tokens, regular_tokens, pad_token ..."
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"{path} is no YAML ({' '.join(str(error).split())[:160]})") from error
    try:
        wanted = list(_wanted(found))
    except ValueError as error:
        raise ModelError(f"{path}: {error}") from error
    if not wanted:
        raise ModelError(f"{path} asks for no tokens")
    return wanted


def add_tokens(tokenizer: PreTrainedTokenizerBase, wanted: list[WantedToken]) -> list[NewRow]:
    """Add the tokens to the tokenizer, and return those that it did not have."""
    before = tokenizer.get_vocab()
    missing = [one for one in wanted if not (one.if_missing and getattr(tokenizer, one.role, None))]
    for one in missing:
        token = AddedToken(one.token, special=one.special, normalized=not one.special)
        if one.role:
            tokenizer.add_special_tokens({one.role: token})
        else:
            tokenizer.add_tokens([token], special_tokens=one.special)
    after = tokenizer.get_vocab()
    new = [one for one in missing if one.token not in before]
    return [NewRow(one.token, after[one.token], _like(one, before)) for one in dict.fromkeys(new)]


def _like(wanted: WantedToken, vocabulary: dict[str, int]) -> tuple[int, ...] | None:
    if wanted.init == _MEAN:
        return None
    if wanted.init == _ZERO:
        return ()
    for name in wanted.init:
        if name not in vocabulary:
            hint = did_you_mean(name, [token for token in vocabulary if token[:1] == name[:1]])
            raise ModelError(
                f"{wanted.token} is to begin as {name!r}, which is no token of the tokenizer",
                hint=hint or "init is mean, zero, or a token (or a list of tokens) that is there",
            )
    return tuple(vocabulary[name] for name in wanted.init)


def _wanted(found: Any) -> Iterator[WantedToken]:
    if not isinstance(found, dict):
        raise ValueError("it is to be a table with special_tokens, regular_tokens, or a role such as pad_token")  # noqa: TRY004 - one kind of error for every fault of the file
    for key, value in found.items():
        if key in _LISTS:
            for entry in _list(key, value):
                yield _entry(entry, key, special=_LISTS[key])
        elif key in _NAMED:
            yield _entry(value, key, role=key)
        else:
            hint = did_you_mean(str(key), [*_LISTS, *_NAMED])
            raise ValueError(
                f"it has {key!r:.60}, which is neither a list of tokens nor a role{f' ({hint})' if hint else ''}"
            )


def _list(key: str, value: Any) -> list[Any]:
    if value is not None and not isinstance(value, list):
        raise ValueError(f"{key} is to be a list of tokens")
    return value or []


def _entry(value: Any, key: str, *, role: str = "", special: bool = True) -> WantedToken:
    table = {"token": value} if isinstance(value, str) else value
    if not isinstance(table, dict) or not isinstance(table.get("token"), str) or not table["token"]:
        raise ValueError(f"{key}: a token is a text, or a table with token and init, not {value!r:.60}")
    if foreign := [name for name in table if name not in _KEYS]:
        raise ValueError(f"{key}: {foreign[0]!r:.60} is none of {', '.join(_KEYS)}")
    if type(table.get("if_missing", False)) is not bool or (table.get("if_missing") and not role):
        raise ValueError(f"{key}: if_missing is true or false, and for a role such as pad_token")
    return WantedToken(
        table["token"], role, special, _init(table.get("init", _MEAN), key), bool(table.get("if_missing", False))
    )


def _init(value: Any, key: str) -> str | tuple[str, ...]:
    if value in {_MEAN, _ZERO} if isinstance(value, str) else False:
        return str(value)
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"{key}: init is mean, zero, a token or a list of tokens, not {value!r:.60}")
    return tuple(names)
