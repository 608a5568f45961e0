"""Forge in Python: everything the verbs do, in a few lines.

    project = forge.open("projects/pydoc")
    config = project.config("pretrain/tiny", "optimizer=adafactor")
    print(config.show(), config.why("optimizer.lr"))
    config.graph                 # in a notebook: the picture
    config.check()               # every mistake, with file and line
    model = config.build("model")
    print(config.diff(project.config("chat/full")))

A handle is a snapshot: it reads the files when it is first asked and keeps what it found. Open it again to see changes.
"""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from forge.base.errors import FileError, ForgeError, UsageError
from forge.graph.node import Graph

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from forge.compose.arguments import Argument
    from forge.compose.composed import Composed
    from forge.compose.project import Project
    from forge.control.register import Registration
    from forge.graph.change import Change
    from forge.graph.check import Finding
    from forge.launch.local import LocalLaunch
    from forge.launch.supervise import Detached
    from forge.render.sources import Source
    from forge.render.svg import Links
    from forge.render.why import Reason

__all__ = [
    "IMPORTS",
    "ConfigHandle",
    "ConfigInfo",
    "Difference",
    "DrawnGraph",
    "PastRun",
    "PlannedRun",
    "ProjectHandle",
    "Target",
    "all_projects",
    "open_project",
]

IMPORTS: Final = 2  # the depth of `ConfigHandle.check` at which targets are imported


class ConfigInfo(NamedTuple):
    """A config as a list of configs shows it; ``problem`` says why it cannot be composed, empty when it can."""

    name: str
    description: str = ""
    default: bool = False
    problem: str = ""


class Target(NamedTuple):
    """Something a config can build: its path, what makes it, and whether it is the config's main object."""

    key: str
    target: str
    main: bool


def open_project(folder_or_name: str | os.PathLike[str] | None = None) -> ProjectHandle:
    """The project in or around a folder, or with a name; with nothing given, the one around the current folder."""
    from forge.compose.project import find_project  # `import forge` stays light

    return ProjectHandle(find_project(None if folder_or_name is None else os.fspath(folder_or_name)))


def all_projects(below: str | None = None) -> list[ProjectHandle]:
    """Every project at or below a folder (the current one by default), and those that come with forge."""
    from forge.base.places import shipped_projects
    from forge.compose.project import find_project, projects_below

    found: dict[str, None] = {}
    for start in (below or os.getcwd(), shipped_projects()):
        found |= dict.fromkeys(os.path.realpath(folder) for folder in projects_below(start))
    return [ProjectHandle(find_project(folder)) for folder in found]


class ProjectHandle:
    """A project: its configs, its groups, and what it says about itself."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.name = project.name
        self.description = project.description
        self.folder = project.folder

    def __repr__(self) -> str:
        return f"<forge project {self.name} in {self.folder}>"

    def config(self, name: str | None = None, *overrides: str | tuple[str, str]) -> ConfigHandle:
        """One config, changed by overrides; without a name, the project's default config."""
        return ConfigHandle(self, self.project.config_name(name), overrides)

    def configs(self, *, examine: bool = True) -> list[ConfigInfo]:
        """The project's configs; with ``examine``, each is composed to read its description and to find what is broken."""
        names = [config.name for config in self.project.configs()]
        return [self._info(name) if examine else ConfigInfo(name, default=self._is_default(name)) for name in names]

    @cached_property
    def _groups(self) -> dict[str, list[str]]:
        return self.project.groups()

    def groups(self) -> dict[str, list[str]]:
        """Every config group with its choices."""
        return self._groups

    def schemas(self) -> dict[str, dict[str, Any]]:
        """JSON Schemas of the project's files by the name of the file to write each to, ``config.json`` for whole configs."""
        from forge.render.schema import schemas

        return schemas(self.project)

    def schema_files(self) -> dict[str, list[str]]:
        """The patterns of the files that each of these schemas is for."""
        from forge.render.schema import schema_files

        return schema_files(self.project)

    @property
    def readme(self) -> str:
        """The head of the project's README: its text up to the second heading, without the title."""
        path = os.path.join(self.folder, "README.md")
        if not os.path.isfile(path):
            return ""
        with open(path, encoding="utf-8", errors="replace") as file:
            return _head(file.read(100_000))

    @property
    def source_folders(self) -> tuple[str, ...]:
        """The folders with Python code that the project may import from: its own and those of projects it stands on."""
        return tuple(folder for folder in self.project.source_folders if os.path.isdir(folder))

    def trust(self) -> list[str]:
        """Allow the project's own code to be imported, as it is now; the folders are returned."""
        from forge.base.trust import trust

        own = [folder for folder in self.source_folders if self.owns(folder)]
        for folder in own:
            trust(folder)
        return own

    def distrust(self) -> list[str]:
        """Take that back; the folders that were trusted are returned."""
        from forge.base.trust import distrust

        return [folder for folder in self.source_folders if self.owns(folder) and distrust(folder)]

    def owns(self, file: str) -> bool:
        """Whether a file lies in the project's own folder."""
        return os.path.abspath(file).startswith(os.path.join(self.folder, ""))

    def _is_default(self, name: str) -> bool:
        return name == self.project.default_config

    def _info(self, name: str) -> ConfigInfo:
        try:
            handle = self.config(name)
            description = str(handle.composed.meta.get("description") or handle.composed.meta.get("name") or "")
            problem = ""
            handle.graph  # noqa: B018 - a config whose references lead nowhere is broken too
        except ForgeError as error:
            description, problem = "", str(error).splitlines()[0]
        return ConfigInfo(name, " ".join(description.split()), self._is_default(name), problem)


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


class PlannedRun(NamedTuple):
    """A run that can begin: its config, the folder it writes below, its own folder there, and what starts it."""

    config: ConfigHandle
    output: str
    folder: str
    launch: LocalLaunch

    def start(self) -> int:
        """Freeze the config into the run folder, run it on this terminal, and return the exit code."""
        from forge.launch.process import run_command

        self._prepare()
        job = self._register()
        try:
            code = run_command(self.launch.command, environment=self.launch.environment, begun=job.begun)
        except BaseException:
            job.let_go()
            raise
        job.ended(code)
        return code

    def start_detached(self) -> Detached:
        """The same in the background: it goes on when this process and its terminal are gone."""
        from forge.launch.supervise import console_log, start_supervised

        self._prepare()
        job = self._register(console_log(self.folder))
        return start_supervised(self.folder, job)

    def handed_over(self, cluster: dict[str, Any], console: str = "") -> Registration:
        """Enter the run into the list of jobs as one that a cluster has."""
        return self._register(console, cluster)

    def _prepare(self) -> None:
        from forge.launch.run_folder import describe_run

        config = self.config
        config.freeze(self.folder)
        describe_run(
            self.folder,
            config=config.show(resolve=True),
            launch=self.launch,
            project_folder=config.project.folder,
        )

    def _register(self, console: str = "", cluster: dict[str, Any] | None = None) -> Registration:
        from forge.control.register import register

        config = self.config
        overrides = [change if isinstance(change, str) else change[1] for change in config.overrides]
        return register(
            config=config.name,
            project=config.project.name,
            overrides=overrides,
            run_folder=self.folder,
            console=console,
            cluster=cluster,
        )


class DrawnGraph(Graph):
    """A graph that a notebook shows as its picture."""

    __slots__ = ()

    def _repr_svg_(self) -> str:
        from forge.render.svg import svg

        return svg(self)


class PastRun:
    """A run that began some time ago: its folder, its graph as it was frozen then, and the config it was made from."""

    def __init__(self, folder: str) -> None:
        from forge.build.frozen import thaw

        frozen = thaw(folder)
        self.folder = folder
        self.config = frozen.facts.config
        self.overrides = frozen.facts.overrides
        self.graph = DrawnGraph(os.path.basename(os.path.normpath(folder)), frozen.graph.root)

    def __repr__(self) -> str:
        return f"<forge run {self.folder} of {' '.join([self.config, *self.overrides])}>"

    def diff(self, later: ConfigHandle) -> Difference:
        """What a run of the config would have now that is not as it was; its overrides make the config that run again."""
        from forge.graph.diff import diff
        from forge.graph.stored import from_json, to_json

        config = later.with_output()[0]

        def written(*lines: str) -> Graph:
            return from_json(to_json(config.override(*lines).graph))

        def back(_changes: tuple[Change, ...]) -> list[str]:
            from forge.render.difference import bridge

            choices = config.composed.choices  # those of the run are not known any more
            return bridge(
                diff(written(), self.graph), choices, choices, lambda lines: diff(written(*lines), self.graph)
            )

        return Difference(self.graph, written(), back)


class Difference:
    """What turns one graph into another: the changes, and how to show them. True when there are any."""

    def __init__(self, before: Graph, after: Graph, bridged: Callable[[tuple[Change, ...]], list[str]]) -> None:
        from forge.graph.diff import diff

        self.before = before
        self.after = after
        self.changes: tuple[Change, ...] = diff(before, after)
        self._bridged = bridged

    def __bool__(self) -> bool:
        return bool(self.changes)

    def __str__(self) -> str:
        return self.text()

    def text(self, *, color: bool = False, width: int | None = None) -> str:
        """One line a change, or two where one would be wider than ``width``."""
        from forge.render.difference import text

        return text(self.changes, color=color, width=width)

    def overrides(self) -> list[str]:
        """The overrides that lead from one to the other: of two configs, what turns the earlier into the later one."""
        return self._bridged(self.changes)

    def svg(self) -> str:
        """The later graph as a picture with the changes marked in it."""
        from forge.render.difference import overlay

        return overlay(self.before, self.after, self.changes)

    def data(self) -> list[dict[str, Any]]:
        """The changes for programs."""
        from forge.render.forms import change_data

        return [change_data(change) for change in self.changes]

    def _repr_svg_(self) -> str:
        return self.svg()


def _head(text: str) -> str:
    """The part of a README between its title and its second heading."""
    lines: list[str] = []
    for line in text.strip().splitlines():
        if line.startswith("#"):
            if lines and any(lines):
                break
            continue
        lines.append(line)
    return "\n".join(lines).strip()
