"""What the tests on real clusters share: what the machine has to have, a real training that is small, and what came of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from namespaces import PLACES, variables

import forge
from forge.launch.agent import AGENT
from forge.launch.torchrun import TRAINS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE.parent / "resume"))
import small_run  # noqa: E402 - the tests of resumption have it

FULL = bool(os.environ.get("FORGE_FULL"))
STEPS = 6
SMALL = ("parallel=ddp", "trainer.eval_strategy=no", "trainer.save_steps=2")
PACKAGES = {
    "munged": "munge",
    "slurmctld": "slurm-wlm",
    "slurmd": "slurm-wlm",
    "sbatch": "slurm-wlm",
    "sshd": "openssh-server",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "ip": "iproute2",
}
QUICK = f"""#!/bin/sh
[ "$(hostname)" = muthur ] && FIRST_RANK=1 || FIRST_RANK=0
export FIRST_RANK
for word; do
  shift
  case $word in {TRAINS}) word=standin ;; {AGENT[-1]}) word=agent ;; esac
  set -- "$@" "$word"
done
exec {sys.executable} "$@"
"""
HOLD = '''\
"""A callback that holds a run up at a step, so that something may happen to it there."""

import time
from pathlib import Path

from forge.ml.train.callback import Callback


class Hold(Callback):
    """Wait before a step, the first time, until the run is to stop or may go on."""

    def __init__(self, step, folder):
        self.step, self.folder = step, Path(folder)

    def before_step(self, run):
        held = self.folder / "held"
        if run.step != self.step or not run.world.first or held.exists():
            return
        held.touch()
        end = time.monotonic() + 600
        while time.monotonic() < end and not (Path(run.folder, "STOP").exists() or (self.folder / "go").exists()):
            time.sleep(0.02)
'''


def demand(*programs: str) -> None:
    """Skip by name where these programs or the rights of root are missing; in this project's CI nothing may be missing."""
    why = _missing(programs)
    if why and os.environ.get("CI") and os.geteuid() == 0:
        pytest.fail(why)
    if why:
        pytest.skip(why)


def _missing(programs: Sequence[str]) -> str:
    if absent := sorted({PACKAGES.get(name, name) for name in programs if shutil.which(name, path=PLACES) is None}):
        return f"missing here: apt-get install {' '.join(absent)}"
    if os.geteuid() != 0:
        return "it takes root"
    alone = subprocess.run(["unshare", "--net", "--mount", "--uts", "true"], check=False, capture_output=True)
    return "" if alone.returncode == 0 else "it takes the right to make network namespaces"


class Training:
    """A project whose config ``run`` trains a tiny model with dropout for a few steps, and can be held up before one of them."""

    def __init__(self, folder: Path) -> None:
        self.project, self.output = small_run.make_project(folder / "small"), folder / "out"
        self.held = self.project / "held"
        hold = f"callback:\n  hold: {{_target_: hold.Hold, step: null, folder: {self.project}}}\n"
        config = small_run.CONFIG.replace("  - /trainer: default\n", "  - /launch: local\n  - /trainer: default\n")
        changed = config.replace("FOLDER", str(self.project)).replace("max_steps: 50\n", f"max_steps: {STEPS}\n") + hold
        assert changed.count("/launch: local") == 1
        (self.project / "configs" / "run.yaml").write_text(changed)
        (self.project / "project.yaml").write_text("name: small\nsource: src\n")
        (self.project / "src").mkdir()
        (self.project / "src" / "hold.py").write_text(HOLD)
        forge.open(self.project).trust()

    def words(self, *words: str) -> list[str]:
        """The command line of forge that trains it."""
        line = [sys.executable, "-m", "forge", "-p", str(self.project), "-t", "run", "train", *SMALL]
        return [*line, f"trainer.output_dir={self.output}", *words]

    def go_on(self) -> None:
        """Let it go on where it is held up."""
        (self.project / "go").touch()

    @property
    def run(self) -> Path:
        """Its only run folder."""
        (found,) = (self.output / "runs").iterdir()
        return found

    def uninterrupted(self, ranks: int) -> dict[str, str]:
        """What the same training leaves behind where nothing happens to it."""
        output = self.project / "whole"
        folder = small_run.freeze(self.project, "whole", *SMALL, f"trainer.output_dir={output}")
        assert endings_of([folder], ranks) == [[0] * ranks]
        return digests(output)


def quick_python(folder: Path) -> Path:
    """An interpreter in which something quicker takes the place of torchrun and of the training."""
    python = folder / "python"
    python.write_text(QUICK)
    python.chmod(0o755)
    return python


def pasted(line: Sequence[str], folder: Path) -> list[str]:
    """What runs, in a shell, what a dry run of this line of forge prints."""
    shown = subprocess.run(
        [*line, "--dry-run"], env=surroundings(), cwd=folder, stdout=subprocess.PIPE, text=True, check=True
    )
    return ["bash", "-c", shown.stdout]


def surroundings(**changes: str) -> dict[str, str]:
    """The environment of whoever starts something: torch with one thread, and forge from this checkout."""
    path = os.pathsep.join([str(ROOT), str(HERE)])
    return variables(**{"OMP_NUM_THREADS": "1", "PYTHONPATH": path, "NO_COLOR": "1", **changes})


def endings_of(run_folders: Sequence[str], ranks: int) -> list[list[int]]:
    """The exit codes of all ranks of frozen runs, each by so many forks of one process."""
    done = subprocess.run(
        [sys.executable, str(HERE / "many_endings.py"), str(ranks), *run_folders],
        env=surroundings(),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: list[list[int]] = json.loads(done.stdout)
    return found


def digests(output: Path, step: int = STEPS) -> dict[str, str]:
    """What the checkpoint of a step consists of."""
    manifest: dict[str, Any] = json.loads((output / "checkpoints" / f"checkpoint-{step}" / "manifest.json").read_text())
    found = {name: entry["sha256"] for name, entry in manifest["files"].items() if name.endswith(".safetensors")}
    assert len(found) > 1, manifest["files"]
    return found


def wait_for(
    condition: Callable[[], object],
    seconds: float = 120,
    what: str = "",
    process: subprocess.Popen[str] | subprocess.Popen[bytes] | None = None,
) -> None:
    """Wait until something is so, which takes a process that has not ended."""
    end = time.monotonic() + seconds
    while not condition():
        assert process is None or process.poll() is None, f"the process ended before: {what}"
        assert time.monotonic() < end, f"it never came: {what}"
        time.sleep(0.05)


def ended(process: subprocess.Popen[str], log: Path, seconds: float = 120) -> tuple[int, str]:
    """How a process has ended, and what it has written into its log."""
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        pytest.fail(f"it does not end:\n{log.read_text()}")
    return code, log.read_text()
