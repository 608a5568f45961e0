"""A real process that is asked to stop at any moment, also while it is still importing, saves and can be continued exactly."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, os.path.dirname(__file__))

pytestmark = [pytest.mark.torch, pytest.mark.slow]
pytest.importorskip("torch")

from small_run import STEPS, freeze, make_project  # noqa: E402 - torch may be missing

from forge.launch.process import module_command, module_environment  # noqa: E402 - torch may be missing
from forge.ml.train.__main__ import Ending  # noqa: E402 - torch may be missing

if TYPE_CHECKING:
    from pathlib import Path

MOMENTS = 60 if os.environ.get("FORGE_FULL") else 2
SPARE = 5  # a machine that has become quicker meanwhile may end a run before its signal comes
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("small"))


def _start(run_folder: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        module_command("forge.ml.train", [run_folder]),
        env=module_environment({"OMP_NUM_THREADS": "1"}),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _finish(run_folder: str) -> float:
    """Run to the end; the seconds it took."""
    began = time.monotonic()
    process = _start(run_folder)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == Ending.FINISHED, errors
    return time.monotonic() - began


def _digests(output: Path) -> dict[str, str]:
    """What the last checkpoint consists of."""
    manifest = json.loads((output / "checkpoints" / f"checkpoint-{STEPS}" / "manifest.json").read_text())
    return {
        name: entry["sha256"]
        for name, entry in manifest["files"].items()
        if name.endswith(".safetensors") or name.startswith("tokenizer")
    }


def test_a_signal_at_any_moment(project: Path) -> None:
    seconds = _finish(freeze(project, "whole", f"trainer.output_dir={project}/whole"))
    expected = _digests(project / "whole")
    assert any(name.startswith("state/") for name in expected)
    drawn = random.Random(7)
    stopped = 0
    for number in range(MOMENTS + SPARE):
        if number >= MOMENTS and stopped:
            break
        output = f"trainer.output_dir={project}/stopped-{number}"
        process = _start(freeze(project, f"stopped-{number}", output))
        # The first two come while modules are imported and while the run is set up.
        time.sleep(0.4 if number == 0 else drawn.uniform(0.5, 1.0) * seconds)
        sent = SIGNALS[number % len(SIGNALS)]
        process.send_signal(sent)
        _, errors = process.communicate(timeout=300)
        if number == 0 and process.returncode == -sent:
            continue  # before the first line of forge ran nobody could listen
        assert process.returncode in {Ending.STOPPED, Ending.FINISHED}, errors
        stopped += process.returncode == Ending.STOPPED
        if process.returncode == Ending.STOPPED:
            _finish(freeze(project, f"again-{number}", output, "trainer.resume_from_checkpoint=auto"))
        assert _digests(project / f"stopped-{number}") == expected
    assert stopped


def test_a_file_named_stop_ends_the_run(project: Path) -> None:
    folder = freeze(project, "file", f"trainer.output_dir={project}/file")
    with open(os.path.join(folder, "STOP"), "w", encoding="utf-8"):
        pass
    process = _start(folder)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == Ending.STOPPED, errors


def test_a_second_interrupt_ends_at_once(project: Path) -> None:
    process = _start(freeze(project, "twice", f"trainer.output_dir={project}/twice", "trainer.max_steps=100000"))
    try:
        assert process.stderr is not None
        while not process.stderr.readline().startswith("step 10"):
            pass
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
        assert process.returncode in {Ending.ABORTED, Ending.STOPPED}
    finally:
        process.kill()
        process.communicate()
