from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from forge.base.errors import UsageError
from forge.launch.prepare import begins_again, on_a_volume
from forge.launch.topology import Mount, Topology

if TYPE_CHECKING:
    from pathlib import Path

REQUEUED = Topology(kind="slurm", requeue=True)


@pytest.mark.parametrize(
    ("topology", "trainer", "again"),
    [
        (Topology(), {}, False),
        (REQUEUED, {}, True),
        (Topology(kind="slurm", array="0-3%1"), {}, True),
        (Topology(max_restarts=2), {"resume_from_checkpoint": None}, True),
        (REQUEUED, {"resume_from_checkpoint": "auto"}, False),
    ],
)
def test_which_runs_go_on_from_their_own_checkpoints(
    topology: Topology, trainer: dict[str, Any], again: object, tmp_path: Path
) -> None:
    assert begins_again(topology, trainer, str(tmp_path)) is again


def test_what_would_be_lost_or_mixed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="would remove its own checkpoints"):
        begins_again(REQUEUED, {"overwrite_output_dir": True}, str(tmp_path))
    (tmp_path / "checkpoints" / "checkpoint-1").mkdir(parents=True)
    with pytest.raises(UsageError, match="holds checkpoints already"):
        begins_again(REQUEUED, {}, str(tmp_path))


def test_pods_write_to_a_volume() -> None:
    mounts = (Mount("ckpt", "/ckpt"), Mount("data", "/data", read_only=True))
    topology = Topology(kind="k8s_job", image="forge:1", mounts=mounts)
    on_a_volume(topology, "/ckpt")
    on_a_volume(topology, "/ckpt/a/b")
    for output in ("out", "/data/out", "/ckpt2/out"):
        with pytest.raises(UsageError, match="on no volume"):
            on_a_volume(topology, output)
    with pytest.raises(UsageError, match=r"launch\.mounts"):
        on_a_volume(Topology(kind="k8s_job", image="forge:1"), "/ckpt")
