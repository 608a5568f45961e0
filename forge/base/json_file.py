"""JSON files that somebody else may have written: bounded in size and depth, and whatever is wrong with one is one kind of error."""

from __future__ import annotations

import json
import os
from typing import Any, Final

from forge.base.errors import FileError
from forge.base.files import read_bounded
from forge.base.origin import Origin

__all__ = ["read_json", "read_object"]

_KINDS: Final = {list: "a list", str: "a text", bool: "true or false", type(None): "null"}


def read_json(path: str | os.PathLike[str], limit: int) -> Any:
    """What a JSON file of at most ``limit`` bytes says; a `ForgeError` that names the file where it cannot be read or is no JSON."""
    content = read_bounded(path, limit)
    try:
        return json.loads(content)
    except json.JSONDecodeError as error:
        raise FileError(
            f"this is not JSON: {error.msg}", origin=Origin(os.fspath(path), error.lineno, error.colno)
        ) from error
    except UnicodeDecodeError as error:
        raise FileError("this is not JSON: it is no text", origin=Origin(os.fspath(path))) from error
    except RecursionError as error:
        raise FileError(
            "this is not JSON that can be read: it is nested too deeply", origin=Origin(os.fspath(path))
        ) from error


def read_object(path: str | os.PathLike[str], limit: int) -> dict[str, Any]:
    """What a JSON file says that holds one object."""
    found = read_json(path, limit)
    if not isinstance(found, dict):
        raise FileError(
            f"this is not a JSON object, but {_KINDS.get(type(found), 'a number')}", origin=Origin(os.fspath(path))
        )
    return found
