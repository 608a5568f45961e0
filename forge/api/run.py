"""Runs in Python: one that can begin, and one that has been."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from forge.api.difference import Difference
from forge.api.picture import DrawnGraph

if TYPE_CHECKING:
    from forge.api.config import ConfigHandle
    from forge.control.register import Registration
    from forge.graph.change import Change
    from forge.graph.node import Graph
    from forge.launch.local import LocalLaunch
    from forge.launch.supervise import Detached

__all__ = ["PastRun", "PlannedRun"]


class PlannedRun(NamedTuple):
    """A run that can begin: its config, the folder it writes below, its own folder there, and what starts it.

    ``beside`` are files, by name and text, that what starts it wants in that folder.
    """

    config: ConfigHandle
    output: str
    folder: str
    launch: LocalLaunch
    beside: tuple[tuple[str, str], ...] = ()

    def prepare(self) -> None:
        """Write the run folder, and start nothing; FileError where another run has taken it, which may begin in the same second."""
        from forge.base.files import write_atomic
        from forge.launch.run_folder import describe_run, take_folder

        config = self.config
        take_folder(self.folder, config.show(resolve=True))
        config.freeze(self.folder)
        describe_run(self.folder, launch=self.launch, project_folder=config.project.folder)
        for name, text in self.beside:
            write_atomic(os.path.join(self.folder, name), text)

    def start(self) -> int:
        """Freeze the config into the run folder, run it on this terminal, and return the exit code."""
        from forge.launch.process import run_command

        self.prepare()
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

        self.prepare()
        job = self._register(console_log(self.folder))
        return start_supervised(self.folder, job)

    def handed_over(self, cluster: dict[str, Any], console: str = "") -> Registration:
        """Enter the run into the list of jobs as one that a cluster has."""
        return self._register(console, cluster)

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
