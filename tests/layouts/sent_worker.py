"""Carries out frozen runs as `worker` does, and writes what each process has sent in its second step, by dimension of the mesh."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sent import Sent
from worker import serve

from forge.ml.parallel.world import MESH
from forge.ml.train.callback import Callback

if TYPE_CHECKING:
    from pathlib import Path

    from forge.ml.train.run import Run


class Counted(Callback):
    """Counts one step, from where its batches are there to its end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sent = Sent()

    def before_step(self, run: Run) -> None:
        if run.step == 1:
            self.sent.__enter__()

    def after_step(self, run: Run, _record: dict[str, Any]) -> None:
        if run.step == 2:
            self.sent.__exit__(None, None, None)

    def end(self, run: Run) -> None:
        assert run.world.mesh is not None
        names = {run.world.mesh.get_group(name).group_name: name for name in MESH}
        names |= {group.group_name: name for name, group in run.world.groups.items()}
        found = [[names[group], operation, size] for (group, operation), size in self.sent.bytes.items()]
        (self.folder / f"sent-{run.world.rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    serve(Counted)
