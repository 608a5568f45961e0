"""The commands in the tables of the tutorials' projects, and how they are changed so that tiny models do for them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from forge.launch.topology import Topology

ROOT = Path(__file__).resolve().parents[2]
PROJECTS = ("samantha", "torchtune_70b", "nebius", "llamafactory", "nanotron")
TITLE = "## The tutorial's commands"
# Flags of nanotron's launcher that say where a job runs, how large it is and how long.
SIZES = (
    "--run-name",
    "--nodes",
    "--dp",
    "--warmup-steps",
    "--train-steps",
    "--model-size",
    "--per-device-train-batch-size",
    "--hidden-size",
    "--intermediate-size",
    "--num-layers",
    "--num-heads",
    "--num-kv-heads",
)
SMALL = (
    "hidden_size=32",
    "intermediate_size=64",
    "num_hidden_layers=2",
    "num_attention_heads=4",
    "num_key_value_heads=2",
)
WHOLE_MATRICES = ("parallel.tp=1", "parallel.sequence_parallel=false", "parallel.loss_parallel=false")
_CELL = re.compile(r"`((?:[A-Z_]+=\S+ )*forge .*)`")


@dataclass(frozen=True)
class Line:
    """One command of a table: the words behind ``forge``, and the variables that stand before it."""

    project: str
    number: int
    environment: tuple[tuple[str, str], ...]
    words: tuple[str, ...]

    @property
    def config(self) -> str:
        return self.words[self.words.index("-t") + 1] if "-t" in self.words else ""

    @property
    def verb(self) -> str:
        rest = list(self.words)
        while rest and rest[0] in ("-p", "-t"):
            del rest[:2]
        return rest[0] if rest else ""

    @property
    def trains(self) -> bool:
        """Whether it starts a training, where it is run as it stands."""
        return self.verb == "train" and not {"--dry-run", "--help"} & {*self.words}

    def value(self, flag: str) -> str:
        return self.words[self.words.index(flag) + 1] if flag in self.words else ""

    def __str__(self) -> str:
        return shlex.join([*(f"{name}={value}" for name, value in self.environment), "forge", *self.words])


def lines_of(project: str) -> list[Line]:
    """The commands of a project's table, in order."""
    text = (ROOT / "projects" / project / "README.md").read_text(encoding="utf-8")
    table = text.partition(TITLE)[2].partition("\n## ")[0]
    rows = [row.split(" | ") for row in table.splitlines() if row.startswith("| ")][1:]
    return [_line(project, number, row) for number, row in enumerate(rows, start=1)]


def _line(project: str, number: int, row: list[str]) -> Line:
    assert len(row) == 3, f"{project}: {row}"
    found = _CELL.fullmatch(row[1].strip())
    assert found, f"{project}: {row[1]}"
    words = shlex.split(found[1])
    at = words.index("forge")
    environment = tuple((name, value) for name, _, value in (word.partition("=") for word in words[:at]))
    return Line(project, number, environment, tuple(words[at + 1 :]))


def looked_at(line: Line, fresh: str | None = None) -> list[str] | None:
    """The words with which a line can be looked at in no time: trainings as dry runs; None for what takes more.

    ``fresh`` is an output folder in place of one that has been used.
    """
    if line.verb == "control":
        return list(line.words) if line.words[1] in ("list", "cleanup") else None
    if line.verb in ("download", "convert", "export", "inf", "tb", "doctor"):
        return None
    if (line.verb, line.words[-1]) == ("check", "-r") or (line.verb == "plan" and "-M" in line.words):
        return None
    front = ["--dry-run", *(["--output-dir", fresh] if fresh else [])]
    return _with_front(list(line.words), front) if line.trains else list(line.words)


def tiny(line: Line, data: dict[str, Any], *, port: int, fresh: str | None) -> list[str]:
    """The words with which a training trains a tiny model: ten steps, two processes at most, data of its own.

    ``data`` is the composed config, and ``fresh`` an output folder in place of one that has been used.
    """
    words = _without_sizes(line.words) if line.project == "nanotron" else list(line.words)
    words = [word.replace(":29400", f":{port}") for word in words if word != "--show-logs"]
    steps = "12" if "--resume-from-checkpoint" in words else "10"
    shown = (line.project, line.config) == ("samantha", "llama2_7b/1gpu_default")  # in TensorBoard, later on
    front = [*([] if shown else ["logging=none"]), *_parts(line, data)]
    front += ["--max-steps", "20000" if "--detach" in words else steps] if "--max-steps" not in words else []
    front += ["--output-dir", fresh] if fresh else []
    if data["launch"]["kind"] != "local":
        # Matrices and copies are both cut where four processes are left of sixteen.
        count = "4" if data["parallel"]["tp"] > 1 and data["parallel"]["zero_stage"] else "2"
        return _with_front(words, [*front, "-d", "cpu", "--nproc", count, *_here(data["launch"])])
    several = data["launch"]["nproc_per_node"] > 1 and line.project == "samantha"
    return _with_front(words, [*front, "-d", "cpu"], ["--nproc-per-node", "2"] if several and "--" not in words else [])


def _parts(line: Line, data: dict[str, Any]) -> list[str]:
    if line.project == "samantha":
        pipeline = ["parallel.pp=2", "launch.nproc_per_node=2"] if data["parallel"]["pp"] > 1 else []
        return ["dataset=samantha_sample", "trainer.eval_steps=2", *pipeline]
    if line.project == "nanotron":
        return _small_llama(data)
    name = "data/talks" if "dataset=xlam" in line.words else "data/instructions"
    shape = ["parallel.tp=2"] if data["parallel"]["tp"] > 1 else []
    return [f"dataset.train.name={name}", "dataset.max_length=64", "trainer.torch_compile=auto", *shape]


def _here(launch: dict[str, Any]) -> list[str]:
    """The overrides that bring a job of a cluster to this machine: what only a cluster can have is as if it were not said."""
    usual = {entry.name: entry.default for entry in fields(Topology)}
    kept = {"env", "job_name", "rdzv_backend", "gpus_per_node", "cpus_per_node", "kind", "_target_"}
    said = [name for name in launch if name not in kept and launch[name] not in (None, [], {}, usual[name])]
    return ["launch=local", *(f"++launch.{name}={str(usual[name]).lower().replace('none', 'null')}" for name in said)]


def _small_llama(data: dict[str, Any]) -> list[str]:
    cut = ["parallel.pp=2", *WHOLE_MATRICES] if data["parallel"]["pp"] > 1 else []
    own = ["tokenizer.path=models/tiny"] if "path" in data["tokenizer"] else []
    sizes = [f"model.config.{size}" for size in (*SMALL, "vocab_size=512")]
    name = "dataset.train.name=data/text"
    rest = ["schedule.warmup_steps=0", "parallel.dp_replicate=-1", "trainer.gradient_accumulation_steps=2"]
    return [name, "dataset.max_length=64", *rest, *sizes, *cut, *own]


def _without_sizes(words: tuple[str, ...]) -> list[str]:
    kept, rest = [], iter(words)
    for word in rest:
        if word in SIZES:
            next(rest)
        else:
            kept.append(word)
    return kept


def _with_front(words: list[str], front: list[str], behind: list[str] | None = None) -> list[str]:
    """The words with more in front of the ``--``, and behind it."""
    at = words.index("--") if "--" in words else len(words)
    tail = [*words[at + 1 :], *(behind or [])]
    return [*words[:at], *front, *(["--", *tail] if tail else [])]
