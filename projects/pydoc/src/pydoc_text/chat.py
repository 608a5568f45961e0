"""Questions about the standard library, answered by its docstrings, as conversations."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final

from pydoc_text.docstrings import entries
from pydoc_text.split import check_split, split_of

if TYPE_CHECKING:
    from pydoc_text.docstrings import Entry
    from pydoc_text.split import Split

__all__ = ["question_answers"]

_QUESTIONS: Final = {
    "module": (
        "What is the module {name} for?",
        "Describe Python's {name} module.",
        "When would I use the {name} module?",
    ),
    "class": (
        "What is {name}?",
        "What does the class {name} do?",
        "Explain the class {name} from Python's standard library.",
    ),
    "function": ("What does {name} do?", "How do I use {heading}?", "Explain {name} from Python's standard library."),
    "method": ("What does {name} do?", "What is {name} for?", "Explain the method {heading}."),
}
_SHORTEST: Final = 30
_LONGEST: Final = 1500
_FEWEST_WORDS: Final = 5
# Docstrings that speak of something else than the thing they stand on, or to those who maintain it.
_UNFIT: Final = re.compile(
    r"\b(XXX|TODO|FIXME|internal use|for internal|see (the )?(base|parent) class|not implemented)\b", re.IGNORECASE
)


def question_answers(split: Split = "train") -> tuple[dict[str, list[dict[str, str]]], ...]:
    """The conversations of one split, each a row with ``messages`` of a user who asks and an assistant who answers."""
    check_split(split)
    return tuple(_conversation(entry) for entry in _answers() if split_of(entry.name) == split)


def _answers() -> list[Entry]:
    """The entries that answer a question well; a text that stands on several things is taken once."""
    found: dict[str, Entry] = {}
    for entry in entries():
        if _fit(entry.text):
            found.setdefault(entry.text, entry)
    return list(found.values())


def _fit(text: str) -> bool:
    long_enough = len(text) >= _SHORTEST and len(text.split()) >= _FEWEST_WORDS
    prose = not text.startswith(">>>") and not _UNFIT.search(text)
    return prose and long_enough and len(text) <= _LONGEST


def _conversation(entry: Entry) -> dict[str, list[dict[str, str]]]:
    forms = _QUESTIONS[entry.kind]
    # The form of the question is a function of the name, so that rows do not depend on each other.
    chosen = hashlib.blake2b(entry.heading.encode(), digest_size=4).digest()[0] % len(forms)
    question = forms[chosen].format(name=entry.name, heading=entry.heading)
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": entry.text}]}
