"""Graphs made by hand, in the shape of real training configs, and a short way to write them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from forge.base.origin import Origin
from forge.graph.node import Call, Const, Edge, Expr, Graph, Map, Missing, Mode, Node, Seq


@dataclass
class C:
    """A call, written short."""

    target: str
    kwargs: dict[str, Any] = field(default_factory=dict)
    mode: Mode = "call"
    args: list[Any] = field(default_factory=list)


@dataclass
class Ref:
    """A reference to the node at a path that stands earlier."""

    path: str


@dataclass
class Text:
    """A text with an interpolation, and what it comes to."""

    text: str
    value: Any


@dataclass
class Named:
    """A list whose items have names."""

    items: dict[str, Any]


OPEN = object()
"""A value the config leaves open."""


def graph(name: str, config: dict[str, Any]) -> Graph:
    """The graph of a config written short; each value gets a line of a file named after its group."""
    return Graph(name, _Maker(name).node((), config))


class _Maker:
    def __init__(self, name: str) -> None:
        self.name = name
        self.known: dict[str, Node] = {}
        self.lines: dict[str, int] = {}

    def origin(self, path: tuple[Any, ...]) -> Origin:
        group = str(path[0]) if path else self.name
        self.lines[group] = self.lines.get(group, 0) + 1
        file = f"/project/configs/{group}/{self.name}.yaml" if len(path) > 1 else f"/project/configs/{self.name}.yaml"
        return Origin(file, self.lines[group], 3)

    def node(self, path: tuple[Any, ...], value: Any) -> Node:
        origin = self.origin(path)
        node: Node
        if isinstance(value, C):
            args = self.edges((*path, "_args_"), enumerate(value.args))
            kwargs = self.edges(path, value.kwargs.items())
            node = Call(path, value.target, args, kwargs, value.mode, origin=origin, target_origin=origin)
        elif isinstance(value, dict):
            node = Map(path, self.edges(path, value.items()), origin=origin)
        elif isinstance(value, Named):
            node = Seq(path, self.edges(path, value.items.items()), origin=origin)
        elif isinstance(value, list):
            node = Seq(path, self.edges(path, enumerate(value)), origin=origin)
        elif isinstance(value, Text):
            node = Expr(path, value.text, value.value, origin=origin)
        else:
            node = Missing(path, origin=origin) if value is OPEN else Const(path, value, origin=origin)
        self.known[".".join(map(str, path))] = node
        return node

    def edges(self, path: tuple[Any, ...], pairs: Any) -> tuple[Edge, ...]:
        made = []
        for key, value in pairs:
            if isinstance(value, Ref):
                made.append(Edge(key, self.known[value.path], self.origin((*path, key)), ref=True))
            else:
                node = self.node((*path, key), value)
                made.append(Edge(key, node, node.origin))
        return tuple(made)


def training() -> Graph:
    """A training run of about thirty objects."""
    return graph(
        "pretrain/tiny",
        {
            "seed": 42,
            "output_dir": Text("output/${name}", "output/tiny"),
            "tokenizer": C(
                "forge.ml.data.tokenizer.train_bpe",
                {
                    "vocab_size": 4096,
                    "corpus": C("forge.ml.data.pydoc.Topics", {"split": "train"}),
                    "pad_token": "<|pad|>",
                },
            ),
            "model": C(
                "transformers.AutoModelForCausalLM.from_config",
                {
                    "config": C(
                        "transformers.LlamaConfig",
                        {
                            "hidden_size": 256,
                            "intermediate_size": 688,
                            "num_hidden_layers": 6,
                            "num_attention_heads": 8,
                            "num_key_value_heads": 4,
                            "max_position_embeddings": 1024,
                            "rope_theta": 10000.0,
                            "tie_word_embeddings": True,
                            "vocab_size": 4096,
                        },
                    ),
                    "dtype": C("torch.bfloat16", mode="symbol"),
                    "attn_implementation": "sdpa",
                },
            ),
            "dataset": {
                "train": C(
                    "forge.ml.data.PackedDataset",
                    {
                        "source": C(
                            "forge.ml.data.pydoc.Docstrings", {"modules": ["os", "json", "ast"], "split": "train"}
                        ),
                        "tokenizer": Ref("tokenizer"),
                        "length": 1024,
                        "shuffle": C("forge.ml.data.Shuffle", {"seed": 42, "buffer": 10000}),
                    },
                ),
                "eval": C(
                    "forge.ml.data.PackedDataset",
                    {
                        "source": C(
                            "forge.ml.data.pydoc.Docstrings", {"modules": ["os", "json", "ast"], "split": "eval"}
                        ),
                        "tokenizer": Ref("tokenizer"),
                        "length": 1024,
                    },
                ),
                "collator": C("forge.ml.data.Collator", {"tokenizer": Ref("tokenizer"), "pad_to": 64}),
            },
            "optimizer": C(
                "torch.optim.AdamW",
                {"lr": 0.0006, "betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 0.1, "fused": False},
                mode="partial",
            ),
            "schedule": C(
                "forge.ml.optim.schedule.cosine",
                {"warmup": 100, "steps": 2000, "final": 0.1},
                mode="partial",
            ),
            "parallel": C(
                "forge.ml.parallel.Mesh",
                {
                    "dp_replicate": 1,
                    "dp_shard": 2,
                    "tp": 1,
                    "pp": 1,
                    "wrap": C(
                        "forge.ml.parallel.fsdp.Plan",
                        {"reshard": True, "precision": C("torch.bfloat16", mode="symbol")},
                    ),
                },
            ),
            "logging": Named(
                {
                    "console": C("forge.ml.train.log.Console", {"every": 10}),
                    "jsonl": C("forge.ml.train.log.Jsonl", {"file": "metrics.jsonl"}),
                    "tensorboard": C("forge.ml.train.log.TensorBoard", {"folder": "tensorboard", "flush_seconds": 30}),
                }
            ),
            "trainer": C(
                "forge.ml.train.Trainer",
                {
                    "model": Ref("model"),
                    "tokenizer": Ref("tokenizer"),
                    "train": Ref("dataset.train"),
                    "eval": Ref("dataset.eval"),
                    "collator": Ref("dataset.collator"),
                    "optimizer": Ref("optimizer"),
                    "schedule": Ref("schedule"),
                    "parallel": Ref("parallel"),
                    "logging": Ref("logging"),
                    "seed": Ref("seed"),
                    "max_steps": 2000,
                    "batch_size": 32,
                    "accumulate": 4,
                    "clip": 1.0,
                    "loss": C("forge.ml.train.loss.ChunkedCrossEntropy", {"chunk": 4096, "ignore_index": -100}),
                    "checkpoint": C(
                        "forge.ml.checkpoint.Saver",
                        {
                            "every": 500,
                            "keep": 3,
                            "store": C(
                                "forge.ml.checkpoint.Folder",
                                {"path": Text("${output_dir}/checkpoints", "output/tiny/checkpoints")},
                            ),
                        },
                    ),
                    "callbacks": [
                        C("forge.ml.train.callback.Profiler", {"steps": [10, 20], "memory": True}),
                        C("forge.ml.train.callback.EarlyStop", {"metric": "eval_loss", "patience": 5}),
                        C(
                            "forge.ml.train.callback.Sampler",
                            {"tokenizer": Ref("tokenizer"), "prompt": "def main() -> None:\n    ", "every": 500},
                        ),
                    ],
                },
            ),
        },
    )


def decoder(layers: int = 48) -> Graph:
    """A decoder assembled from parts, about six objects a layer, with many callbacks around it."""
    attention = {
        "heads": 32,
        "kv_heads": 8,
        "head_dim": 128,
        "rope": Ref("rope"),
        "norm": C("forge.ml.models.RMSNorm", {"dim": 128, "eps": 1e-5}),
    }

    def layer(index: int) -> C:
        kind = "SlidingAttention" if index % 6 else "FullAttention"
        return C(
            "forge.ml.models.DecoderLayer",
            {
                "index": index,
                "attention": C(f"forge.ml.models.{kind}", dict(attention)),
                "feed_forward": C(
                    "forge.ml.models.SwiGLU",
                    {"dim": 4096, "hidden": 14336, "activation": C("torch.nn.functional.silu", mode="symbol")},
                ),
                "norm1": C("forge.ml.models.RMSNorm", {"dim": 4096, "eps": 1e-5}),
                "norm2": C("forge.ml.models.RMSNorm", {"dim": 4096, "eps": 1e-5}),
            },
        )

    names = [
        "Profiler",
        "EarlyStop",
        "Sampler",
        "GradientNorm",
        "WeightNorm",
        "LearningRate",
        "Memory",
        "Throughput",
        "Evaluator",
        "Uploader",
        "Notifier",
        "Watchdog",
    ]
    return graph(
        "research/decoder",
        {
            "seed": 7,
            "rope": C(
                "forge.ml.models.RotaryEmbedding",
                {"dim": 128, "theta": 500000.0, "scaling": {"factor": 8.0, "low": 1.0, "high": 4.0}},
            ),
            "tokenizer": C("transformers.AutoTokenizer.from_pretrained", {"name": "meta-llama/Llama-3.1-8B"}),
            "model": C(
                "forge.ml.models.Decoder",
                {
                    "embedding": C("torch.nn.Embedding", {"num_embeddings": 128256, "embedding_dim": 4096}),
                    "layers": [layer(index) for index in range(layers)],
                    "norm": C("forge.ml.models.RMSNorm", {"dim": 4096, "eps": 1e-5}),
                },
            ),
            "optimizer": {
                "matrices": C("forge.ml.optim.Muon", {"lr": 0.02, "momentum": 0.95}, mode="partial"),
                "others": C("torch.optim.AdamW", {"lr": 0.0003, "betas": [0.9, 0.95]}, mode="partial"),
            },
            "dataset": Named(
                {
                    f"shard{i}": C(
                        "forge.ml.data.Shard",
                        {
                            "file": f"/data/fineweb/edu/train-{i:05d}-of-00020.parquet",
                            "weight": 0.5 + i / 40,
                            "tokenizer": Ref("tokenizer"),
                        },
                    )
                    for i in range(20)
                }
            ),
            "trainer": C(
                "forge.ml.train.Trainer",
                {
                    "model": Ref("model"),
                    "data": Ref("dataset"),
                    "optimizer": Ref("optimizer"),
                    "tokenizer": Ref("tokenizer"),
                    "max_steps": 100000,
                    "callbacks": [
                        C(f"forge.ml.train.callback.{name}", {"every": 10 * (i + 1), "level": "info"})
                        for i, name in enumerate(names)
                    ],
                },
            ),
        },
    )
