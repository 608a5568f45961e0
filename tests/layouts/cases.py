"""Small models of many families, the layouts that they are trained on, and what is compared."""

from __future__ import annotations

import atexit
import json
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import crc32

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "resume"))

from safetensors.torch import load_file
from small_run import make_project

import forge

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import torch

WORKER = Path(__file__).parent / "worker.py"
STEPS = 20 if os.environ.get("FORGE_FULL") else 6
_NEXT_TO_NOTHING = 1e-3  # a gradient of that norm is judged by its difference alone
BATCH = 8  # rows of all processes together, in each pass of the accumulation
_GPT = ("n_positions", "n_embd", "n_layer", "n_head", "resid_pdrop", "embd_pdrop", "attn_pdrop")
_DECODER = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}


def _family(name: str, **more: Any) -> list[str]:
    """The changes that make a decoder of this family of the small run's GPT-2."""
    settings = {**_DECODER, **more}
    return [
        f"model.config._target_=transformers.{name}Config",
        *(f"~model.config.{setting}" for setting in _GPT),
        *(f"+model.config.{setting}={value}" for setting, value in settings.items()),
    ]


FAMILIES = {
    "gpt2": [
        *("model.config.resid_pdrop=0.0", "model.config.embd_pdrop=0.0"),
        *("model.config.n_layer=4", "model.config.n_head=4"),
    ],
    "llama": _family("Llama"),
    "llama_tied": _family("Llama", tie_word_embeddings="true"),
    "qwen3": _family("Qwen3", head_dim=8),
    "mistral": _family("Mistral", sliding_window=8),
    "gemma2": _family("Gemma2", head_dim=8, sliding_window=8, query_pre_attn_scalar=8),
    "granite": _family("Granite", embedding_multiplier=2.0, logits_scaling=1.5, residual_multiplier=0.7),
    "cohere": _family("Cohere"),
    "phi3": _family("Phi3"),
    "assembled": [],
    "qwen3_moe": _family("Qwen3Moe", head_dim=8, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32),
}


ASSEMBLED = """\
model:
  dtype: {_symbol_: torch.float32}
  config: {vocab_size: 300, hidden_size: 32, num_hidden_layers: 4, max_position_embeddings: 64}
attention: {num_heads: 4}
feedforward: {intermediate_size: 64}
"""


class Case(NamedTuple):
    """A model trained on a layout; ``wide`` in float64."""

    family: str
    layout: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    wide: bool = False

    @property
    def name(self) -> str:
        whole = "-".join((self.family, *self.layout, *self.changes, *(["float64"] if self.wide else [])))
        return f"{re.sub(r'[^a-z0-9_-]+', '_', whole)[:60]}-{crc32(whole.encode()):08x}"


class Apart(NamedTuple):
    """How far a run is from another: the largest relative differences, and of weights the largest difference."""

    losses: float
    first_norm: float
    norms: float
    evaluations: float
    gradients: float
    weights: float


class Outcome(NamedTuple):
    """What a run has shown."""

    losses: list[float]
    norms: list[float]
    tokens: list[int]
    evaluations: list[float]
    gradients: dict[str, torch.Tensor]
    weights: dict[str, torch.Tensor]
    ids: dict[int, list[Any]]
    began: dict[str, torch.Tensor]

    def examples(self) -> list[list[tuple[int, int]]]:
        """Which examples each step has learned from, in their order: processes that read the same count once."""
        steps = len(self.losses)
        passes = len(self.ids[0][0])
        return [
            [
                tuple(one)
                for number in range(passes)
                for rank in sorted(self.ids)
                for one in self.ids[rank][step][number]
            ]
            for step in range(steps)
        ]


def apart(there: Outcome, alone: Outcome) -> Apart:
    """How far a run is from the one in one process; both have to have the same parts."""
    assert len(there.losses) == len(alone.losses) > 0
    assert there.tokens == alone.tokens
    assert there.gradients.keys() == alone.gradients.keys()
    assert there.weights.keys() == alone.weights.keys()
    gradients = [
        float((there.gradients[name].double() - wanted.double()).norm() / (wanted.double().norm() + _NEXT_TO_NOTHING))
        for name, wanted in alone.gradients.items()
    ]
    weights = [
        float((there.weights[name].double() - wanted.double()).abs().max()) for name, wanted in alone.weights.items()
    ]
    return Apart(
        _largest(there.losses, alone.losses),
        _largest(there.norms[:1], alone.norms[:1]),
        _largest(there.norms, alone.norms),
        _largest(there.evaluations, alone.evaluations),
        max(gradients, default=0.0),
        max(weights),
    )


def _largest(found: Sequence[float], wanted: Sequence[float]) -> float:
    """The largest relative difference; what is no number is as far as can be."""
    ratios = [abs(one - other) / abs(other) for one, other in zip(found, wanted, strict=True)]
    return max((ratio if ratio == ratio else float("inf") for ratio in ratios), default=0.0)  # noqa: PLR0124 - of nan


class Starter:
    """A process that starts those of all runs; what it has to import it imports once."""

    def __init__(self, worker: Path = WORKER) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(worker)],
            env={**os.environ, "OMP_NUM_THREADS": "1", "LRU_CACHE_CAPACITY": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def carry_out(self, place: Path, processes: int, *, wide: bool) -> str:
        """Carry out the run that is frozen there; what went wrong."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"folder": str(place), "processes": processes, "wide": wide}) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the process that starts the others has ended"
        return str(json.loads(answer))

    def end(self) -> None:
        """Let it end, when the tests do."""
        self._process.communicate()


@cache
def starter() -> Starter:
    """The one of these tests."""
    made = Starter()
    atexit.register(made.end)
    return made


def carried_out(folder: Path, cases: Sequence[Case], processes: int) -> dict[Case, Outcome]:
    """Train all cases, one after another, each in processes of its own."""
    return {case: _outcome(tried_out(folder, case, processes)) for case in cases}


def tried_out(folder: Path, case: Case, processes: int) -> Path:
    """Train a case; where it has left what is to be compared."""
    project = folder / "project"
    if not project.exists():
        make_the_project(project)
    place = folder / f"{processes}-{case.name}"
    _freeze(project, case, place, processes)
    wrong = starter().carry_out(place, processes, wide=case.wide)
    assert not wrong, f"{case} on {processes} processes: {wrong}"
    return place


def _freeze(project: Path, case: Case, place: Path, processes: int) -> None:
    place.mkdir()
    chosen(project, case, place, processes).freeze(place / "run")


def chosen(project: Path, case: Case, place: Path, processes: int) -> forge.ConfigHandle:
    """The config of a case."""
    data = 1
    for part in case.layout:
        key, _, value = part.partition("=")
        if key in {"parallel.dp_shard", "parallel.dp_replicate"}:
            data *= int(value)
    changes = [
        *FAMILIES[case.family],
        *case.layout,
        "model.attn_implementation=auto",
        f"trainer.output_dir={place / 'out'}",
        f"trainer.max_steps={STEPS}",
        f"trainer.per_device_train_batch_size={BATCH // data}",
        "trainer.save_strategy=no",
        "trainer.eval_strategy=steps",
        "trainer.eval_steps=3",
        *case.changes,
    ]
    assert processes % data == 0
    config = "assembled" if case.family == "assembled" else "run"
    return forge.open(project).config(config, *changes)


def make_the_project(project: Path) -> None:
    """The small run, and beside it one with a decoder put together from parts."""
    make_project(project)
    text = (project / "configs" / "run.yaml").read_text()
    before, _, rest = text.partition("model:\n")
    _, _, after = rest.partition("optimizer:")
    chosen = before.replace("  - _self_", "  - /model: assembled\n  - _self_")
    (project / "configs" / "assembled.yaml").write_text(chosen + ASSEMBLED + "optimizer:" + after)


def _outcome(place: Path) -> Outcome:
    figures = json.loads((place / "figures.json").read_text())
    return Outcome(
        losses=[step["loss"] for step in figures["steps"]],
        norms=[step["grad_norm"] for step in figures["steps"]],
        tokens=[step["trained_tokens"] for step in figures["steps"]],
        evaluations=figures["evaluations"],
        gradients=_together(sorted(place.glob("gradients-*.safetensors"))),
        weights=_together(sorted(place.glob("weights-*.safetensors"))),
        ids=dict(json.loads(path.read_text()) for path in sorted(place.glob("ids-*.json"))),
        began=_together(sorted(place.glob("began-*.safetensors"))),
    )


def _together(files: Iterable[Path]) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for file in files:
        found |= load_file(file)
    return found
