"""``forge build``: build a part of a config here and print what came out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forge.base.errors import ForgeError
from forge.base.secrets import MASK, Secret
from forge.cli.options import JSON, OUTPUT, TARGET
from forge.cli.registry import Verb

if TYPE_CHECKING:
    from forge.cli.session import Context
    from forge.graph.node import Node

__all__ = ["VERB"]

_LONGEST = 2000
_SHORTEST = 3  # a text of one or two letters stands everywhere


def _run(context: Context) -> int:
    config = context.config
    target = context.options.target or config.main
    key = target or config.name
    secrets = _secrets(config.graph_of(target).root)
    try:
        built = config.build(target)
    except (ForgeError, KeyboardInterrupt, MemoryError):
        raise
    except Exception as error:  # the config's own objects may raise anything: a failed job, not a bug of forge
        if context.session.debug:
            raise
        _show_failure(context, key, error, secrets)
        return 1
    found = _described(key, built, secrets)
    if context.options.json:
        context.emit_json(found, config.name)
    else:
        context.emit(_text(found), config.name, ".txt")
    return 0


def _secrets(root: Node) -> list[str]:
    """What an object that was given a secret would show, longest first."""
    from forge.graph.walk import walk  # `forge --help` builds nothing

    values = (value.reveal() for node in walk(root) if isinstance(value := getattr(node, "value", None), Secret))
    texts = {str(value) for value in values if isinstance(value, (str, int, float)) and not isinstance(value, bool)}
    shown = {form for text in texts if len(text) >= _SHORTEST for form in (text, repr(text)[1:-1])}
    return sorted(shown, key=len, reverse=True)


def _masked(text: str, secrets: list[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, MASK)
    return text


def _show_failure(context: Context, key: str, error: Exception, secrets: list[str]) -> None:
    """What failed, the builder's note that says where in the config, and how to see the traceback."""
    reason = (_masked(str(error), secrets).splitlines() or [""])[0]
    context.output.note(f"error: building {key} failed: {type(error).__name__}: {reason}")
    for note in list(getattr(error, "__notes__", ()))[:1]:
        context.output.note(f"  {note}")
    context.output.note("  Run again with --debug before the verb to see the traceback.")


def _described(key: str, built: object, secrets: list[str]) -> dict[str, object]:
    kind = type(built)
    text = _masked(repr(built), secrets)
    found: dict[str, object] = {
        "target": key,
        "type": kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}",
        "repr": text if len(text) <= _LONGEST else text[:_LONGEST] + " ...",
    }
    if (parameters := _parameters(built)) is not None:
        found["parameters"] = parameters
    return found


def _parameters(built: object) -> int | None:
    """How many parameters a torch module has; None for anything else. Asked by shape, torch is not imported here."""
    count = getattr(built, "parameters", None)
    if not callable(count) or not hasattr(built, "state_dict"):
        return None
    return int(sum(parameter.numel() for parameter in count()))


def _text(found: dict[str, object]) -> str:
    head = f"{found['target']}: {found['type']}"
    if "parameters" in found:
        head += f", {found['parameters']:,} parameters"
    return f"{head}\n{found['repr']}"


VERB = Verb(
    name="build",
    summary="build a part of the config and print what came out",
    help="""\
Build the config's main object, or the part that --target names, in this process, and print its type, its repr, and
for a model the number of its parameters. This imports what the config names, so the code of a project has to be
trusted first (`forge trust`).

  forge build --target model
  forge build --target optimizer optimizer=adafactor
""",
    run=_run,
    options=(TARGET, JSON, OUTPUT),
    takes_config=True,
)
