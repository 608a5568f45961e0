"""What a run gives to be saved; how several processes share it is tested in tests/layouts."""

from __future__ import annotations

import math
import tempfile
from typing import TYPE_CHECKING, Any

import pytest

pytestmark = pytest.mark.torch
pytest.importorskip("torch")

from forge.ml.train.callback import Callback  # noqa: E402 - torch may be missing
from forge.ml.train.saving import save  # noqa: E402 - as above

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from forge.ml.train.run import Run

    Carried = Callable[..., Run]


class Remembered:
    """A saver that keeps what it is given."""

    def save(self, files: Any, state: Any, step: int, facts: Any, **rest: Any) -> None:  # noqa: ARG002 - what a saver takes
        self.rest = rest


@pytest.mark.parametrize(
    ("evaluated", "expected"), [((4, 2.5), 2.5), ((3, 2.5), None), ((4, None), None), ((4, math.inf), math.inf)]
)
def test_a_checkpoint_is_scored_by_the_evaluation_of_its_own_step(
    carried: Carried, evaluated: tuple[int, float | None], expected: float | None
) -> None:
    run = carried("trainer.save_strategy=no")
    run.counts.evaluated_step, run.counts.evaluated_loss = evaluated
    run.best.step = 3
    saver: Any = Remembered()
    save(run, saver)
    assert saver.rest["best"] == 3
    score = saver.rest["score"]
    assert (None if score is None else score.value) == expected


def test_a_place_for_temporary_files_that_is_full_or_gone_stops_no_checkpoint(
    carried: Carried, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Gone(Callback):
        def begin(self, run: Run) -> None:  # noqa: ARG002 - what a callback is given
            monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))

    run = carried("trainer.save_steps=2", callbacks=(Gone(),))
    found = run.saver.store.list(quick=False)
    assert [(one.step, one.reason) for one in found] == [(2, ""), (4, "")]
    assert all("tokenizer.json" in one.manifest.files for one in found if one.manifest)


def test_what_is_saved_is_asked_for_only_when_it_is_written(carried: Carried) -> None:
    run = carried("trainer.save_strategy=no")
    given: dict[str, Any] = {}

    class Lazy(Remembered):
        def save(self, files: Any, state: Any, step: int, facts: Any, **rest: Any) -> None:  # noqa: ARG002 - as above
            given.update(files=dict(files()), state=state())

    saver: Any = Lazy()
    save(run, saver)
    assert {"model.safetensors", "config.json", "tokenizer.json", "state/graph.json"} <= given["files"].keys()
    assert given["state"]["counts"]["step"] == run.step
    assert given["state"]["optimizer"]["state"]
