"""One YAML file becomes plain data in which every value knows its line and column.

The file is read as a stream of libyaml's events, without recursion and with limits that hold while reading: an alias
bomb, a nesting of ten thousand levels or a file of fifty megabytes is refused before it costs anything.
"""

from __future__ import annotations

import codecs
import re
from io import BytesIO
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

import yaml

from forge.base.collector import collector_paused
from forge.base.errors import ConfigLimitError, ConfigSyntaxError
from forge.base.origin import Origin

if TYPE_CHECKING:
    from collections.abc import Callable

    from forge.base.origin import Layer
    from forge.base.paths import Key

__all__ = ["MAX_BYTES", "MAX_DEPTH", "MAX_VALUES", "ConfigList", "ConfigMap", "Document", "Setting", "parse_document"]

MAX_BYTES: Final = 8 * 1024 * 1024
MAX_DEPTH: Final = 100
MAX_VALUES: Final = 100_000

_MAX_SHOWN: Final = 60  # characters of a value in a message
_MAX_NUMBER: Final = 1000  # characters; Python cannot print a much longer number
_HEADER_CHARACTERS: Final = 512  # Hydra looks no further for its header
_PARSER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG: Final = "tag:yaml.org,2002:"
_EXPLICIT: Final = frozenset({"str", "int", "float", "bool", "null"})
_NO_KEY: Final = object()
_MERGE: Final = object()

_CONSTRUCTOR: Final = yaml.constructor.SafeConstructor()
_RESOLVERS: Final = {
    first: [(tag, pattern) for tag, pattern in found if not tag.endswith(":timestamp")]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    if first is not None
}
# YAML 1.1 as PyYAML has it wants a dot and a signed exponent in a float; OmegaConf, and people, write 1e-3 and 2.5e4.
_NUMBER_START: Final = frozenset("-+.0123456789")
_NUMBER_CHARACTERS: Final = "0123456789abcdefABCDEFx_:.+-"
_EXTRA_FLOAT: Final = re.compile(r"[-+]?\d+(?:_\d+)*(?:\.[\d_]*)?[eE][-+]?\d+\Z", re.ASCII)


class Setting(NamedTuple):
    """One time a value was set: where, to what, and the setting it replaced."""

    origin: Origin
    value: Any
    previous: Setting | None = None


class ConfigMap(dict[Any, Any]):
    """A mapping that remembers, for each key, the setting its value comes from."""

    __slots__ = ("_deferred", "_settings")

    def __init__(self, deferred: Callable[[ConfigMap], dict[Key, Setting]] | None = None) -> None:
        super().__init__()
        self._deferred = deferred
        self._settings: dict[Key, Setting] | None = {} if deferred is None else None

    @property
    def settings(self) -> dict[Key, Setting]:
        """The newest setting of each key; a cached config makes them only when somebody asks."""
        if self._settings is None:
            self._settings = self._deferred(self) if self._deferred is not None else {}
        return self._settings


class ConfigList(list[Any]):
    """A list that remembers, for each item, the setting it comes from."""

    __slots__ = ("_deferred", "_settings")

    def __init__(self, deferred: Callable[[ConfigList], list[Setting]] | None = None) -> None:
        super().__init__()
        self._deferred = deferred
        self._settings: list[Setting] | None = [] if deferred is None else None

    @property
    def settings(self) -> list[Setting]:
        """The newest setting of each item."""
        if self._settings is None:
            self._settings = self._deferred(self) if self._deferred is not None else []
        return self._settings


class Document(NamedTuple):
    """A parsed config file: its ``# @package`` header, its defaults list, and the rest of its content."""

    file: str
    package: str | None
    defaults: ConfigList | None
    tree: ConfigMap | ConfigList


@collector_paused()
def parse_document(data: bytes, file: str, layer: Layer) -> Document:
    """Parse one config file; ``file`` and ``layer`` go into the origin of each of its values."""
    if len(data) > MAX_BYTES:
        raise ConfigLimitError(f"the file has {len(data):,} bytes, at most {MAX_BYTES:,} are read", origin=Origin(file))
    tree = _Builder(file, layer).build(data)
    defaults = None
    if isinstance(tree, ConfigMap) and "defaults" in tree:
        defaults = tree.pop("defaults")
        origin = tree.settings.pop("defaults").origin
        if not isinstance(defaults, ConfigList):
            raise ConfigSyntaxError(
                "'defaults' must be a list", origin=origin, hint="write '  - group: choice' lines below it"
            )
    return Document(file, _package_header(data, file, layer), defaults, tree)


def _package_header(data: bytes, file: str, layer: Layer) -> str | None:
    """The value of a ``# @package a.b`` comment at the very top of the file, where Hydra looks for it."""
    package = None
    for number, line in enumerate(
        data[: 4 * _HEADER_CHARACTERS].decode("utf-8", "replace")[:_HEADER_CHARACTERS].splitlines(), 1
    ):
        text = line.strip()
        if not text:
            continue
        if not re.match(r"#\s*@", text):
            break
        words = text.lstrip("#").split()
        if len(words) != 2:  # noqa: PLR2004 - a header is a name and a value
            origin = Origin(file, number, 1, layer)
            raise ConfigSyntaxError(
                f"unreadable header {_start(text)}", origin=origin, hint="write it as '# @package a.b'"
            )
        if words[0] == "@package":
            package = words[1]
    return package


class _Frame:
    """A container that is still open while the events of its content arrive."""

    __slots__ = ("anchor", "container", "key", "key_origin", "merged", "origin", "start")

    def __init__(self, container: ConfigMap | ConfigList, origin: Origin, anchor: str | None, start: int) -> None:
        self.container = container
        self.origin = origin
        self.anchor = anchor
        self.start = start  # how many values the file had before this one: their difference is this one's size
        self.key: Any = _NO_KEY
        self.key_origin = origin
        self.merged: list[ConfigMap] = []


class _Builder:
    """Turns the events of one file into ConfigMap and ConfigList."""

    def __init__(self, file: str, layer: Layer) -> None:
        self.file = file
        self.layer = layer
        self.count = 0
        self.stack: list[_Frame] = []
        self.anchors: dict[str, tuple[Any, int]] = {}
        self.plain: dict[str, Any] = {}
        self.documents: list[Any] = []

    def build(self, data: bytes) -> ConfigMap | ConfigList:
        self.data = data
        try:
            for event in yaml.parse(data, Loader=_PARSER):
                handle = _HANDLERS.get(type(event))
                if handle is not None:
                    handle(self, event)
        except yaml.MarkedYAMLError as error:
            self._syntax_error(error)
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            self._refuse_other_encoding()
            reason = str(getattr(error, "reason", error)).splitlines()[0]
            raise ConfigSyntaxError(f"not readable as text: {reason}", origin=Origin(self.file)) from error
        if len(self.documents) > 1:
            raise ConfigSyntaxError(
                "the file holds more than one YAML document",
                origin=Origin(self.file),
                hint="keep the first, remove the rest",
            )
        tree = self.documents[0] if self.documents else None
        if tree is None:
            return ConfigMap()
        if not isinstance(tree, (ConfigMap, ConfigList)):
            raise ConfigSyntaxError(
                f"a config file holds 'key: value' lines, this one holds the single value {str(tree)[:40]!r}",
                origin=Origin(self.file, 1, 1, self.layer),
            )
        return tree

    def _refuse_other_encoding(self) -> None:
        if self.data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return
        try:
            self.data.decode()
        except UnicodeDecodeError as error:
            line = self.data.count(b"\n", 0, error.start) + 1
            column = error.start - self.data.rfind(b"\n", 0, error.start)
            raise ConfigSyntaxError(
                f"the byte 0x{self.data[error.start]:02x} here is not text in UTF-8",
                origin=Origin(self.file, line, column, self.layer),
                hint="save the file as UTF-8",
            ) from error

    def scalar(self, event: yaml.ScalarEvent) -> None:
        origin = self._origin(event)
        value = self._value(event, origin)
        self.count += 1
        self._check_count(origin)
        self._keep(event.anchor, value, 1, origin)
        self._add(value, origin)

    def mapping_start(self, event: yaml.MappingStartEvent) -> None:
        self._open(ConfigMap(), event, "map")

    def sequence_start(self, event: yaml.SequenceStartEvent) -> None:
        self._open(ConfigList(), event, "seq")

    def end(self, _event: yaml.Event) -> None:
        frame = self.stack.pop()
        if frame.merged and isinstance(frame.container, ConfigMap):
            frame.container = _with_merged(frame.container, frame.merged)
        self._keep(frame.anchor, frame.container, self.count - frame.start, frame.origin)
        self._add(frame.container, frame.origin)

    def _keep(self, anchor: str | None, value: Any, size: int, origin: Origin) -> None:
        """Remember an anchored value for the aliases that follow."""
        if anchor is None:
            return
        if anchor in self.anchors:
            raise ConfigSyntaxError(
                f"the anchor {_start(f'&{anchor}')} stands twice", origin=origin, hint="rename one of them"
            )
        self.anchors[anchor] = (value, size)

    def alias(self, event: yaml.AliasEvent) -> None:
        origin = self._origin(event)
        if any(frame.anchor == event.anchor for frame in self.stack):
            what = f"what the anchor {_start(f'&{event.anchor}')} stands at contains itself"
            raise ConfigSyntaxError(what, origin=origin, hint="repeat a value that stands above, not around, the alias")
        if event.anchor not in self.anchors:
            raise ConfigSyntaxError(f"there is no anchor {_start(f'&{event.anchor}')} before this alias", origin=origin)
        value, size = self.anchors[event.anchor]
        self.count += size
        self._check_count(origin)
        self._add(value, origin)

    def _open(self, container: ConfigMap | ConfigList, event: Any, tag: str) -> None:
        origin = self._origin(event)
        if event.tag is not None and event.tag not in ("!", _TAG + tag):
            raise self._refused_tag(event.tag, origin)
        if len(self.stack) >= MAX_DEPTH:
            raise ConfigLimitError(f"values are nested more than {MAX_DEPTH} levels deep", origin=origin)
        if self.stack and self._waits_for_key(self.stack[-1]):
            raise ConfigSyntaxError(
                "a key must be a single value", origin=origin, hint="quote a text that begins with { or ["
            )
        self.count += 1
        self._check_count(origin)
        self.stack.append(_Frame(container, origin, event.anchor, self.count))

    def _add(self, value: Any, origin: Origin) -> None:
        """Put a finished value where it belongs: into the open list, or as key or value of the open mapping."""
        if value is _MERGE and not (self.stack and self._waits_for_key(self.stack[-1])):
            value = "<<"
        if not self.stack:
            self.documents.append(value)
            return
        frame = self.stack[-1]
        container = frame.container
        if isinstance(container, ConfigList):
            container.append(value)
            container.settings.append(Setting(origin, value))
        elif frame.key is _NO_KEY:
            self._check_key(container, value, origin)
            frame.key, frame.key_origin = value, origin
        elif frame.key is _MERGE:
            frame.merged.extend(reversed(self._merged(value, origin)))
            frame.key = _NO_KEY
        else:
            container[frame.key] = value
            container.settings[frame.key] = Setting(frame.key_origin, value)
            frame.key = _NO_KEY

    def _check_key(self, container: ConfigMap, key: Any, origin: Origin) -> None:
        if key is None:
            raise ConfigSyntaxError("a key is empty", origin=origin, hint="write the key before the colon, or quote it")
        if key in container:
            first = container.settings[key].origin.line
            raise ConfigSyntaxError(
                f"the key {_start(key)} stands twice, first in line {first}", origin=origin, hint="remove one of them"
            )

    def _merged(self, value: Any, origin: Origin) -> list[ConfigMap]:
        """The mappings that a ``<<`` key brings in; earlier ones win."""
        found = list(value) if isinstance(value, ConfigList) else [value]
        if not all(isinstance(one, ConfigMap) for one in found):
            raise ConfigSyntaxError("'<<' takes a mapping or a list of mappings", origin=origin)
        return found

    def _value(self, event: yaml.ScalarEvent, origin: Origin) -> Any:
        text: str = event.value
        tag: str | None = event.tag
        if tag is None or tag == "!":
            if not event.implicit[0]:
                return text
            if text in self.plain:
                return self.plain[text]
            try:
                value = self.plain[text] = _plain_value(text)
            except (ValueError, OverflowError) as error:
                raise ConfigSyntaxError(
                    f"{_start(text)} is not a readable number", origin=origin, hint="quote it if it is a text"
                ) from error
            return value
        name = tag.removeprefix(_TAG)
        if not tag.startswith(_TAG) or name not in _EXPLICIT:
            raise self._refused_tag(tag, origin)
        try:
            return _construct(name, text)
        except (ValueError, KeyError, IndexError, OverflowError) as error:
            raise ConfigSyntaxError(f"{_start(text)} is not a value of type {name}", origin=origin) from error

    def _waits_for_key(self, frame: _Frame) -> bool:
        return isinstance(frame.container, ConfigMap) and frame.key is _NO_KEY

    def _check_count(self, origin: Origin) -> None:
        if self.count > MAX_VALUES:
            raise ConfigLimitError(
                f"the file holds more than {MAX_VALUES:,} values once its aliases are followed", origin=origin
            )

    def _refused_tag(self, tag: str, origin: Origin) -> ConfigSyntaxError:
        return ConfigSyntaxError(
            f"the YAML tag {_start(tag.replace(_TAG, '!!'))} is refused",
            origin=origin,
            hint="a config holds plain data; name Python objects with _target_ or _symbol_",
        )

    def _origin(self, event: Any) -> Origin:
        mark = event.start_mark
        return Origin(self.file, mark.line + 1, mark.column + 1, self.layer)

    def _syntax_error(self, error: yaml.MarkedYAMLError) -> NoReturn:
        mark = error.problem_mark or error.context_mark
        origin = Origin(self.file, mark.line + 1, mark.column + 1, self.layer) if mark else Origin(self.file)
        problem = error.problem or "it ends too early"
        hint = None
        if "token" in problem and "start" in problem:
            hint = "indent with spaces, and quote values that begin with @, ` or %"
        # The parser may have stopped at the start of the line after the one with the mistake.
        elif mark and b"???" in b"".join(islice(BytesIO(self.data), max(0, mark.line - 1), mark.line + 1)):
            hint = "inside braces write '???' with quotes"
        raise ConfigSyntaxError(f"not valid YAML: {problem}", origin=origin, hint=hint) from error


_HANDLERS: Final[dict[type, Callable[[_Builder, Any], None]]] = {
    yaml.ScalarEvent: _Builder.scalar,
    yaml.MappingStartEvent: _Builder.mapping_start,
    yaml.SequenceStartEvent: _Builder.sequence_start,
    yaml.MappingEndEvent: _Builder.end,
    yaml.SequenceEndEvent: _Builder.end,
    yaml.AliasEvent: _Builder.alias,
}


def _with_merged(own: ConfigMap, merged: list[ConfigMap]) -> ConfigMap:
    """The keys that ``<<`` brings in, a later mapping winning, then the mapping's own."""
    result = ConfigMap()
    for source in [*merged, own]:
        result.update(source)
        result.settings.update(source.settings)
    return result


def _plain_value(text: str) -> Any:
    """The value of an unquoted scalar, as OmegaConf reads it: YAML 1.1 without timestamps, with ``1e-3`` a float."""
    if not text:
        return None
    if len(text) > _MAX_NUMBER:
        # Not even matched against the patterns, which take much memory for a long 1:1:1:1.
        if text[0] in _NUMBER_START and not text.strip(_NUMBER_CHARACTERS):
            raise ValueError
        return text
    for tag, pattern in _RESOLVERS.get(text[0], ()):
        if pattern.match(text):
            name = tag.removeprefix(_TAG)
            return _MERGE if name == "merge" else _construct(name, text)
    if text[0] in _NUMBER_START and _EXTRA_FLOAT.match(text):
        return _construct("float", text)
    return text


def _construct(name: str, text: str) -> Any:
    if name in ("str", "value"):
        return text
    if len(text) > _MAX_NUMBER:
        raise ValueError
    node = yaml.ScalarNode(_TAG + name, text)
    return getattr(_CONSTRUCTOR, f"construct_yaml_{name}")(node)


def _start(value: object) -> str:
    """A value as a message quotes it: only the beginning of a long one."""
    shown = repr(value)
    return shown if len(shown) <= _MAX_SHOWN else shown[:_MAX_SHOWN] + "..."
