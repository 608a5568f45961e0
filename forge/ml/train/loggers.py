"""Where a run's metrics go, beside the JSON lines that every run writes.

Each logger of a config is its settings; `open` makes the sink that takes the records. A record's figures get names that group
well in a dashboard: ``train/loss``, ``speed/tokens_per_second``, ``time/forward``, ``eval/<dataset>/loss``.
"""

from __future__ import annotations

import html
import importlib
import json
import os
import threading
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from forge.base.errors import ToolError
from forge.base.files import make_folder, write_atomic
from forge.base.json_file import read_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import ModuleType

    from forge.ml.train.metrics import Sink

__all__ = ["MLflow", "TensorBoard", "Trackio", "Wandb", "scalars"]

_SPEED: Final = ("tokens_per_second", "trained_tokens_per_second")
_PROGRESS: Final = ("epoch", "tokens", "trained_tokens")
_NO_FIGURE: Final = ("step", "dataset", "event")
_GIB: Final = 1 << 30


@dataclass(frozen=True)
class TensorBoard:
    """TensorBoard event files; `folder` null means a folder in the run's own."""

    folder: str | None = None
    flush_seconds: int = 30

    def __post_init__(self) -> None:
        if self.flush_seconds < 1:
            raise ValueError(f"flush_seconds is at least 1, not {self.flush_seconds}")

    def open(self, run_folder: str, config: dict[str, Any]) -> Sink:
        """Begin an event file in the run's folder."""
        _package("tensorboard", "train")
        folder = self.folder or os.path.join(run_folder, "tensorboard")
        make_folder(folder)
        return _TensorBoardSink(folder, self.flush_seconds, config)


@dataclass(frozen=True)
class Wandb:
    """Weights & Biases; the key is taken from the environment, never from a config."""

    project: str
    name: str | None = None
    entity: str | None = None
    group: str | None = None
    tags: tuple[str, ...] = ()
    mode: Literal["online", "offline", "disabled"] = "online"

    def __post_init__(self) -> None:
        if self.mode not in ("online", "offline", "disabled"):
            raise ValueError(f"mode is online, offline or disabled, not {self.mode!r}")

    def open(self, run_folder: str, config: dict[str, Any]) -> Sink:
        """Begin a run there, or go on with the one that this folder belongs to."""
        wandb = _package("wandb", "wandb")
        run = wandb.init(
            project=self.project,
            name=self.name or os.path.basename(os.path.abspath(run_folder)),
            entity=self.entity,
            group=self.group,
            tags=list(self.tags),
            mode=self.mode,
            dir=run_folder,
            config=config,
            id=_kept(run_folder, "wandb", lambda: uuid.uuid4().hex),
            resume="allow" if self.mode == "online" else None,
        )
        return _WandbSink(wandb, run)


@dataclass(frozen=True)
class MLflow:
    """An MLflow server or a database such as sqlite:///mlflow.db; `tracking_uri` null is what MLFLOW_TRACKING_URI says."""

    experiment: str
    run_name: str | None = None
    tracking_uri: str | None = None

    def open(self, run_folder: str, config: dict[str, Any]) -> Sink:
        """Begin a run there, or go on with the one that this folder belongs to."""
        mlflow = _package("mlflow", "mlflow")
        client = mlflow.MlflowClient(tracking_uri=self.tracking_uri)
        name = self.run_name or os.path.basename(os.path.abspath(run_folder))
        run_id = _kept(run_folder, "mlflow", lambda: self._begin(client, name, config))
        return _MLflowSink(mlflow, client, run_id)

    def _begin(self, client: Any, name: str, config: dict[str, Any]) -> str:
        found = client.get_experiment_by_name(self.experiment)
        experiment = client.create_experiment(self.experiment) if found is None else found.experiment_id
        run_id: str = client.create_run(experiment, run_name=name).info.run_id
        client.log_dict(run_id, config, "config.json")
        return run_id


@dataclass(frozen=True)
class Trackio:
    """Trackio, local, or in a Hugging Face Space when `space_id` is given; a Space that it makes is `private`."""

    project: str
    name: str | None = None
    space_id: str | None = None
    private: bool = True

    def open(self, run_folder: str, config: dict[str, Any]) -> Sink:
        """Begin a run there, or go on with the one of this name."""
        trackio = _package("trackio", "trackio")
        run = trackio.init(
            project=self.project,
            name=self.name or os.path.basename(os.path.abspath(run_folder)),
            space_id=self.space_id,
            private=self.private if self.space_id else None,
            config=config,
            resume="allow",
            embed=False,
        )
        return _TrackioSink(trackio, run)


def scalars(record: Mapping[str, Any]) -> dict[str, float]:
    """The figures of a record under the names by which dashboards group them."""
    if "event" in record:
        return {}
    if "dataset" in record:
        group = f"eval/{record['dataset']}"
        return {f"{group}/{key.removeprefix('eval_')}": number for key, number in _numbers(record) if key != "epoch"}
    return dict(_training(record))


def _training(record: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for key, number in _numbers(record):
        if key == "memory":
            yield "memory/peak_gib", number / _GIB
        else:
            yield f"{'speed' if key in _SPEED else 'progress' if key in _PROGRESS else 'train'}/{key}", number
    for phase, seconds in dict(record.get("seconds") or {}).items():
        yield f"time/{phase}", float(seconds)


def _numbers(record: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for key, value in record.items():
        if key in _NO_FIGURE or value is None or isinstance(value, (str, dict, list, tuple)):
            continue
        yield key, float(value)


class _TensorBoardSink:
    name = "TensorBoard"

    def __init__(self, folder: str, flush_seconds: int, config: dict[str, Any]) -> None:
        self._folder, self._flush_seconds = folder, flush_seconds
        self._before = threading.excepthook
        self._hook = self._heard  # kept: each look at a method makes another
        threading.excepthook = self._hook
        self._writer = self._opened(None)
        self.text("config", json.dumps(config, indent=2, default=str), 0)

    def _heard(self, args: Any) -> None:
        """What goes wrong in TensorBoard's own thread is told by the next record; its traceback is nothing for a person."""
        if not type(args.thread).__module__.startswith("tensorboard."):
            self._before(args)

    def _opened(self, purge_step: int | None) -> Any:
        from torch.utils.tensorboard import SummaryWriter  # a second, and only when it is used

        return SummaryWriter(self._folder, flush_secs=self._flush_seconds, purge_step=purge_step)

    def write(self, record: Mapping[str, Any]) -> None:
        if record.get("event") == "resumed":  # what a lost run wrote behind this step is drawn no more
            self._writer.close()
            self._writer = self._opened(int(record["step"]) + 1)
        for name, number in scalars(record).items():
            self._writer.add_scalar(name, number, record["step"])

    def text(self, name: str, text: str, step: int) -> None:
        fenced = "\n".join(f"    {line}" for line in text.splitlines())  # Markdown shows it as it is
        self._writer.add_text(name, fenced, step)

    def close(self) -> None:
        try:
            self._writer.close()
        finally:
            if threading.excepthook is self._hook:
                threading.excepthook = self._before


class _WandbSink:
    name = "Weights & Biases"

    def __init__(self, wandb: ModuleType, run: Any) -> None:
        self._wandb, self._run = wandb, run

    def write(self, record: Mapping[str, Any]) -> None:
        if found := scalars(record):
            self._run.log(found, step=record["step"])

    def text(self, name: str, text: str, step: int) -> None:
        self._run.log({name: self._wandb.Html(f"<pre>{html.escape(text)}</pre>")}, step=step)

    def close(self) -> None:
        self._run.finish()


class _MLflowSink:
    name = "MLflow"

    def __init__(self, mlflow: ModuleType, client: Any, run_id: str) -> None:
        self._metric, self._client, self._run_id = mlflow.entities.Metric, client, run_id
        self._last: Any = None

    def write(self, record: Mapping[str, Any]) -> None:
        now, step = int(time.time() * 1000), record["step"]
        metrics = [self._metric(name, number, now, step) for name, number in scalars(record).items()]
        if metrics:  # in the background: a server that is away would hold up every step
            self._last = self._client.log_batch(self._run_id, metrics=metrics, synchronous=False)

    def text(self, name: str, text: str, step: int) -> None:
        self._client.log_text(self._run_id, text, f"{name}/step-{step}.txt")

    def close(self) -> None:
        if self._last is not None:
            self._last.wait()  # they are sent in order
        self._client.set_terminated(self._run_id)


class _TrackioSink:
    name = "Trackio"

    def __init__(self, trackio: ModuleType, run: Any) -> None:
        self._trackio, self._run = trackio, run

    def write(self, record: Mapping[str, Any]) -> None:
        if found := scalars(record):
            self._run.log(found, step=record["step"])

    def text(self, name: str, text: str, step: int) -> None:
        self._run.log({name: self._trackio.Markdown(f"```text\n{text}\n```")}, step=step)

    def close(self) -> None:
        self._run.finish()


def _package(name: str, extra: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ToolError(
            f"this run logs to {name}, and the package {name} cannot be imported: {error}",
            hint=f"install it with: pip install 'forge[{extra}]', or choose another logging",
        ) from error


def _kept(run_folder: str, name: str, make: Any) -> str:
    """The name that a run has with a service, kept in its folder so that a resumed run goes on under it."""
    path = os.path.join(run_folder, f"{name}.json")
    if os.path.exists(path):
        return str(read_json(path, 1 << 16)["id"])
    made = str(make())
    write_atomic(path, json.dumps({"id": made}) + "\n")
    return made
