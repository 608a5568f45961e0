"""The card of an exported model: what it was made from, by which config, on which data, and how good it was."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import yaml

from forge import __version__
from forge.base.errors import ForgeError
from forge.base.files import read_bounded
from forge.base.json_file import read_object

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["CardFacts", "card"]

_LIMIT: Final = 16 << 20
_FRONT: Final = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)
_FROM_BASE: Final = ("license", "license_name", "license_link", "language")


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What is known of a model that is exported; the facts are a checkpoint's own."""

    name: str
    architecture: str
    dtype: str
    parameters: int
    step: int | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    score: tuple[str, float] | None = None
    base: str | None = None
    run_folder: str | None = None
    adapter: str | None = None
    stop: str | None = None


def card(facts: CardFacts) -> str:
    """README.md of a model folder: its front matter, and the facts in sections."""
    return "\n".join([*_front(facts), f"# {facts.name}", "", *_model(facts), *_training(facts), *_data(facts)]) + "\n"


def _front(facts: CardFacts) -> list[str]:
    values: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": "text-generation"}
    if facts.base is not None:
        given = _front_of(os.path.join(facts.base, "README.md"))
        values |= {name: given[name] for name in _FROM_BASE if name in given}
        # Only the name of a repository is of use to others; a folder of this machine is none.
        if given.get("base_model") or not os.path.isdir(facts.base):
            values["base_model"] = given.get("base_model") or facts.base
    return ["---", yaml.safe_dump(values, sort_keys=True).strip(), "---", ""]


def _front_of(path: str) -> dict[str, Any]:
    try:
        found = _FRONT.match(read_bounded(path, _LIMIT).decode())
        values = yaml.safe_load(found[1]) if found else {}
    except (ForgeError, yaml.YAMLError, UnicodeDecodeError, RecursionError):
        return {}  # a card that is not there, or is not as cards are, says nothing
    return values if isinstance(values, dict) else {}


def _model(facts: CardFacts) -> Iterator[str]:
    text = f"A {facts.architecture} with {facts.parameters:,} parameters in {facts.dtype}"
    if facts.base is not None:
        text += f", trained from {os.path.basename(os.path.normpath(facts.base))}"
    if facts.adapter is not None:
        text += f" with {facts.adapter}, which is merged into the weights"
    yield f"{text}."
    if facts.stop is not None:
        yield f"\nGeneration stops at `{facts.stop}`, with which the chat template ends a turn."
    yield ""


def _training(facts: CardFacts) -> Iterator[str]:
    run = _run_facts(facts.run_folder)
    rows = {
        "config": run.get("config"),
        "project": run.get("project"),
        "changes": " ".join(run.get("overrides", ())) or None,
        "steps": facts.step,
        "epochs": _rounded(facts.facts.get("epoch")),
        "tokens": _counted(facts.facts.get("tokens")),
        facts.score[0] if facts.score else "score": f"{facts.score[1]:.4f}" if facts.score else None,
        "last training loss": _last_loss(facts.run_folder),
        "forge": __version__,
    }
    known = {name: value for name, value in rows.items() if value is not None}
    yield from ["## Training", "", "| fact | value |", "|---|---|"]
    yield from (f"| {name} | {_cell(value)} |" for name, value in known.items())
    yield ""


def _data(facts: CardFacts) -> Iterator[str]:
    config = _config_of(facts.run_folder)
    if config is None:
        return
    dataset = config[1].get("dataset")
    if dataset is not None:
        yield from ["## Data", "", "```yaml", yaml.safe_dump(dataset, sort_keys=False).strip(), "```", ""]
    yield from ["## Config", "", "<details><summary>the whole config of the run</summary>", ""]
    yield from ["```yaml", config[0].strip(), "```", "", "</details>"]


def _config_of(folder: str | None) -> tuple[str, dict[str, Any]] | None:
    if folder is None or not os.path.isfile(os.path.join(folder, "config.yaml")):
        return None
    text = read_bounded(os.path.join(folder, "config.yaml"), _LIMIT).decode()
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError:
        return text, {}
    return text, values if isinstance(values, dict) else {}


def _run_facts(folder: str | None) -> dict[str, Any]:
    return _json_of(os.path.join(folder, "run.json")) if folder is not None else {}


def _json_of(path: str) -> dict[str, Any]:
    try:
        return read_object(path, _LIMIT)
    except ForgeError:
        return {}


def _last_loss(folder: str | None) -> str | None:
    path = os.path.join(folder or "", "metrics.jsonl")
    if folder is None or not os.path.isfile(path):
        return None
    lines = read_bounded(path, 1 << 30).decode(errors="replace").splitlines()
    losses = [line for line in lines[-1000:] if '"loss"' in line]
    try:
        return f"{json.loads(losses[-1])['loss']:.4f}" if losses else None
    except (ValueError, TypeError, KeyError):
        return None  # the last line of a killed run may be torn


def _rounded(value: Any) -> str | None:
    return f"{value:.2f}" if isinstance(value, (int, float)) else None


def _counted(value: Any) -> str | None:
    return f"{value:,}" if isinstance(value, int) else None


def _cell(value: Any) -> str:
    return " ".join(str(value).replace("|", "\\|").split())
