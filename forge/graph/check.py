"""Everything about a graph that can be found wrong without importing what it names; all of it, in one go.

Depth 0 looks at the graph alone: missing values, refused targets, keys that nothing uses, values that break the config's
own rules. Depth 1 reads the signatures of the targets from source files. What cannot be told is never a finding.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Final, Protocol

from forge.base.errors import ForgeError, PolicyError
from forge.base.paths import dotted, parse_dotted
from forge.base.secrets import Secret
from forge.base.spelling import did_you_mean
from forge.compose.project import source_packages
from forge.graph.call_check import Finding, Severity, call_findings, target_findings
from forge.graph.node import Call, Const, Expr, Map, Missing
from forge.graph.static.misspelt import surely_meant
from forge.graph.static.signature import Signatures
from forge.graph.walk import find, users, walk

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from forge.base.origin import Origin
    from forge.graph.node import Graph, Node

__all__ = [
    "FORGE_SECTIONS",
    "Finding",
    "Severity",
    "TargetPolicy",
    "ValueRule",
    "broken_rules",
    "check_graph",
    "finding_of",
    "in_order",
]

#: Top-level keys that forge itself reads, so that no object of the config has to use them.
FORGE_SECTIONS: Final = ("launch", "logging")
_MAIN: Final = "trainer"


class ValueRule(Protocol):
    """What a config says of one of its own values (an entry of ``args:``)."""

    @property
    def name(self) -> str:
        """The name of the flag."""

    @property
    def key(self) -> str:
        """The dotted path of the value."""

    def problem(self, value: object) -> str | None:
        """Why a value breaks the rule, None when it does not."""


class TargetPolicy(Protocol):
    """Who is asked whether a node may be built."""

    def check_node(self, node: Node) -> None:
        """Raise PolicyError when the node's target or arguments are refused."""


def check_graph(
    graph: Graph,
    *,
    policy: TargetPolicy,
    source_folders: Sequence[str] = (),
    arguments: Sequence[ValueRule] = (),
    main: str | None = None,
    problems: Sequence[ForgeError] = (),
) -> list[Finding]:
    """All findings of depth 0 and 1, in the order of files and lines.

    ``main`` is the top-level key of the root object (``trainer`` when the config has one); ``arguments`` are the
    config's own rules; ``problems`` are mistakes that composing and lowering collected, which become findings too.
    """
    reported = {error.key for error in problems}
    found = [finding_of(error) for error in problems]
    found += _missing(graph, main, arguments, reported)
    found += _unused(graph, main, arguments)
    refused: set[int] = set()
    for node in walk(graph.root):
        try:
            policy.check_node(node)
        except PolicyError as error:
            found.append(_no_module(node, source_folders) or finding_of(error, code="refused"))
            refused.add(id(node))
    calls = [node for node in walk(graph.root) if isinstance(node, Call) and id(node) not in refused]
    judged = list(_signatures(calls, source_folders))
    mistaken = {finding.key for finding in judged if finding.severity == "error"}
    rules = (finding for finding in broken_rules(graph, arguments) if finding.key not in mistaken)
    return in_order([*found, *judged, *rules])


def finding_of(error: ForgeError, code: str = "config") -> Finding:
    """An error that was collected, as a finding."""
    return Finding(error.origin, error.key, error.what, error.hint or "", "error", code)


def in_order(findings: Sequence[Finding]) -> list[Finding]:
    """Findings in the order of files and lines, each once."""
    return sorted(dict.fromkeys(findings), key=_position)


def _position(finding: Finding) -> tuple[str, int, int, str, str]:
    origin = finding.origin
    place = (origin.file, origin.line, origin.column) if origin is not None else ("", 0, 0)
    return (*place, finding.key, finding.message)


def _signatures(calls: list[Call], source_folders: Sequence[str]) -> Iterator[Finding]:
    signatures = Signatures(source_folders)
    for call in calls:
        found = signatures.lookup(call.target)
        yield from target_findings(call, found)
        if call.mode != "symbol" and found.signature is not None:
            yield from call_findings(call, found.signature, signatures)
    signatures.save()


def _no_module(node: Node, source_folders: Sequence[str]) -> Finding | None:
    """What is wrong with a target before anybody asks whether it may be built: its module is not installed. Nothing is imported."""
    top = node.target.partition(".")[0] if isinstance(node, Call) else ""
    if not top.isidentifier():
        return None
    own = source_packages(source_folders)
    if top in own or top in sys.modules or find_spec(top) is not None:
        return None
    origin = (node.target_origin if isinstance(node, Call) else None) or node.origin
    names = {"forge", *own, *(module.name for module in iter_modules())}
    hint = did_you_mean(top, names) or "install what has it, or correct the name"
    return Finding(origin, node.name, f"there is no module {top}", hint, "error", "no-module")


def _main_node(graph: Graph, main: str | None) -> Node:
    """The root object of a config; the whole graph when it names none, or when the graph is a single target."""
    found = find(graph.root, (main or _MAIN,)) if isinstance(graph.root, Map) and not graph.root.path else None
    return found if found is not None else graph.root


def _missing(graph: Graph, main: str | None, arguments: Sequence[ValueRule], reported: set[str]) -> Iterator[Finding]:
    flags = {argument.key: f"--{argument.name.replace('_', '-')}" for argument in arguments}
    used_by = users(graph.root)
    for node in walk(_main_node(graph, main)):
        if isinstance(node, Missing) and node.name not in reported:
            how = f"give it a value: {flags[node.name]} VALUE" if node.name in flags else f"set it: {node.name}=VALUE"
            owner = next((user for user, _ in used_by.get(id(node), ()) if isinstance(user, Call)), None)
            what = f"{owner.target.rpartition('.')[2]} needs this value, and it is missing (???)" if owner else ""
            yield Finding(node.origin, node.name, what or "the value is missing (???)", how, "error", "missing")


def _unused(graph: Graph, main: str | None, arguments: Sequence[ValueRule]) -> Iterator[Finding]:
    """Top-level keys that the root object does not reach, as a whole or in part."""
    root = graph.root
    if not isinstance(root, Map) or root.path:
        return
    keys = [str(edge.key) for edge in root.items]
    name = main or _MAIN
    if name not in keys:
        if main:
            hint = f"the config's top-level keys are {', '.join(keys)}"
            yield Finding(root.origin, "meta.main", f"the config has no key {main!r}", hint, "error", "no-main")
        return
    used = {str(node.path[0]) for node in walk(_main_node(graph, main)) if node.path}
    used.update(FORGE_SECTIONS, (name,), (_first_key(argument.key) for argument in arguments))
    # What an object of a section forge reads uses is used, too.
    for edge in root.items:
        if edge.key in FORGE_SECTIONS:
            used.update(str(node.path[0]) for node in walk(edge.node) if node.path)
    for edge in root.items:
        key = str(edge.key)
        if key in used:
            continue
        meant = surely_meant(key, [*(other for other in keys if other != key), *FORGE_SECTIONS])
        origin = edge.origin or edge.node.origin
        if meant is not None:
            yield Finding(origin, key, f"nothing uses {key!r}", f"did you mean {meant!r}?", "error", "misspelt-key")
        else:
            hint = "remove it, or refer to it with ${" + dotted((edge.key,)) + "}"
            yield Finding(origin, key, f"nothing that {name!r} needs uses {key!r}", hint, "warning", "unused-key")


def _first_key(key: str) -> str:
    try:
        return str(parse_dotted(key)[0])
    except (ValueError, IndexError):
        return key


def broken_rules(graph: Graph, arguments: Sequence[ValueRule]) -> Iterator[Finding]:
    """What values of a graph break the rules of the flags that set them."""
    if not isinstance(graph.root, Map) or graph.root.path:
        return
    for argument in arguments:
        node = find(graph.root, parse_dotted(argument.key))
        if not isinstance(node, (Const, Expr)) or isinstance(node.value, Secret):
            continue
        problem = argument.problem(node.value)
        if problem:
            place: Origin | None = node.origin
            yield Finding(place, argument.key, problem, f"a rule of args.{argument.name}", "error", "argument-rule")
