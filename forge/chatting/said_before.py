"""What the user typed in earlier talks, for the arrow keys: a private file of the user's own."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Final

from prompt_toolkit.history import History

from forge.base.errors import FileError
from forge.base.files import add_line, make_private_folder, read_bounded
from forge.base.places import user_data

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["SaidBefore"]

_MOST: Final = 256 << 10


class SaidBefore(History):
    """The history of talks. A folder that cannot be written is no reason not to talk."""

    def __init__(self) -> None:
        super().__init__()
        self._path = os.path.join(user_data(), "talk_history")

    def load_history_strings(self) -> Iterable[str]:
        """The lines, the newest first."""
        try:
            lines = read_bounded(self._path, 2 * _MOST).decode(errors="replace").splitlines()
        except FileError:
            return []
        return [text for line in reversed(lines) if (text := _text(line))]

    def store_string(self, string: str) -> None:
        """Keep a line."""
        try:
            make_private_folder(os.path.dirname(self._path))
            add_line(self._path, json.dumps(string), most_bytes=_MOST)
        except FileError:
            return


def _text(line: str) -> str:
    try:
        found = json.loads(line)
    except ValueError:
        return ""
    return found if isinstance(found, str) else ""
