"""Where a run's metrics go, beside the JSON lines that every run writes. Each logger here is its settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["MLflow", "TensorBoard", "Trackio", "Wandb"]


@dataclass(frozen=True)
class TensorBoard:
    """TensorBoard event files; `folder` null means a folder in the run's own."""

    folder: str | None = None
    flush_seconds: int = 30

    def __post_init__(self) -> None:
        if self.flush_seconds < 1:
            raise ValueError(f"flush_seconds is at least 1, not {self.flush_seconds}")


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


@dataclass(frozen=True)
class MLflow:
    """An MLflow tracking server, or a folder when `tracking_uri` is a path."""

    experiment: str
    run_name: str | None = None
    tracking_uri: str | None = None


@dataclass(frozen=True)
class Trackio:
    """Trackio, local, or in a Hugging Face Space when `space_id` is given."""

    project: str
    name: str | None = None
    space_id: str | None = None
