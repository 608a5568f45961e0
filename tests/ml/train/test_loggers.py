"""What each logger makes of a run's records, read back from where it puts them."""

from __future__ import annotations

import json
import math
import shutil
import sqlite3
import threading
import time
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from forge.base.errors import ToolError
from forge.ml.train import loggers
from forge.ml.train.loggers import scalars

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.torch

TRAINING = {
    "step": 3,
    "epoch": 0.5,
    "loss": 2.5,
    "grad_norm": None,
    "lr": 0.001,
    "tokens": 640,
    "trained_tokens": 600,
    "tokens_per_second": 320.0,
    "trained_tokens_per_second": 300.0,
    "seconds": {"data": 0.25, "forward": 0.5},
    "memory": 3 << 30,
}
EVALUATION = {"step": 3, "epoch": 0.5, "dataset": "held_out", "eval_loss": 2.0, "perplexity": 7.5, "tokens": 99}
NAMED = {
    "train/loss": 2.5,
    "train/lr": 0.001,
    "progress/epoch": 0.5,
    "progress/tokens": 640.0,
    "progress/trained_tokens": 600.0,
    "speed/tokens_per_second": 320.0,
    "speed/trained_tokens_per_second": 300.0,
    "time/data": 0.25,
    "time/forward": 0.5,
    "memory/peak_gib": 3.0,
}
EVALUATED = {"eval/held_out/loss": 2.0, "eval/held_out/perplexity": 7.5, "eval/held_out/tokens": 99.0}


def read_events(folder: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
        found = accumulator.EventAccumulator(str(folder))
        found.Reload()
    return found


def log_a_run(logger: Any, folder: Path) -> None:
    """A run of three steps that is killed after the third and resumed from the first."""
    folder.mkdir(exist_ok=True)
    sink = logger.open(str(folder), {"seed": 1})
    for step in (1, 2, 3):
        sink.write({**TRAINING, "step": step})
    sink.close()
    sink = logger.open(str(folder), {"seed": 1})
    sink.write({"event": "resumed", "step": 1})
    sink.write({**TRAINING, "step": 2, "loss": math.nan})
    sink.write({**EVALUATION, "step": 2})
    sink.text("samples", "Once <upon>\na time", 2)
    sink.close()


def test_the_names_of_a_training_record_group_well() -> None:
    assert scalars(TRAINING) == NAMED


def test_the_names_of_an_evaluation_record_hold_its_dataset() -> None:
    assert scalars(EVALUATION) == EVALUATED


def test_an_event_and_a_text_are_no_figures() -> None:
    assert scalars({"event": "resumed", "step": 3}) == {}
    assert scalars({"step": 3, "note": "x", "new_figure": 1}) == {"train/new_figure": 1.0}


def test_tensorboard_flushes_at_least_once_a_second() -> None:
    with pytest.raises(ValueError, match="flush_seconds is at least 1"):
        loggers.TensorBoard(flush_seconds=0)


def test_wandb_has_three_modes() -> None:
    with pytest.raises(ValueError, match="online, offline or disabled"):
        loggers.Wandb(project="forge", mode="maybe")


@pytest.mark.parametrize(
    ("logger", "package", "extra"),
    [
        (loggers.TensorBoard(), "tensorboard", "train"),
        (loggers.Wandb(project="p"), "wandb", "wandb"),
        (loggers.MLflow(experiment="e"), "mlflow", "mlflow"),
        (loggers.Trackio(project="p"), "trackio", "trackio"),
    ],
)
def test_a_package_that_is_missing_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, logger: Any, package: str, extra: str
) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(loggers.importlib, "import_module", missing)
    with pytest.raises(ToolError) as caught:
        logger.open(str(tmp_path), {})
    assert package in str(caught.value)
    assert f"pip install 'forge[{extra}]'" in str(caught.value)


def test_tensorboard_reads_what_was_written(tmp_path: Path) -> None:
    sink = loggers.TensorBoard().open(str(tmp_path), {"seed": 1})
    sink.write(TRAINING)
    sink.write(EVALUATION)
    sink.text("samples", "Once <upon>\na time", 3)
    sink.close()
    events = read_events(tmp_path / "tensorboard")
    found = {name: [(event.step, event.value) for event in events.Scalars(name)] for name in events.Tags()["scalars"]}
    assert found == {name: [(3, pytest.approx(value))] for name, value in {**NAMED, **EVALUATED}.items()}
    texts = {name: events.Tensors(name)[0].tensor_proto.string_val[0] for name in events.Tags()["tensors"]}
    assert texts["samples/text_summary"] == b"    Once <upon>\n    a time"
    assert b'"seed": 1' in texts["config/text_summary"]


def test_tensorboard_forgets_the_steps_that_a_resumed_run_takes_again(tmp_path: Path) -> None:
    log_a_run(loggers.TensorBoard(), tmp_path / "run")
    losses = read_events(tmp_path / "run" / "tensorboard").Scalars("train/loss")
    assert [event.step for event in losses] == [1, 2]
    assert losses[0].value == 2.5
    assert math.isnan(losses[1].value)


def test_a_disk_that_tensorboard_cannot_write_to_is_told_without_a_traceback(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorboard")
    before = threading.excepthook
    sink = loggers.TensorBoard(flush_seconds=1).open(str(tmp_path), {})
    shutil.rmtree(tmp_path / "tensorboard")

    def until_it_is_noticed() -> None:
        for step in range(200):
            sink.write({**TRAINING, "step": step})
            time.sleep(0.05)

    with pytest.raises(OSError, match="No such file"):
        until_it_is_noticed()
    with pytest.raises(OSError, match="No such file"):
        sink.close()
    assert "Traceback" not in capfd.readouterr().err
    assert threading.excepthook is before


def test_tensorboard_writes_where_it_is_told_to(tmp_path: Path) -> None:
    loggers.TensorBoard(folder=str(tmp_path / "there")).open(str(tmp_path), {}).close()
    assert [path.name.split(".")[0] for path in (tmp_path / "there").iterdir()] == ["events"]
    assert not (tmp_path / "tensorboard").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_wandb_keeps_a_run_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    sink = loggers.Wandb(project="p", mode="offline").open(str(tmp_path), {"seed": 1})
    sink.write(TRAINING)
    sink.write(EVALUATION)
    sink.text("samples", "Once <upon>", 3)
    sink.close()
    (file,) = (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")
    assert file.stem == "run-" + json.loads((tmp_path / "wandb.json").read_text())["id"]
    assert b"train/loss" in file.read_bytes()
    assert b"eval/held_out/loss" in file.read_bytes()


def test_a_run_keeps_the_name_it_has_with_a_service(tmp_path: Path) -> None:
    names = iter(["first", "second"])
    found = [loggers._kept(str(tmp_path), "wandb", lambda: next(names)) for _ in range(2)]
    assert found == ["first", "first"]
    assert json.loads((tmp_path / "wandb.json").read_text()) == {"id": "first"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_mlflow_goes_on_with_the_run_of_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.chdir(tmp_path)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    log_a_run(loggers.MLflow(experiment="e", tracking_uri=uri), tmp_path / "run")
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("e").experiment_id
    (run,) = client.search_runs([experiment])
    assert (run.info.run_name, run.info.status) == ("run", "FINISHED")
    assert [m.step for m in client.get_metric_history(run.info.run_id, "train/loss")] == [1, 2, 3, 2]
    assert run.data.metrics["eval/held_out/loss"] == 2.0
    assert {item.path for item in client.list_artifacts(run.info.run_id)} == {"config.json", "samples"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_trackio_goes_on_with_the_run_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # read when it is imported
    pytest.importorskip("trackio")
    log_a_run(loggers.Trackio(project="p"), tmp_path / "run")
    with sqlite3.connect(tmp_path / "trackio" / "p.db") as database:
        rows = database.execute("select run_name, step, metrics from metrics order by id").fetchall()
    assert {row[0] for row in rows} == {"run"}
    assert [row[1] for row in rows][:4] == [1, 2, 3, 2]
    assert json.loads(rows[0][2])["train/loss"] == 2.5
