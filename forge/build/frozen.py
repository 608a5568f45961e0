"""A config frozen in a folder: the graph that every process of a run builds from, and what it may import for it.

The folder holds ``graph.json`` and ``run.json``. Who launches writes them, every process of the run reads them, so that no two
of them can disagree and a run can be repeated.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from forge.base.errors import GraphError, RunError
from forge.base.files import make_folder, read_bounded, write_atomic
from forge.base.json_file import read_json
from forge.base.paths import parse_dotted
from forge.base.secrets import Secret
from forge.build.build import build
from forge.graph.node import Call, Graph, Map
from forge.graph.policy import Policy, Rule
from forge.graph.stored import from_json, to_json
from forge.graph.walk import find, walk

if TYPE_CHECKING:
    from forge.graph.node import Node

__all__ = ["GRAPH", "RUN", "Facts", "Frozen", "freeze", "secret_of", "thaw"]

GRAPH: Final = "graph.json"
RUN: Final = "run.json"
_LIMIT: Final = 256 << 20
_AGAIN: Final = "start the run anew with `forge train`"


@dataclass(frozen=True, slots=True)
class Facts:
    """What has to be known beside the graph: where it comes from, and what it may name and import."""

    project: str
    project_folder: str
    config: str
    overrides: tuple[str, ...]
    main: str | None
    source_folders: tuple[str, ...]
    rules: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True, slots=True)
class Frozen:
    """A config as it was frozen."""

    folder: str
    graph: Graph
    facts: Facts

    def has(self, key: str) -> bool:
        """Whether the config has a top-level key."""
        root = self.graph.root
        return isinstance(root, Map) and any(edge.key == key for edge in root.items)

    def build(self, key: str | None = None) -> Any:
        """Build the config's main object, or the one at a dotted path; project code has to be trusted."""
        wanted = key or self.facts.main
        node = find(self.graph.root, parse_dotted(wanted)) if wanted else None
        if node is None:
            raise RunError(f"the config {self.facts.config} has no {wanted}")
        return self._built(node)

    def build_whole(self) -> Any:
        """Build what the graph as a whole describes; project code has to be trusted."""
        return self._built(self.graph.root)

    def _built(self, node: Node) -> Any:
        policy = Policy(tuple(Rule(*rule) for rule in self.facts.rules))
        folders = [folder for folder in self.facts.source_folders if os.path.isdir(folder)]
        return build(node, policy=policy, source_folders=folders)


def freeze(graph: Graph, facts: Facts, folder: str | os.PathLike[str]) -> None:
    """Write a config into a folder.

    What is written may be copied and kept, so a secret that an object would get is refused; any other is written as a mask.
    """
    secret = secret_of(graph)
    if secret is not None:
        raise RunError(
            "this value is a secret, and a run is written to disk",
            origin=secret.origin,
            key=secret.name,
            hint="leave it out, and let the library read it from its own environment variable",
        )
    make_folder(folder)
    write_atomic(os.path.join(folder, GRAPH), to_json(graph))
    write_atomic(os.path.join(folder, RUN), json.dumps(asdict(facts), indent=1))


def secret_of(graph: Graph) -> Node | None:
    """The first secret that an object of the graph would get, for which it cannot be frozen; None where there is none."""
    calls = (node for node in walk(graph.root) if isinstance(node, Call))
    below = (node for call in calls for node in walk(call))
    return next((node for node in below if isinstance(getattr(node, "value", None), Secret)), None)


def thaw(folder: str | os.PathLike[str]) -> Frozen:
    """Read a config that `freeze` wrote; RunError for anything else."""
    graph_file, facts_file = os.path.join(folder, GRAPH), os.path.join(folder, RUN)
    try:
        graph = from_json(read_bounded(graph_file, _LIMIT).decode())
    except (GraphError, ValueError) as error:
        raise RunError(f"{graph_file} is no frozen graph: {error}", hint=_AGAIN) from error
    try:
        written = read_json(facts_file, _LIMIT)
        held: dict[str, Any] = {name: tuple(one) if isinstance(one, list) else one for name, one in written.items()}
        facts = Facts(**held)
        for rule in facts.rules:
            Rule(*rule)
    except (ValueError, TypeError, AttributeError) as error:
        raise RunError(f"{facts_file} does not describe a run: {error}", hint=_AGAIN) from error
    return Frozen(os.fspath(folder), graph, facts)
