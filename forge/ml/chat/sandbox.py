"""The sandbox that chat templates run in: the names and the manners that transformers gives them, and nothing else."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any, Final, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, LoopControlExtension
from jinja2.sandbox import ImmutableSandboxedEnvironment

if TYPE_CHECKING:
    from collections.abc import Callable

    from jinja2.parser import Parser

__all__ = ["Sandbox", "TemplateRefusal"]

_OLDEST: Final = (3, 1, 6)  # earlier ones have holes


class TemplateRefusal(jinja2.TemplateError):
    """The template itself refuses the conversation, by ``raise_exception``."""


class Sandbox(ImmutableSandboxedEnvironment):
    """An environment for chat templates. While a template renders, `spans` collects what its generation blocks said.

    ``written`` counts the characters rendered so far; who renders keeps it, because only there is the whole text known.
    """

    def __init__(self, now: Callable[[], dt.datetime] = dt.datetime.now) -> None:
        if tuple(int(part) for part in jinja2.__version__.split(".")[:3] if part.isdigit()) < _OLDEST:
            raise ImportError(f"chat templates need jinja2 3.1.6 or newer, this is {jinja2.__version__}")
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, LoopControlExtension])
        self.written = 0
        self.spans: list[tuple[int, str]] = []
        self.filters["tojson"] = _to_json
        # Each of these has nothing to hold on to but itself.
        self.globals["dict"] = _Dict()
        self.globals["namespace"] = _Namespace
        self.globals["raise_exception"] = _raise
        self.globals["strftime_now"] = lambda form: now().strftime(form)


class _Generation(Extension):
    """``{% generation %} ... {% endgeneration %}`` around what the assistant says."""

    tags = {"generation"}  # noqa: RUF012 - jinja's way

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_note"), [], [], body).set_lineno(line)

    def _note(self, caller: Callable[[], str]) -> str:
        said = caller()
        environment: Any = self.environment
        environment.spans.append((environment.written, said))
        return said


class _Dict:
    """What templates call ``dict``: it makes mappings and leads nowhere."""

    def __call__(self, *args: Any, **values: Any) -> dict[Any, Any]:
        return dict(*args, **values)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


class _Namespace(jinja2.utils.Namespace):
    """What templates call ``namespace``: its attributes are the template's own, none of Python's."""

    def __init__(*args: Any, **values: Any) -> None:
        self, *given = args
        found = dict(*given, **values)
        for name in found:
            _refuse_private(name)
        jinja2.utils.Namespace.__init__(self, found)

    def __setitem__(self, name: str, value: Any) -> None:
        _refuse_private(name)
        super().__setitem__(name, value)


def _refuse_private(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise jinja2.exceptions.SecurityError(f"a namespace has no attribute {name!r}: its names begin with a letter")


def _raise(message: object) -> NoReturn:
    raise TemplateRefusal(str(message))


def _to_json(
    value: Any,
    ensure_ascii: bool = False,  # noqa: FBT001, FBT002 - the signature that templates know
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,  # noqa: FBT001, FBT002 - as above
) -> str:
    """JSON as it is written for a model: without the escapes that jinja makes for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
