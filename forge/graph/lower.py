"""From the composed tree to the graph: pure, without importing anything a config names.

Lowering starts at the asked root and goes only where it leads. It is written as generators run by one loop, so a
chain of ten thousand references meets no recursion limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from forge.base.collector import collector_paused
from forge.base.errors import ConfigSyntaxError, CycleError, ForgeError, GraphError, InterpolationError
from forge.base.paths import dotted, parse_dotted
from forge.base.secrets import MASK, Secret, is_secret_name
from forge.compose.composed import NOT_OBJECTS
from forge.compose.document import ConfigMap
from forge.compose.interpolation import Evaluator, canonical
from forge.compose.merge import MISSING
from forge.compose.reference import absolute, is_interpolation, reference_of
from forge.graph.node import Call, Const, Edge, Expr, Graph, Map, Missing, Seq
from forge.graph.static.misspelt import surely_meant

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from forge.base.origin import Origin
    from forge.base.paths import Key, Path
    from forge.compose.composed import Composed
    from forge.graph.node import Mode, Node

    Steps = Generator["Steps", Node, Node]

__all__ = ["SPECIAL_KEYS", "lower"]

SPECIAL_KEYS: Final = (
    "_target_",
    "_symbol_",
    "_args_",
    "_partial_",
    "_recursive_",
    "_convert_",
    "_new_",
    "_list_",
)
"""Keys of a mapping that say what to make of it; every other key is content."""

_CONVERSIONS: Final = ("none", "partial", "object", "all")
_SCALARS: Final = (str, int, float, bool, type(None), bytes)


@collector_paused()
def lower(composed: Composed, target: str | None = None, *, problems: list[ForgeError] | None = None) -> Graph:
    """The graph of a whole config, or of one target of it given by its dotted path.

    With ``problems`` given, mistakes are put there, what they concern becomes Missing, and lowering goes on.
    """
    lowering = _Lowering(composed, problems)
    name = f"{composed.name}:{target}" if target else composed.name
    return Graph(name, lowering.run(lowering.target(target) if target else lowering.whole()))


class _Lowering:
    def __init__(self, composed: Composed, problems: list[ForgeError] | None) -> None:
        self.composed = composed
        self.tree = composed.tree
        self.problems = problems
        self.evaluator = Evaluator(composed.tree)
        self.nodes: dict[Path, Node] = {}
        self.plain: dict[Path, Node] = {}  # containers used as plain data, below a `_recursive_: false`
        self.hidden: dict[Path, bool] = {(): False}
        self.open: dict[Path, Origin | None] = {}

    def run(self, first: Steps) -> Node:
        """Run generators that ask for each other's nodes until the first one is done."""
        stack = [first]
        result: Any = None
        while stack:
            try:
                asked = stack[-1].send(result)
            except StopIteration as done:
                stack.pop()
                result = done.value
            else:
                stack.append(asked)
                result = None
        return result  # type: ignore[no-any-return]

    def whole(self) -> Steps:
        """The root mapping, without the keys that only describe the config."""
        items: list[Any] = []
        for key in self.tree:
            if key not in NOT_OBJECTS:
                items.append((yield self.edge((), key, self.tree[key], self.tree.settings[key].origin)))
        return Map((), tuple(items))

    def target(self, name: str) -> Steps:
        """The node of one dotted path."""
        try:
            path = self.evaluator.end(canonical(self.tree, parse_dotted(name)))
        except ValueError as error:
            raise GraphError(f"{name!r} is not a dotted path") from error
        except InterpolationError as error:
            raise GraphError(error.what, hint=error.hint or "'forge targets' lists what can be built") from error
        return (yield self.place(path, recursive=True))

    def edge(
        self,
        parent: Path,
        key: Key,
        value: Any,
        origin: Origin | None,
        *,
        recursive: bool = True,
        at: Path | None = None,
    ) -> Any:
        """The edge for one value of a container; ``at`` is where the value stands when that differs from parent + key."""
        path = (*parent, key)
        here = path if at is None else at
        reference = reference_of(value)
        if reference is None:
            return Edge(key, (yield self.node(path, value, origin, recursive=recursive, at=here)), origin)
        try:
            first = canonical(self.tree, absolute(here, reference))
            place = self.evaluator.end(first)
        except (ValueError, InterpolationError) as error:
            what = error.what if isinstance(error, InterpolationError) else f"'{value}' leads out of the config"
            hint = error.hint if isinstance(error, InterpolationError) else None
            problem = InterpolationError(f"{value}: {what}", origin=origin, key=dotted(path), hint=hint)
            return Edge(key, self.gap(path, origin, problem), origin)
        target = self.raw(place)
        if isinstance(target, ConfigMap) and self.constant(target, "_new_", place) is True:
            # The copy belongs to the reference that names the original; references to that reference share it.
            owner = path if first == place else self.referrer(first, place)
            if owner not in self.nodes:
                self.nodes[owner] = yield self.fresh(owner, target, origin, place)
            return Edge(key, self.nodes[owner], origin, ref=owner != path)
        return Edge(key, (yield self.place(place, recursive=recursive, user=origin)), origin, ref=True)

    def referrer(self, first: Path, end: Path) -> Path:
        """The last place of a chain of references, the one that leads to its end."""
        while (following := canonical(self.tree, absolute(first, reference_of(self.raw(first)) or ""))) != end:
            first = following
        return first

    def place(self, path: Path, *, recursive: bool, user: Origin | None = None) -> Steps:
        """The one node of a canonical place."""
        value = self.raw(path)
        origin = self.composed.origin(path)
        if path not in self.known(value, recursive=recursive) and path in self.open:
            return self.gap(path, origin, self.cycle(path, user))
        node = yield self.node(path, value, origin, recursive=recursive, at=path)
        return node

    def fresh(self, path: Path, value: ConfigMap, origin: Origin | None, place: Path) -> Steps:
        """A copy of the node at ``place`` for this user alone."""
        if place in self.open:
            return self.gap(path, origin, self.cycle(place, origin))
        self.open[place] = origin
        node = yield self.container(path, value, origin, recursive=True, at=place)
        del self.open[place]
        return node

    def node(self, path: Path, value: Any, origin: Origin | None, *, recursive: bool, at: Path) -> Steps:
        """The node of a value that is not a reference, kept under its path."""
        known = self.known(value, recursive=recursive)
        if path in known:
            return known[path]
        node: Node
        if isinstance(value, (dict, list)):
            if path in self.open:
                return self.gap(path, origin, self.cycle(path, origin))
            self.open[path] = origin
            node = yield self.container(path, value, origin, recursive=recursive, at=at)
            del self.open[path]
        elif is_interpolation(value):
            node = yield self.expression(path, value, origin, at)
        elif value == MISSING and isinstance(value, str):
            node = Missing(path, origin=origin)
        else:
            node = Const(path, Secret(value) if value is not None and self.is_hidden(path) else value, origin=origin)
        known[path] = node
        return node

    def known(self, value: Any, *, recursive: bool) -> dict[Path, Node]:
        """The nodes among which the node of a value is kept: the same object description is a node of its own kind each."""
        return self.nodes if recursive or not isinstance(value, (dict, list)) else self.plain

    def is_hidden(self, path: Path) -> bool:
        """Whether a key on the path says that what is below it is a secret."""
        found = self.hidden.get(path)
        if found is None:
            found = self.hidden[path] = is_secret_name(path[-1]) or self.is_hidden(path[:-1])
        return found

    def expression(self, path: Path, text: str, origin: Origin | None, at: Path) -> Steps:
        """A computed value, with the places it read as its dependencies."""
        try:
            value, read = self.evaluator.evaluate(text, at)
        except InterpolationError as error:
            return self.gap(
                path, origin, InterpolationError(error.what, origin=origin, key=dotted(path), hint=error.hint)
            )
        items = []
        for place in dict.fromkeys(read):
            if place not in self.open:
                node = yield self.place(place, recursive=True)
                items.append(Edge(dotted(place), node, origin, ref=True))
        if self.is_hidden(path):
            text, value = MASK, Secret(value)
        elif self.evaluator.is_secret(read):
            value = Secret(value)  # a text made of a secret is one
        return Expr(path, text, value, tuple(items), origin=origin)

    def container(self, path: Path, value: Any, origin: Origin | None, *, recursive: bool, at: Path) -> Steps:
        if isinstance(value, list):
            origins = [setting.origin for setting in value.settings]  # type: ignore[attr-defined]
            return Seq(
                path,
                (yield from self.items(path, list(enumerate(value)), origins, at, recursive=recursive)),
                origin=origin,
            )
        settings = value.settings
        special = [key for key in value if isinstance(key, str) and (key[:1] == "_" or key[-1:] == "_")]
        if not recursive or not special:
            pairs = list(value.items())
            edges = yield from self.items(
                path, pairs, [settings[key].origin for key, _ in pairs], at, recursive=recursive
            )
            return Map(path, edges, origin=origin)
        self.check_special(path, value, special)
        pairs = [(key, item) for key, item in value.items() if key not in SPECIAL_KEYS]
        if self.constant(value, "_list_", at) is True:
            pairs = [(key, item) for key, item in pairs if item is not None]
            edges = yield from self.items(
                path, pairs, [settings[key].origin for key, _ in pairs], at, recursive=recursive
            )
            return Seq(path, edges, origin=origin)
        origins = [settings[key].origin for key, _ in pairs]
        deep = self.constant(value, "_recursive_", at, default=True) is not False
        kwargs = yield from self.items(path, pairs, origins, at, recursive=deep)
        if "_target_" not in value and "_symbol_" not in value:
            return Map(path, kwargs, origin=origin)
        args: tuple[Edge, ...] = ()
        given = value.get("_args_")
        if isinstance(given, list):
            places = [setting.origin for setting in given.settings]  # type: ignore[attr-defined]
            args = yield from self.items(
                (*path, "_args_"), list(enumerate(given)), places, (*at, "_args_"), recursive=deep
            )
        return self.call(path, value, origin, args, kwargs, at)

    def items(
        self,
        path: Path,
        pairs: Sequence[tuple[Any, Any]],
        origins: Sequence[Origin],
        at: Path,
        *,
        recursive: bool,
    ) -> Generator[Any, Any, tuple[Edge, ...]]:
        edges = []
        hidden = self.is_hidden(path)
        for (key, item), origin in zip(pairs, origins, strict=True):
            if isinstance(item, _SCALARS) and not is_interpolation(item) and item != MISSING:
                # The common case, kept off the generators: seven of ten values are plain.
                place = (*path, key)
                node = self.nodes.get(place)
                if node is None:
                    shown = Secret(item) if item is not None and (hidden or is_secret_name(key)) else item
                    node = self.nodes[place] = Const(place, shown, origin=origin)
                edges.append(Edge(key, node, origin))
            else:
                edges.append((yield self.edge(path, key, item, origin, recursive=recursive, at=(*at, key))))
        return tuple(edges)

    def call(
        self,
        path: Path,
        value: ConfigMap,
        origin: Origin | None,
        args: tuple[Edge, ...],
        kwargs: tuple[Edge, ...],
        at: Path,
    ) -> Node:
        key = "_target_" if "_target_" in value else "_symbol_"
        target = self.constant(value, key, at)
        place = value.settings[key].origin
        if not isinstance(target, str) or not target or target == MISSING:
            shown = "still ???" if target == MISSING else f"{target!r}"
            problem = GraphError(f"{key} names a Python object, this is {shown}", origin=place, key=dotted(path))
            return self.gap(path, origin, problem)
        mode: Mode = "symbol" if key == "_symbol_" else "call"
        if mode == "call" and self.constant(value, "_partial_", at, default=False) is True:
            mode = "partial"
        return Call(path, target, args, kwargs, mode, origin=origin, target_origin=place)

    def constant(self, value: ConfigMap, key: str, at: Path, *, default: Any = None) -> Any:
        """The value of a special key, which may be an interpolation."""
        found = value.get(key, default)
        if not is_interpolation(found):
            return found
        try:
            return self.evaluator.evaluate(found, (*at, key))[0]
        except InterpolationError as error:
            self.gap(
                at,
                None,
                InterpolationError(error.what, origin=value.settings[key].origin, key=dotted(at), hint=error.hint),
            )
            return None

    def check_special(self, path: Path, value: ConfigMap, special: list[str]) -> None:
        """Report special keys that are misspelt, hold the wrong kind of value, or contradict each other."""
        for key in special:
            what, hint = _special_problem(key, value)
            if what:
                self.report(ConfigSyntaxError(what, origin=value.settings[key].origin, key=dotted(path), hint=hint))

    def cycle(self, path: Path, user: Origin | None) -> CycleError:
        opened = list(self.open)
        circle = [*opened[opened.index(path) :], path]
        steps = " → ".join(f"{dotted(step)} ({self.composed.origin(step)})" for step in circle)
        return CycleError(f"objects need each other: {steps}", origin=user, key=dotted(path))

    def gap(self, path: Path, origin: Origin | None, problem: ForgeError) -> Node:
        """What stands where a mistake is, once the mistake is reported."""
        self.report(problem)
        return Missing(path, origin=origin)

    def report(self, problem: ForgeError) -> None:
        if self.problems is None:
            raise problem
        self.problems.append(problem)

    def raw(self, path: Path) -> Any:
        value: Any = self.tree
        for key in path:
            value = value[key]
        return value


def _special_problem(key: str, value: ConfigMap) -> tuple[str | None, str | None]:
    held = value[key]
    if key not in SPECIAL_KEYS:
        meant = surely_meant(key, SPECIAL_KEYS) or next(
            (one for one in SPECIAL_KEYS if one == f"_{key.strip('_')}_"), None
        )
        return (f"there is no special key {key!r}", f"did you mean {meant!r}?") if meant else (None, None)
    if key == "_args_" and not isinstance(held, list):
        return "_args_ must be a list of positional arguments", None
    if key in ("_partial_", "_recursive_", "_new_", "_list_") and not (
        isinstance(held, bool) or is_interpolation(held)
    ):
        return f"{key} must be true or false, not {held!r}", None
    if key == "_convert_" and held not in _CONVERSIONS:
        return f"_convert_ must be one of {', '.join(_CONVERSIONS)}, not {held!r}", None
    if key == "_symbol_" and "_target_" in value:
        return (
            "_target_ and _symbol_ exclude each other",
            "keep _target_ to call the object, _symbol_ to take it as it is",
        )
    if key in ("_args_", "_partial_", "_convert_") and "_target_" not in value:
        return f"{key} without _target_ has no meaning", None
    return None, None
