"""The text to learn from: reference topics, and modules, classes and functions with their docstrings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydoc_text.docstrings import entries, topics
from pydoc_text.split import check_split, split_of

if TYPE_CHECKING:
    from pydoc_text.split import Split

__all__ = ["documents"]


def documents(split: Split = "train") -> tuple[str, ...]:
    """The documents of one split: a document is a reference topic, a module's docstring, a function, or a class with its methods."""
    check_split(split)
    return tuple(text for name, text in _all_documents().items() if split_of(name) == split)


def _all_documents() -> dict[str, str]:
    found = {f"topic {name}": text.strip() for name, text in topics().items()}
    for entry in entries():
        # A method stands in the document of its class, so that the two are never in different splits.
        name = entry.name.rpartition(".")[0] if entry.kind == "method" else entry.name
        key = f"{'module' if entry.kind == 'module' else 'object'} {name}"
        part = f"{entry.heading}\n\n{entry.text}"
        found[key] = f"{found[key]}\n\n{part}" if key in found else part
    return found
