"""What torchrun is told on a node: by its command line, and by the environment where that says nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["nodes_told", "torchrun_told"]


def torchrun_told(name: str, command: Sequence[str], environment: Mapping[str, str]) -> str:
    """The value of a flag such as ``max-restarts``, as torchrun finds it; "" where nobody says it."""
    found = environment.get(f"PET_{name.replace('-', '_').upper()}", "")
    for word, after in zip(command, [*command, ""][1:], strict=True):
        flag, equals, value = word.partition("=")
        if flag.startswith("--") and flag[2:].replace("_", "-") == name:
            found = value if equals else after
    return found


def nodes_told(command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, int]:
    """The least and the greatest number of nodes; one where nothing that is a number is said."""
    least, _, most = torchrun_told("nnodes", command, environment).partition(":")
    if not least.isdecimal():
        return 1, 1
    return int(least), int(most) if most.isdecimal() else int(least)
