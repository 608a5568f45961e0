"""Rows of the known formats, as conversations: which format a row has, and which of its columns and tags mean what.

    text               text
    prompt_completion  prompt, completion                         two texts; or two lists of messages, and system, tools
    alpaca             instruction, output                        input, system, history
    sharegpt           conversations of {from, value}             system, tools
    messages           messages of {role, content, tool_calls}    tools

Columns may have other names (``columns={"messages": "dialog"}``), and messages other keys and roles
(``tags={"role_key": "speaker", "content_key": "said", "user": ["client"]}``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from forge.base.spelling import did_you_mean
from forge.ml.chat.conversation import Conversation, RowError
from forge.ml.chat.messages import Reader, tool_list, unwrapped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["COLUMNS", "FormatName", "RowFormat", "recognise", "to_conversation"]

FormatName = Literal["text", "prompt_completion", "alpaca", "sharegpt", "messages"]

# For each format: the columns it is known by, then those it may have.
COLUMNS: Final[dict[FormatName, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "messages": (("messages",), ("system", "tools", "chat_template_kwargs")),
    "sharegpt": (("conversations",), ("system", "tools", "chat_template_kwargs")),
    "prompt_completion": (("prompt", "completion"), ("system", "tools", "chat_template_kwargs")),
    "alpaca": (("instruction", "output"), ("input", "system", "history")),
    "text": (("text",), ()),
}
"""The columns of each format: those it is known by and those it may have. A row is taken for the first that fits."""


@dataclass(frozen=True, slots=True)
class RowFormat:
    """How rows are read: the format, the column that plays each part, and the keys and roles of its messages."""

    name: FormatName
    columns: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, Any] = field(default_factory=dict)
    reader: Reader = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.name not in COLUMNS:
            raise ValueError(
                f"format is one of {', '.join(get_args(FormatName))}, not {self.name!r}{_guess(self.name, COLUMNS)}"
            )
        known = [part for parts in COLUMNS[self.name] for part in parts]
        for part in self.columns:
            if part not in known:
                raise ValueError(f"columns of the format {self.name} are {', '.join(known)}; there is no {part!r}")
        object.__setattr__(self, "reader", Reader(self.tags))

    def column(self, part: str) -> str:
        """The name of the column that plays a part."""
        return self.columns.get(part, part)


def recognise(
    columns: Iterable[str],
    name: str | None = None,
    *,
    renamed: Mapping[str, str] | None = None,
    tags: Mapping[str, Any] | None = None,
) -> RowFormat:
    """The format of rows with these columns: the one that is named, else the first whose columns are all there.

    ``renamed`` maps a part such as ``messages`` to the column that plays it; ``tags`` are those of `RowFormat`.
    """
    found, renamed = set(columns), dict(renamed or {})
    if name is not None:
        chosen = RowFormat(name, renamed, tags or {})  # type: ignore[arg-type] # checked there
        _check_columns(chosen, found)
        return chosen
    parts = {part for kinds in COLUMNS.values() for kind in kinds for part in kind}
    for part in renamed:
        if part not in parts:
            raise ValueError(f"columns has no part {part!r}{_guess(part, parts)}; it knows {_listed(parts)}")
    for candidate, (needed, others) in COLUMNS.items():
        fits = all(renamed.get(part, part) in found for part in needed)
        if fits and set(renamed) <= {*needed, *others}:
            return RowFormat(candidate, renamed, tags or {})
    known = "; ".join(f"{candidate} has {' and '.join(needed)}" for candidate, (needed, _) in COLUMNS.items())
    raise ValueError(
        f"rows with the columns {_listed(found)} have no known format ({known}): "
        "name it with format, and its columns with columns"
    )


def to_conversation(row: Mapping[str, Any], row_format: RowFormat) -> Conversation:
    """A row as a conversation; RowError when it cannot be one."""
    convert = _CONVERT.get(row_format.name)
    if convert is None:
        raise ValueError(f"rows of {row_format.name} are documents, not conversations")
    return convert(row, row_format)


def _check_columns(chosen: RowFormat, found: set[str]) -> None:
    for part in (*COLUMNS[chosen.name][0], *chosen.columns):
        if chosen.column(part) not in found:
            guess = did_you_mean(chosen.column(part), sorted(found))
            raise ValueError(
                f"rows of the format {chosen.name} have a column {chosen.column(part)}; these have {_listed(found)}"
                + (f" ({guess})" if guess else "; say with columns which one it is")
            )


def _guess(name: object, names: Iterable[str]) -> str:
    guess = did_you_mean(str(name), list(names))
    return f" ({guess})" if guess else ""


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "(none)"


def _dialog(row: Mapping[str, Any], row_format: RowFormat, part: str) -> Conversation:
    column = row_format.column(part)
    messages, marks = row_format.reader.messages(_cell(row, column), column)
    return _conversation(row, row_format, messages, marks)


def _from_messages(row: Mapping[str, Any], row_format: RowFormat) -> Conversation:
    return _dialog(row, row_format, "messages")


def _from_sharegpt(row: Mapping[str, Any], row_format: RowFormat) -> Conversation:
    return _dialog(row, row_format, "conversations")


def _from_prompt_completion(row: Mapping[str, Any], row_format: RowFormat) -> Conversation:
    prompt_column, completion_column = row_format.column("prompt"), row_format.column("completion")
    prompt, completion = _cell(row, prompt_column), _cell(row, completion_column)
    if isinstance(prompt, str) and isinstance(completion, str):
        if not completion:
            raise RowError("empty completion", f"column {completion_column}")
        _refuse_beside_plain_text(row, row_format)
        turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": completion}]
        return Conversation(turns, plain=True)
    if isinstance(prompt, str) or isinstance(completion, str):
        raise RowError(
            "prompt and completion differ in kind",
            f"{prompt_column} is {_kind(prompt)}, {completion_column} is {_kind(completion)}: both texts, or both lists",
        )
    reader = row_format.reader
    asked, asked_marks = reader.messages(prompt, prompt_column)
    answered, answered_marks = reader.messages(completion, completion_column)
    # The prompt is never learned, whatever else the assistant says in it, unless its own message asks for it.
    before = [bool(mark) for mark in asked_marks or [None] * len(asked)]
    marks = (*before, *(answered_marks or [None] * len(answered)))
    return _conversation(row, row_format, [*asked, *answered], marks)


def _refuse_beside_plain_text(row: Mapping[str, Any], row_format: RowFormat) -> None:
    """Only a template could place these, and texts pass none: they would be missing without a word."""
    given = {
        "system": _optional_text(row, row_format, "system"),
        "tools": _tools(row, row_format),
        "chat_template_kwargs": _variables(row, row_format),
    }
    for part, value in given.items():
        if value:
            raise RowError(
                f"{part} beside a prompt in plain text",
                f"it passes no template that could place the column {row_format.column(part)}: "
                "write prompt and completion as lists of messages, or leave that column empty",
            )


def _from_alpaca(row: Mapping[str, Any], row_format: RowFormat) -> Conversation:
    instruction = _text(row, row_format.column("instruction"))
    more = _optional_text(row, row_format, "input")
    asked = "\n".join(part for part in (instruction, more) if part)
    if not asked:
        raise RowError("empty instruction", f"column {row_format.column('instruction')}")
    messages = []
    if system := _optional_text(row, row_format, "system"):
        messages.append({"role": "system", "content": system})
    for number, pair in enumerate(_history(row, row_format), start=1):
        if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):  # noqa: PLR2004 - a question and its answer
            raise RowError("history is not pairs of texts", f"entry {number} is {_kind(pair)}")
        messages += [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]}]
    answer = _text(row, row_format.column("output"))
    if not answer:
        raise RowError("empty output", f"column {row_format.column('output')}")
    messages += [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
    return Conversation(messages)


def _history(row: Mapping[str, Any], row_format: RowFormat) -> list[Any]:
    found = unwrapped(row.get(row_format.column("history")))
    if found is None or found == "":  # a csv file has no other way to hold nothing
        return []
    if not isinstance(found, (list, tuple)):
        raise RowError("history is not pairs of texts", f"it is {_kind(found)}")
    return list(found)


def _conversation(
    row: Mapping[str, Any], row_format: RowFormat, messages: list[dict[str, Any]], marks: tuple[bool | None, ...]
) -> Conversation:
    system = _optional_text(row, row_format, "system")
    if system and messages[0]["role"] != "system":
        messages = [{"role": "system", "content": system}, *messages]
        marks = (None, *marks) if marks else marks
    return Conversation(messages, _tools(row, row_format), marks, variables=_variables(row, row_format))


def _tools(row: Mapping[str, Any], row_format: RowFormat) -> list[dict[str, Any]] | None:
    return tool_list(row.get(row_format.column("tools")))


def _variables(row: Mapping[str, Any], row_format: RowFormat) -> dict[str, Any]:
    """The row's own values for its template."""
    variables = unwrapped(row.get(row_format.column("chat_template_kwargs"))) or {}
    if not isinstance(variables, dict):
        raise RowError("chat_template_kwargs is not a mapping", f"it is {_kind(variables)}")
    return {key: value for key, value in variables.items() if value is not None}


def _cell(row: Mapping[str, Any], column: str) -> Any:
    try:
        found = row[column]
    except KeyError:
        raise RowError(f"no column {column}", f"the row has {_listed(row)}") from None
    if found is None:
        raise RowError(f"empty column {column}")
    return found


def _text(row: Mapping[str, Any], column: str) -> str:
    found = _cell(row, column)
    if not isinstance(found, str):
        raise RowError(f"column {column} is not text", f"it is {_kind(found)}")
    return found


def _optional_text(row: Mapping[str, Any], row_format: RowFormat, part: str) -> str:
    column = row_format.column(part)
    return "" if row.get(column) is None else _text(row, column)


def _kind(value: object) -> str:
    return "nothing" if value is None else type(value).__name__


_CONVERT: Final[dict[str, Callable[[Mapping[str, Any], RowFormat], Conversation]]] = {
    "messages": _from_messages,
    "sharegpt": _from_sharegpt,
    "prompt_completion": _from_prompt_completion,
    "alpaca": _from_alpaca,
}
