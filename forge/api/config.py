"""A config in Python: what it says, where that comes from, what is wrong with it, and what it builds."""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from forge.api.difference import Difference
from forge.api.picture import DrawnGraph
from forge.api.run import PastRun, PlannedRun
from forge.base.errors import FileError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forge.api.project import ProjectHandle
    from forge.compose.arguments import Argument
    from forge.compose.composed import Composed
    from forge.graph.change import Change
    from forge.graph.check import Finding
    from forge.graph.node import Graph
    from forge.render.sources import Source
    from forge.render.svg import Links
    from forge.render.why import Reason

__all__ = ["IMPORTS", "ConfigHandle", "Target"]

IMPORTS: Final = 2  # the depth of `ConfigHandle.check` at which targets are imported


class Target(NamedTuple):
    """Something a config can build: its path, what makes it, and whether it is the config's main object."""

    key: str
    target: str
    main: bool


class ConfigHandle:
    """A config with its overrides: what it says, where that comes from, what is wrong with it, and what it builds."""

    def __init__(self, project: ProjectHandle, name: str, overrides: Sequence[str | tuple[str, str]] = ()) -> None:
        self.project = project
        self.name = name
        self.overrides = tuple(overrides)

    def __repr__(self) -> str:
        changed = [change if isinstance(change, str) else change[1] for change in self.overrides]
        return f"<forge config {' '.join([self.name, *changed])} of {self.project.name}>"

    def override(self, *more: str | tuple[str, str]) -> ConfigHandle:
        """The same config with further overrides."""
        return ConfigHandle(self.project, self.name, (*self.overrides, *more))

    @cached_property
    def composed(self) -> Composed:
        """The composed config: plain data and, for every value, where it comes from."""
        from forge.compose.cache import compose  # a handle costs nothing until it is asked

        return compose(self.project.project, self.name, self.overrides)

    @property
    def arguments(self) -> tuple[Argument, ...]:
        """The command-line flags that the config declares for itself."""
        return self.composed.arguments

    @property
    def files(self) -> list[str]:
        """The files that took part, the config's own first."""
        found = dict.fromkeys(used.file for used in reversed(self.composed.files))
        own = [used.file for used in self.composed.files if used.config == self.name]
        return list(dict.fromkeys([*own, *found]))

    @property
    def main(self) -> str | None:
        """The key of the config's main object; None when the config has no such key."""
        return self.composed.main if self.composed.main in self.composed.tree else None

    def data(self, *, resolve: bool = False, path: str | None = None) -> Any:
        """The config, or a part of it, as plain dicts and lists; secrets are masked."""
        from forge.render.config import config_data

        value, secret = self._part(path, resolve=resolve)
        return config_data(value, secret=secret)

    def show(self, *, resolve: bool = False, origins: bool = False, path: str | None = None) -> str:
        """The config, or a part of it, as YAML."""
        from forge.render.config import config_yaml

        value, secret = self._part(path, resolve=resolve)
        return config_yaml(value, origins=origins, secret=secret)

    def _part(self, path: str | None, *, resolve: bool) -> tuple[Any, bool]:
        """A part of the tree, and whether a key on the way to it says that it is secret."""
        from forge.compose.resolved import resolved

        tree = resolved(self.composed) if resolve else self.composed.tree
        if not path:
            return tree, False
        from forge.base.paths import parse_dotted
        from forge.base.secrets import is_secret_name
        from forge.compose.reference import NOT_FOUND, lookup

        try:
            keys = parse_dotted(path)
            value = lookup(tree, keys)
        except ValueError:
            keys, value = (), NOT_FOUND
        if value is NOT_FOUND:
            from forge.render.why import no_such_key  # only after a mistake

            raise no_such_key(self.name, path, tree)
        return value, any(is_secret_name(key) for key in keys)

    def why(self, key: str) -> Reason:
        """Who set the value at a dotted path, and what it replaced; print it, or ask its ``steps``."""
        from forge.render.why import why

        return why(self.composed, key)

    @cached_property
    def graph(self) -> DrawnGraph:
        """The whole config as a graph of objects."""
        return self.graph_of(None)

    def graph_of(self, target: str | None) -> DrawnGraph:
        """The graph below one part of the config, named by its dotted path."""
        from forge.graph.lower import lower

        found = lower(self.composed, target)
        return DrawnGraph(found.name, found.root)

    def targets(self) -> list[Target]:
        """Every object that the config describes, in the order of its top-level keys."""
        from forge.graph.node import Call
        from forge.graph.walk import walk

        order = {key: position for position, key in enumerate(self.composed.tree)}
        calls = [node for node in walk(self.graph.root) if isinstance(node, Call) and node.mode != "symbol"]
        calls.sort(key=lambda node: (order.get(node.path[0], len(order)), node.name))
        return [Target(node.name, node.target, node.name == self.main) for node in calls]

    def draw(
        self,
        form: str = "tree",
        *,
        target: str | None = None,
        depth: int | None = None,
        focus: str | None = None,
        color: bool = False,
        width: int = 100,
        links: Links | None = None,
    ) -> str:
        """The graph as ``tree``, ``yaml``, ``json``, ``python``, ``dot``, ``mermaid``, ``svg`` or ``html``.

        ``depth`` folds what lies deeper, ``focus`` shows one node with its neighbours; ``color`` and ``width`` are
        for a tree in the terminal. ``links`` (``file`` or ``vscode``) makes an SVG lead to the lines it shows.
        """
        from forge.render.forms import draw

        graph = self.graph_of(target)
        search = self._search(graph) if form == "python" else ()
        return draw(graph, form, depth=depth, focus=focus, color=color, width=width, search=search, links=links)

    def code(self, target: str | None = None, *, origins: bool = False) -> str:
        """A Python program that builds the config's main object, or the part named by ``target``."""
        from forge.render.python import python

        graph = self.graph_of(target or self.main)
        return python(graph, origins=origins, search=self._search(graph))

    def _search(self, graph: Graph) -> list[str]:
        """The project's source folders that a program of this graph imports from."""
        from forge.compose.project import source_packages
        from forge.graph.node import Call
        from forge.graph.walk import walk

        named = {node.target.partition(".")[0] for node in walk(graph.root) if isinstance(node, Call)}
        return [folder for folder in self.project.source_folders if named & set(source_packages([folder]))]

    def build(self, target: str | None = None) -> Any:
        """Build the config's main object, or the part named by ``target``; this imports what the config names."""
        from forge.build.build import build
        from forge.build.user_policy import policy_of

        policy = policy_of(self.project.project)
        root = self.graph_of(target or self.main).root
        return build(root, policy=policy, source_folders=self.project.source_folders)

    def freeze(self, folder: str | os.PathLike[str], target: str | None = None) -> None:
        """Write the graph, or that of one part, and the facts around it into a folder.

        Other processes build the same objects from there.
        """
        from forge.build.frozen import Facts, freeze
        from forge.build.user_policy import policy_of

        project = self.project.project
        facts = Facts(
            project=project.name,
            project_folder=os.path.abspath(project.folder),
            config=self.name,
            overrides=tuple(change if isinstance(change, str) else change[1] for change in self.overrides),
            main=self.main,
            source_folders=tuple(os.path.abspath(source) for source in self.project.source_folders),
            rules=tuple(tuple(rule) for rule in policy_of(project).rules),
        )
        freeze(self.graph if target is None else self.graph_of(target), facts, folder)

    def text_as(self, name: str, *, description: str = "") -> str:
        """The text of a config file ``name`` that is this config with its overrides; OverrideError for what no file can say."""
        from forge.render.saved import saved

        return saved(self.project.project, self.name, self.overrides, name, description=description)

    def save_as(self, name: str, *, description: str = "", force: bool = False) -> str:
        """Write a config of the project that is this one with its overrides, and return its file."""
        from forge.base.files import make_folder, write_atomic
        from forge.compose.new_file import new_config_file

        made = new_config_file(self.project.project, name)
        if os.path.lexists(made.file) and not force:
            raise FileError(f"the config {made.name!r} is there already", hint="--force replaces it")
        text = self.text_as(made.name, description=description)
        make_folder(os.path.dirname(made.file))
        write_atomic(made.file, text)
        return made.file

    def with_output(self) -> tuple[ConfigHandle, str]:
        """The config with a folder for what a run of it writes, ``output/PROJECT/CONFIG`` if it names none, and that folder."""
        from forge.compose.quote import override_key, quote_value

        trainer = self.data(resolve=True, path=self.main)
        output = trainer.get("output_dir") if isinstance(trainer, dict) else None
        if output is not None:
            return self, str(output)
        output = os.path.join("output", self.project.name, self.name)
        return self.override(f"++{override_key((str(self.main), 'output_dir'))}={quote_value(output)}"), output

    def plan_run(self, devices: str | None = None) -> PlannedRun:
        """What `train` would do: where it would write, and the command it would start."""
        from forge.launch.local import local_launch
        from forge.launch.run_folder import new_run_folder

        if self.main is None:
            raise UsageError(
                f"{self.name} describes no run",
                hint="a run needs a trainer: add '- /trainer: default' to the config's defaults",
            )
        config, output = self.with_output()
        folder = new_run_folder(output, self.name)
        return PlannedRun(config, output, folder, local_launch(folder, devices))

    def last_run(self) -> PastRun:
        """The newest run in the folder that runs of this config write to; UsageError when there is none."""
        from forge.build.frozen import GRAPH
        from forge.launch.run_folder import last_run_folder

        if self.main is None:
            raise UsageError(f"{self.name} describes no run", hint="name a run: --run FOLDER")
        output = self.with_output()[1]
        folder = last_run_folder(output, GRAPH)
        if folder is None:
            raise UsageError(f"there is no run in {output} yet", hint="`forge train` makes one, --run FOLDER names one")
        return PastRun(folder)

    def train(self, devices: str | None = None) -> int:
        """Train the config in a process of its own and return its exit code; `check` it first, nothing is checked here."""
        return self.plan_run(devices).start()

    def check(self, depth: int = 1, *, hydra_compat: bool = False) -> list[Finding]:
        """Everything that is wrong, found without importing what the config names; at depth 2 that is imported too.

        ``hydra_compat`` adds what plain Hydra would make of the same files in another way.
        """
        from forge.build.examine import examine

        imports = depth >= IMPORTS
        return examine(self.project.project, self.name, self.overrides, imports=imports, hydra_compat=hydra_compat)

    @property
    def sources(self) -> list[Source]:
        """The files that took part as a tree in depth-first order, each with the config that named it."""
        from forge.render.sources import sources

        return sources(self.composed)

    def draw_sources(self, form: str = "tree") -> str:
        """Which files made the config, as ``tree``, ``files``, ``md``, ``dot`` or ``svg``."""
        from forge.render.sources import draw_sources

        return draw_sources(self.composed, form)

    def diff(self, other: ConfigHandle) -> Difference:
        """What turns this config into another one: its overrides name choices of groups first, then values."""
        from forge.graph.diff import diff

        def onward(changes: tuple[Change, ...]) -> list[str]:
            from forge.render.difference import bridge

            choices = self.composed.choices, other.composed.choices
            return bridge(changes, *choices, lambda lines: diff(self.override(*lines).graph, other.graph))

        return Difference(self.graph, other.graph, onward)

    def _repr_svg_(self) -> str:
        return self.graph._repr_svg_()
