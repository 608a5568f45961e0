"""What was built, in words: its type, its repr and the number of its parameters, or why it could not be built."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from forge.base.secrets import MASK, Secret
from forge.graph.walk import walk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forge.graph.node import Node

__all__ = ["built_text", "describe_built", "failure_text", "secret_texts"]

_LONGEST: Final = 2000
_SHORTEST: Final = 3  # a text of one or two letters stands everywhere


def describe_built(key: str, built: object, secrets: Sequence[str] = ()) -> dict[str, Any]:
    """What came out, as plain data, with these texts masked."""
    kind = type(built)
    text = _masked(repr(built), secrets)
    found: dict[str, Any] = {
        "target": key,
        "type": kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}",
        "repr": text if len(text) <= _LONGEST else text[:_LONGEST] + " ...",
    }
    if (parameters := _parameters(built)) is not None:
        found["parameters"] = parameters
    return found


def built_text(found: dict[str, Any]) -> str:
    """The same as text."""
    head = f"{found['target']}: {found['type']}"
    if "parameters" in found:
        head += f", {found['parameters']:,} parameters"
    return f"{head}\n{found['repr']}"


def failure_text(key: str, error: Exception, secrets: Sequence[str] = ()) -> str:
    """What failed, the builder's note that says where in the config, and how to see the traceback."""
    reason = (_masked(str(error), secrets).splitlines() or [""])[0]
    lines = [f"building {key} failed: {type(error).__name__}: {reason}"]
    lines += [f"  {note}" for note in list(getattr(error, "__notes__", ()))[:1]]
    return "\n".join([*lines, "  Run again with --debug before the verb to see the traceback."])


def secret_texts(root: Node) -> list[str]:
    """What an object that was given a secret would show, longest first."""
    values = (value.reveal() for node in walk(root) if isinstance(value := getattr(node, "value", None), Secret))
    texts = {str(value) for value in values if isinstance(value, (str, int, float)) and not isinstance(value, bool)}
    shown = {form for text in texts if len(text) >= _SHORTEST for form in (text, repr(text)[1:-1])}
    return sorted(shown, key=len, reverse=True)


def _masked(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, MASK)
    return text


def _parameters(built: object) -> int | None:
    """How many parameters a torch module has; None for anything else. Asked by shape, torch is not imported here."""
    count = getattr(built, "parameters", None)
    if not callable(count) or not hasattr(built, "state_dict"):
        return None
    return int(sum(parameter.numel() for parameter in count()))
