"""Interpolations that are more than a reference: text around it, resolvers, one inside another.

The grammar is OmegaConf's, parsed by OmegaConf; what may be called is a closed set, and environment variables are read
by an allow-list of names.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from forge.base.errors import ForgeError, InterpolationError
from forge.base.paths import dotted
from forge.base.secrets import is_secret_name
from forge.base.spelling import did_you_mean
from forge.compose.environment import read_variable
from forge.compose.merge import MISSING
from forge.compose.reference import NOT_FOUND, absolute, is_interpolation, reference_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from forge.base.paths import Path

__all__ = ["RESOLVERS", "Evaluator", "canonical", "circle"]

_SIMPLE = re.compile(r"\$\{([^\s${}:'\",\\]+)\}")
_MAX_TEXT: Final = 1_000_000
_TARGETS: Final = frozenset({"_target_", "_symbol_"})


def canonical(root: Any, path: Path) -> Path:
    """The place where the value at ``path`` really stands, references on the way followed.

    The value there may itself be a reference. Raises InterpolationError that says which part of the path is not there.
    """
    value: Any = root
    at: Path = ()
    try:
        for key in path:
            at, value = _through(root, at, value)
            at, value = _step(at, value, key, path)
    except RecursionError:
        raise InterpolationError(f"the references behind {dotted(path)!r} lead in a circle, or too far") from None
    return at


def _through(root: Any, at: Path, value: Any) -> tuple[Path, Any]:
    """From a reference to the place it leads to; other values stay where they are."""
    passed: dict[Path, None] = {}
    while (reference := reference_of(value)) is not None:
        if at in passed:
            raise InterpolationError(circle(root, passed, at))
        passed[at] = None
        at = canonical(root, _absolute(at, reference))
        value = _raw(root, at)
    return at, value


def _step(at: Path, value: Any, key: Any, path: Path) -> tuple[Path, Any]:
    if isinstance(value, dict):
        found: Any = key if key in value else next((k for k in value if str(k) == str(key)), NOT_FOUND)
        if found is not NOT_FOUND:
            return (*at, found), value[found]
        known = [str(name) for name in value]
        place = f"{dotted(at)!r} has no key {str(key)!r}" if at else f"there is no {dotted(path)!r}"
        raise InterpolationError(place, hint=did_you_mean(str(key), known) or None)
    if isinstance(value, list):
        if str(key).isdecimal() and int(key) < len(value):  # OmegaConf counts from the front only
            return (*at, int(key)), value[int(key)]
        raise InterpolationError(f"{dotted(at)!r} has {len(value)} items and no {str(key)!r}")
    raise InterpolationError(f"{dotted(at)!r} is {value!r} and has no keys")


def _raw(root: Any, at: Path) -> Any:
    value = root
    for key in at:
        value = value[key]
    return value


def circle(root: Any, passed: Iterable[Path], at: Path) -> str:
    """``values need each other: a (x.yaml:1) → b (x.yaml:2) → a (x.yaml:1)``, for a way that came back to ``at``."""
    way = [*passed]
    steps = [*way[way.index(at) :], at]
    return "values need each other: " + " → ".join(f"{dotted(step)}{_written(root, step)}" for step in steps)


def _written(root: Any, at: Path) -> str:
    settings = getattr(_raw(root, at[:-1]), "settings", None)
    return f" ({settings[at[-1]].origin})" if settings else ""


def _absolute(at: Path, reference: str) -> Path:
    try:
        return absolute(at, reference)
    except ValueError as error:
        raise InterpolationError(f"'${{{reference}}}' leads out of the config") from error


class Evaluator:
    """Computes interpolations on the raw tree of one config; each value once."""

    def __init__(self, root: Any, variables: dict[str, str | None] | None = None) -> None:
        self.root = root
        self.variables = {} if variables is None else variables  # the environment variables that were read
        self._done: dict[Path, Any] = {}
        self._open: list[Path] = []
        self._ends: dict[Path, Path] = {}
        self._read: list[Path] = []
        self._secret: set[Path] = set()  # places whose value is made of a secret
        self._length = 0  # characters of the texts that went into the text being evaluated

    def end(self, place: Path) -> Path:
        """The canonical place where the chain of references that begins at a canonical place ends."""
        passed: dict[Path, None] = {}
        while (reference := reference_of(_raw(self.root, place))) is not None:
            if place in self._ends:
                place = self._ends[place]
                break
            if place in passed:
                raise InterpolationError(circle(self.root, passed, place))
            passed[place] = None
            place = canonical(self.root, _absolute(place, reference))
        self._ends.update(dict.fromkeys(passed, place))
        return place

    def evaluate(self, text: str, at: Path) -> tuple[Any, list[Path]]:
        """The value of a text at path ``at``, and the places it read."""
        outer = self._read, self._length
        self._read, self._length = [], 0
        try:
            value = self._evaluate(text, at)
            if self.is_secret(self._read):
                self._secret.update(self._open)
            return value, self._read
        finally:
            self._read, self._length = outer

    def is_secret(self, read: Iterable[Path]) -> bool:
        """Whether one of the places that were read holds a secret, or is made of one."""
        return any(place in self._secret or any(map(is_secret_name, place)) for place in read)

    def _evaluate(self, text: str, at: Path) -> Any:
        if "\\" not in text and text.count("${") == len(_SIMPLE.findall(text)):
            if reference_of(text) is not None:
                return self.read(text[2:-1], at)
            return _SIMPLE.sub(lambda match: _text(self.read(match.group(1), at), match.group(0)), text)
        return self._full_grammar(text, at)

    def read(self, reference: str, at: Path) -> Any:
        """What a reference at path ``at`` leads to; noted as read by the text that is being evaluated."""
        value = self.value(self.place(reference, at))
        if isinstance(value, str):
            self._length += len(value)
            if self._length > _MAX_TEXT:
                raise InterpolationError(f"the text would have more than {_MAX_TEXT:,} characters")
        return value

    def place(self, reference: str, at: Path) -> Path:
        """Where a reference at path ``at`` leads to; noted as read too."""
        place = self.end(canonical(self.root, _absolute(at, reference)))
        self._read.append(place)
        return place

    def value(self, place: Path) -> Any:
        """The plain value at a canonical place, everything in it resolved."""
        if place in self._done:
            return self._done[place]
        if place in self._open:
            raise InterpolationError(circle(self.root, self._open, place))
        self._open.append(place)
        try:
            result = self._done[place] = self._resolved(_raw(self.root, place), place)
        except RecursionError:
            raise InterpolationError(f"the interpolations behind {dotted(place)!r} are chained too deeply") from None
        finally:
            self._open.pop()
        return result

    def _resolved(self, value: Any, place: Path) -> Any:
        if is_interpolation(value):
            return self.evaluate(value, place)[0]
        if isinstance(value, dict):
            if _TARGETS & value.keys():
                raise InterpolationError(
                    f"{dotted(place)!r} is an object, which cannot be part of a text",
                    hint="refer to it alone, as ${" + dotted(place) + "}",
                )
            if any(map(is_secret_name, value)):
                self._secret.update(self._open)
            return {key: self._resolved(item, (*place, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self._resolved(item, (*place, index)) for index, item in enumerate(value)]
        if value == MISSING:
            raise InterpolationError(f"{dotted(place)!r} is still ???", hint=f"set it: {dotted(place)}=VALUE")
        return value

    def _full_grammar(self, text: str, at: Path) -> Any:
        from omegaconf.errors import GrammarParseError, OmegaConfBaseException  # rarely needed, 50 ms
        from omegaconf.grammar_parser import parse
        from omegaconf.grammar_visitor import GrammarVisitor

        def reference(key: str, _memo: Any) -> Any:
            return _wrapped(self.read(key, at))

        def resolver(name: str, args: tuple[Any, ...], args_str: tuple[str, ...]) -> Any:
            del args_str
            function = RESOLVERS.get(name)
            if function is None:
                hint = did_you_mean(name, RESOLVERS) or f"known: {', '.join(RESOLVERS)}"
                raise InterpolationError(f"there is no resolver {name!r}", hint=hint)
            return function(self, at, *map(_unwrapped, args))

        try:
            result = GrammarVisitor(reference, resolver, memo=None).visit(parse(text))
        except ForgeError:
            raise
        except GrammarParseError as error:
            raise InterpolationError(f"{text!r} does not parse: {str(error).splitlines()[0]}") from error
        except (OmegaConfBaseException, TypeError, ValueError) as error:
            raise InterpolationError(f"{text!r}: {str(error).splitlines()[0]}") from error
        return _unwrapped(result)


class _Container:
    """A mapping or list on its way through OmegaConf's visitor, which would put its text into a text."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __str__(self) -> str:
        return _text(self.value, "what is interpolated")


def _wrapped(value: Any) -> Any:
    return _Container(value) if isinstance(value, (dict, list)) else value


def _unwrapped(value: Any) -> Any:
    """A result of the visitor, in whose own lists and mappings a container may be wrapped too."""
    if isinstance(value, _Container):
        return value.value
    if isinstance(value, dict):
        return {key: _unwrapped(item) for key, item in value.items()}
    return [_unwrapped(item) for item in value] if isinstance(value, list) else value


def _text(value: Any, written: str) -> str:
    if isinstance(value, (dict, list)):
        raise InterpolationError(f"{written} is a {type(value).__name__}, which cannot be part of a text")
    return str(value)


_NO_DEFAULT: Final = object()


def _env(evaluator: Evaluator, _at: Path, name: str, default: Any = _NO_DEFAULT) -> Any:
    found = evaluator.variables[str(name)] = read_variable(str(name))
    if found is not None:
        return found
    if default is _NO_DEFAULT:
        raise InterpolationError(
            f"the environment variable {name!r} is not set", hint=f"set it, or give a default: ${{oc.env:{name},VALUE}}"
        )
    return None if default is None else str(default)


def _select(evaluator: Evaluator, at: Path, key: str, default: Any = None) -> Any:
    try:
        place = evaluator.end(canonical(evaluator.root, _absolute(at, str(key))))
    except InterpolationError:
        return default
    value = _raw(evaluator.root, place)
    return default if isinstance(value, str) and value == MISSING else evaluator.read(str(key), at)


def _decode(evaluator: Evaluator, at: Path, text: Any) -> Any:
    if text is None:
        return None
    if not isinstance(text, str):
        raise InterpolationError(f"oc.decode takes a text, not {text!r}")
    from omegaconf.grammar_parser import parse
    from omegaconf.grammar_visitor import GrammarVisitor

    def nested(key: str, _memo: Any) -> Any:
        return _wrapped(evaluator.read(key, at))

    def refused(name: str, args: Any, args_str: Any) -> Any:
        del args, args_str
        raise InterpolationError(f"a decoded text may not call the resolver {name!r}")

    parsed = parse(text, parser_rule="singleElement", lexer_mode="VALUE_MODE")
    return _unwrapped(GrammarVisitor(nested, refused, memo=None).visit(parsed))


def _mapping(evaluator: Evaluator, at: Path, key: Any) -> dict[Any, Any]:
    found = _select(evaluator, at, key) if isinstance(key, str) else None
    if not isinstance(found, dict):
        raise InterpolationError(f"{key!r} is not the key of a mapping")
    return found


def _keys(evaluator: Evaluator, at: Path, key: Any) -> list[Any]:
    # The values may be objects, or need these very keys: they are left alone.
    written = _raw(evaluator.root, evaluator.place(key, at)) if isinstance(key, str) else None
    return list(written if isinstance(written, dict) else _mapping(evaluator, at, key))


def _values(evaluator: Evaluator, at: Path, key: Any) -> list[Any]:
    return list(_mapping(evaluator, at, key).values())


def _create(_: Evaluator, _at: Path, value: Any) -> Any:
    if value is not None and not isinstance(value, (dict, list)):
        raise InterpolationError(f"oc.create takes a mapping or a list, not {value!r}")
    return value


RESOLVERS: Final[dict[str, Callable[..., Any]]] = {
    "oc.env": _env,
    "oc.select": _select,
    "oc.decode": _decode,
    "oc.dict.keys": _keys,
    "oc.dict.values": _values,
    "oc.create": _create,
}
"""What an interpolation may call. The set is closed: a config cannot add to it."""
