"""What a config says about a run, read from its graph without building anything."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Final

from forge.base.errors import ForgeError
from forge.base.hosts import count_hosts
from forge.base.json_file import read_object
from forge.base.paths import parse_dotted
from forge.graph.node import Call, Const, Expr, Map, Missing
from forge.graph.walk import edges, find, fold
from forge.plan.asked import Choices, RunQuestion
from forge.plan.capability import refusals
from forge.plan.layout import Layout
from forge.plan.near import mending_lines
from forge.plan.optimizer_state import optimizer_plan
from forge.plan.setup import TrainingSetup
from forge.plan.shape import ModelShape, type_of_config

if TYPE_CHECKING:
    from collections.abc import Mapping

    from forge.base.origin import Origin
    from forge.graph.node import Node
    from forge.plan.asked import DeviceKind
    from forge.plan.refusal import Refusal

__all__ = ["RunReading", "origin_of", "plain_data", "read_run", "setup_of"]

_MODEL: Final = "forge.ml.models.causal_lm"
_LAYOUTS: Final = ("forge.ml.parallel.Layout", "forge.plan.layout.Layout")
_LONGEST: Final = 1024
_LARGEST: Final = 16 << 20  # of a model's config.json
_TYPES: Final = ("float32", "bfloat16", "float16")
_SPARED: Final = ("eager", "sdpa_math")


@dataclass(frozen=True)
class RunReading:
    """What was found: `problem` says why there is no `shape`, `refused` why there is no `layout`.

    `parallel` is the node of the layout, `root` that of the config, and `settings` are those of the trainer as plain data.
    """

    root: Node
    settings: Mapping[str, Any]
    model_type: str
    shape: ModelShape | None
    problem: str
    layout: Layout | None
    refused: str
    parallel: Node | None
    ranks: int
    per_node: int

    @property
    def ways(self) -> str:
        """What to write instead of what is no layout, a line each way."""
        lines = (
            mending_lines(_given(self.parallel), self.prefix)
            if self.refused and isinstance(self.parallel, Call)
            else []
        )
        return "\n".join(("possible:", *(f"  {line}" for line in lines))) if lines else ""

    @property
    def sequence_length(self) -> int | None:
        """The longest row that the data gives."""
        dataset = self.settings.get("dataset")
        length = dataset.get("max_length") if isinstance(dataset, dict) else None
        return length if isinstance(length, int) else None

    @property
    def batch_size(self) -> int | None:
        """The rows that a process takes at a time."""
        size = self.settings.get("per_device_train_batch_size")
        return size if isinstance(size, int) else None

    @property
    def accumulation(self) -> int:
        """How many batches make a step."""
        count = self.settings.get("gradient_accumulation_steps")
        return count if isinstance(count, int) and count > 0 else 1

    @property
    def prefix(self) -> str:
        """The dotted path of the layout in the config."""
        return self.parallel.name if self.parallel is not None else "parallel"

    def refusals(
        self,
        *,
        layout: Layout | None = None,
        ranks: int | None = None,
        device: DeviceKind | None = None,
        sequence_length: int | None = None,
        here: bool = False,
    ) -> list[Refusal]:
        """What stands in the way of the run as the config has it, or with another layout, on other processes, with longer rows."""
        layout = layout or self.layout
        if layout is None:
            return []
        asked = RunQuestion(
            shape=self.shape,
            layout=layout,
            ranks=self.ranks if ranks is None else ranks,
            sequence_length=sequence_length or self.sequence_length,
            batch_size=self.batch_size,
            accumulation=self.accumulation,
            device=device,
            here=here,
            vocabulary=_vocabulary_key(self.settings.get("model")),
            choices=Choices.of(self.settings),
            model_type=self.model_type,
        )
        return refusals(asked, self.prefix)

    def place(self, refusal: Refusal) -> tuple[str, Origin | None]:
        """The dotted path that a refusal hangs on, and where it is written."""
        if refusal.key.startswith("/"):
            key = refusal.key[1:]
            above, _, last = key.rpartition(".")
            return key, origin_of(find(self.root, parse_dotted(above)) if above else self.root, last)
        key = f"{self.prefix}.{refusal.key}" if refusal.key else self.prefix
        return key, origin_of(self.parallel, refusal.key)


def read_run(root: Node, main: str | None) -> RunReading | None:
    """What the trainer of a config says; None when the config has none."""
    trainer = find(root, (main,)) if main else None
    if not isinstance(trainer, Call):
        return None
    settings = plain_data(trainer)
    parallel = find(trainer, ("parallel",))
    layout, refused = _layout(parallel)
    model_type, shape, problem = _known_of(settings.get("model"))
    nodes, each, launched = _launch(root)
    return RunReading(
        root,
        settings,
        model_type,
        shape,
        problem,
        layout,
        refused,
        parallel,
        _ranks(launched, layout),
        each if nodes > 1 else 8,
    )


def setup_of(
    reading: RunReading, *, layout: Layout, ranks: int, device: DeviceKind, sequence_length: int | None = None
) -> TrainingSetup:
    """The run of a config in a layout that fits so many processes; ValueError says what cannot be told."""
    if reading.shape is None:
        raise ValueError(reading.problem)
    settings = reading.settings
    optimizer = settings.get("optimizer")
    if not isinstance(optimizer, dict) or not isinstance(optimizer.get("_target_"), str):
        raise ValueError("the config names no optimizer")  # noqa: TRY004 - as all that cannot be told
    model = settings.get("model") or {}
    adapter = model.get("adapter") or {}
    weights = _weight_type(model.get("dtype"))
    choices = Choices.of(settings)
    return TrainingSetup(
        shape=reading.shape,
        optimizer=optimizer_plan(optimizer["_target_"], optimizer),
        layout=layout.for_ranks(ranks),
        ranks=ranks,
        device=device,
        batch_size=reading.batch_size or 1,
        sequence_length=sequence_length or reading.sequence_length or _LONGEST,
        accumulation=reading.accumulation,
        weights=weights,
        precision=_precision(settings.get("mixed_precision"), weights, device),
        rounding=weights == "bfloat16" and not adapter and _rounds(settings),
        checkpointing=settings.get("gradient_checkpointing") or False,
        offload=bool(settings.get("enable_activation_offloading")),
        fused=choices.fused,
        compiled=choices.compiled,
        lean=choices.kernels == "lean",
        whole_logits=choices.whole_logits,
        scores=choices.attention in _SPARED or (reading.shape.dropout and device == "cpu"),
        choices=choices,
        adapter_rank=adapter.get("r", 8) if adapter else None,
        four_bits=str(adapter.get("_target_", "")).endswith("QLora"),
    )


def _rounds(settings: Mapping[str, Any]) -> bool:
    """Whether updates of bfloat16 weights are rounded by chance; optimizers of torchao do that by themselves."""
    how = settings.get("stochastic_rounding", "auto")
    return how is True or (how == "auto" and not settings["optimizer"]["_target_"].startswith("torchao."))


def origin_of(node: Node | None, key: str) -> Origin | None:
    """Where a value of a node is written, or the node itself."""
    if node is None:
        return None
    for edge in edges(node):
        if str(edge.key) == key:
            return edge.origin or edge.node.origin or node.origin
    return node.origin


def plain_data(node: Node) -> Any:
    """A node as plain data: an object is a dict with its ``_target_``, a symbol its name."""
    return fold(node, _plain)


def _plain(node: Node, parts: list[Any]) -> Any:
    if isinstance(node, (Const, Expr)):
        return node.value
    if isinstance(node, Missing):
        return None
    keys = [edge.key for edge in edges(node)]
    if isinstance(node, Call):
        if node.mode == "symbol":
            return node.target
        return {"_target_": node.target, **dict(zip(keys, parts, strict=True))}
    return dict(zip(keys, parts, strict=True)) if isinstance(node, Map) else list(parts)


def _layout(node: Node | None) -> tuple[Layout | None, str]:
    if node is None:
        return Layout(), ""
    if not isinstance(node, Call) or node.target not in _LAYOUTS:
        return None, ""  # an object of somebody's own, or none: there is nothing to judge
    try:
        return Layout(**_given(node)), ""
    except (TypeError, ValueError) as error:
        return None, str(error)


def _given(node: Call) -> dict[str, Any]:
    names = {entry.name for entry in fields(Layout)}
    return {name: value for name, value in plain_data(node).items() if name in names and value is not None}


def _known_of(model: Any) -> tuple[str, ModelShape | None, str]:
    """The type of a model and its shape, as far as its config tells them; or why it does not."""
    model_type = ""
    try:
        config = _model_config(model)
        model_type = type_of_config(config)
        shape = ModelShape.from_config(config)
    except ValueError as error:
        return model_type, None, str(error)
    grown = None if isinstance(model.get("config"), dict) else model.get("resize_to")
    return model_type, replace(shape, vocab=grown) if isinstance(grown, int) else shape, ""


def _model_config(model: Any) -> Mapping[str, Any]:
    """The config of a model, or the one in its folder."""
    if not isinstance(model, dict) or model.get("_target_") != _MODEL:
        made_by = model.get("_target_") if isinstance(model, dict) else None
        raise ValueError(f"nothing is known of the sizes of a model that {made_by or 'no object'} makes")
    config, path = model.get("config"), model.get("path")
    if isinstance(config, dict):
        return config
    if not isinstance(path, str):
        raise ValueError("the config names no model: choose one, or name its folder: -M FOLDER")  # noqa: TRY004 - as above
    return _folder_config(path)


def _vocabulary_key(model: Any) -> str:
    """The value that makes a vocabulary larger: the size of a new model, or what the weights of a folder grow to."""
    if not isinstance(model, dict) or model.get("_target_") != _MODEL:
        return ""
    config = model.get("config")
    if isinstance(config, dict):
        return "model.config.vocab_size"
    return "model.resize_to" if isinstance(model.get("path"), str) else ""


def _folder_config(path: str) -> Mapping[str, Any]:
    file = os.path.join(path, "config.json")
    if not os.path.isfile(file):
        raise ValueError(
            f"the sizes of the model are in {file}, which is not there; "
            "give another folder with -M FOLDER, or name a published size, such as model=llama3_8b"
        )
    try:
        return read_object(file, _LARGEST)
    except ForgeError as error:
        raise ValueError(str(error)) from error


def _launch(root: Node) -> tuple[int, int, int]:
    """Nodes, processes on each, and processes in all, of which hosts may have different numbers."""
    node = find(root, ("launch",))
    launch = plain_data(node) if isinstance(node, Call) else {}
    found = [launch.get(name) for name in ("nodes", "nproc_per_node")]
    nodes, each = (value if isinstance(value, int) and value > 0 else 1 for value in found)
    named = launch.get("hosts")
    hosts = count_hosts(map(str, named), each) if isinstance(named, list) else ()
    return nodes, each, sum(count for _, count in hosts) or nodes * each


def _ranks(launched: int, layout: Layout | None) -> int:
    """How many processes the config means: those it launches, or as many as its layout needs."""
    if launched > 1 or layout is None:
        return launched
    return layout.fixed_ranks * (2 if layout.dp_shard == -1 else 1)


def _weight_type(named: Any) -> Any:
    name = str(named).rpartition(".")[2]
    return name if name in _TYPES else "float32"


def _precision(asked: Any, weights: str, device: DeviceKind) -> Any:
    """What `auto` comes to: bf16 on a GPU, nothing where weights have 16 bits already; a CPU may have no units for it."""
    if asked in ("bf16", "fp16", "no"):
        return asked
    return "bf16" if device == "cuda" and weights == "float32" else "no"
