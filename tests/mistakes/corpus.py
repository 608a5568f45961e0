"""Mistakes people make in configs, each seeded into a copy of the pydoc project, and what `forge check` must say.

A mistake changes files of the project (``edits``: file -> (old text, new text); ``adds``: new files; library files are
changed by putting a changed copy into the project), gives overrides, or both. It counts as caught when one finding is
an error or a warning that names ``says``, at ``at`` (a file name with line, or the text of the override).
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Mistake:
    name: str
    says: tuple[str, ...]
    at: str = ""
    config: str = "pretrain/tiny"
    overrides: tuple[str, ...] = ()
    edits: dict[str, tuple[str, str]] = field(default_factory=dict)
    copies: dict[str, tuple[str, str]] = field(default_factory=dict)
    adds: dict[str, str] = field(default_factory=dict)


TINY = "configs/pretrain/tiny.yaml"

CORPUS = [
    # names of groups, files and keys
    Mistake(
        "misspelt choice in defaults",
        ("'adamww'", "adamw"),
        "tiny.yaml:7",
        edits={TINY: ("/optimizer: adamw", "/optimizer: adamww")},
    ),
    Mistake(
        "misspelt group in defaults",
        ("'optimiser'", "optimizer"),
        "tiny.yaml:7",
        edits={TINY: ("/optimizer: adamw", "/optimiser: adamw")},
    ),
    Mistake(
        "misspelt choice in an override",
        ("'adafactr'", "adafactor"),
        "optimizer=adafactr",
        overrides=("optimizer=adafactr",),
    ),
    Mistake(
        "misspelt group in an override", ("'optimzer'", "optimizer"), "optimzer=adamw", overrides=("optimzer=adamw",)
    ),
    Mistake(
        "misspelt key in an override",
        ("'max_stps'", "max_steps"),
        "trainer.max_stps=3",
        overrides=("trainer.max_stps=3",),
    ),
    Mistake(
        "misspelt nested key in an override",
        ("'hiden_size'", "hidden_size"),
        "model.config.hiden_size=8",
        overrides=("model.config.hiden_size=8",),
    ),
    Mistake(
        "deletion of a key that is not there",
        ("'optimizer.momentum'",),
        "~optimizer.momentum",
        overrides=("~optimizer.momentum",),
    ),
    Mistake(
        "addition of a key that is there",
        ("'optimizer.lr'", "already"),
        "+optimizer.lr=1",
        overrides=("+optimizer.lr=1",),
    ),
    Mistake(
        "misspelt relative default",
        ("'fulll'",),
        "lora.yaml:4",
        config="chat/lora",
        edits={"configs/chat/lora.yaml": ("- full", "- fulll")},
    ),
    Mistake(
        "override of a group that is not in the defaults",
        ("parallell",),
        "tiny.yaml",
        edits={TINY: ("  - _self_", "  - _self_\n  - override /parallell: ddp")},
    ),
    Mistake(
        "choice made twice",
        ("optimizer",),
        "",
        edits={TINY: ("  - /optimizer: adamw", "  - /optimizer: adamw\n  - /optimizer: sgd")},
    ),
    Mistake(
        "config that includes itself",
        ("include each other",),
        "tiny.yaml",
        edits={TINY: ("defaults:", "defaults:\n  - tiny")},
    ),
    Mistake(
        "misspelt top-level section",
        ("optimzer", "optimizer"),
        "tiny.yaml",
        edits={TINY: ("\noptimizer:\n", "\noptimzer:\n")},
    ),
    Mistake(
        "section that nothing uses",
        ("experiment",),
        "tiny.yaml",
        edits={TINY: ("\noptimizer:\n", "\nexperiment: {note: hello}\n\noptimizer:\n")},
    ),
    Mistake(
        "misspelt flag field",
        ("'hlep'", "help"),
        "tiny.yaml",
        edits={TINY: ("\nmeta:", "\nargs:\n  x: {key: trainer.seed, type: int, hlep: x}\n\nmeta:")},
    ),
    Mistake(
        "flag of an unknown type",
        ("'integer'", "int"),
        "tiny.yaml",
        edits={TINY: ("\nmeta:", "\nargs:\n  x: {key: trainer.seed, type: integer}\n\nmeta:")},
    ),
    Mistake(
        "flag that sets no key",
        ("'key'",),
        "tiny.yaml",
        edits={TINY: ("\nmeta:", "\nargs:\n  x: {type: int}\n\nmeta:")},
    ),
    # YAML
    Mistake("tab in the indentation", ("not valid YAML",), "tiny.yaml", edits={TINY: ("  lr: 2.0e-3", "\tlr: 2.0e-3")}),
    Mistake(
        "bracket that is not closed", ("not valid YAML",), "tiny.yaml", edits={TINY: ("[cpu, llama]", "[cpu, llama")}
    ),
    Mistake("key twice", ("'lr'", "twice"), "tiny.yaml", edits={TINY: ("  lr: 2.0e-3", "  lr: 2.0e-3\n  lr: 1.0e-3")}),
    Mistake("colon forgotten", ("colon",), "tiny.yaml", edits={TINY: ("  lr: 2.0e-3", "  lr 2.0e-3")}),
    Mistake("Python tag", ("refused",), "tiny.yaml", edits={TINY: ("  lr: 2.0e-3", "  lr: !!python/name:math.pi")}),
    Mistake(
        "defaults as a mapping",
        ("'defaults' must be a list",),
        "dataset",
        adds={"configs/dataset/pydoc_bad.yaml": "defaults: {a: b}\n"},
        overrides=("dataset=pydoc_bad",),
    ),
    Mistake(
        "mapping laid over a list",
        ("mapping", "list"),
        "tiny.yaml",
        edits={TINY: ("  lr: 2.0e-3", "  betas: {first: 0.9}")},
    ),
    # references
    Mistake(
        "dangling reference",
        ("tokeniser", "tokenizer"),
        "tiny.yaml",
        edits={TINY: ("${tokenizer.vocab_size}", "${tokeniser.vocab_size}")},
    ),
    Mistake(
        "dangling reference below a section",
        ("vocab_sizes", "vocab_size"),
        "tiny.yaml",
        edits={TINY: ("${tokenizer.vocab_size}", "${tokenizer.vocab_sizes}")},
    ),
    Mistake(
        "objects that need each other", ("need each other",), "", overrides=("++model.config.pad_token_id=${trainer}",)
    ),
    Mistake(
        "values that need each other",
        ("seed",),
        "",
        overrides=("trainer.seed='a${model.seed}'", "model.seed='b${trainer.seed}'"),
    ),
    Mistake(
        "unknown resolver", ("'now'",), "output_dir", overrides=("'trainer.output_dir=\"out-${now:%Y}\"'".strip("'"),)
    ),
    Mistake(
        "secret environment variable",
        ("HF_TOKEN", "may not be read"),
        "HF_TOKEN",
        overrides=("trainer.output_dir=${oc.env:HF_TOKEN}",),
    ),
    Mistake(
        "interpolation that does not parse",
        ("parse",),
        "tiny.yaml",
        edits={TINY: ("max_steps: 200", 'max_steps: "${model.seed"')},
    ),
    Mistake(
        "reference out of the config", ("leads out",), "tiny.yaml", edits={TINY: ("${trainer.seed}", "${....seed}")}
    ),
    # objects
    Mistake(
        "misspelt class", ("AdmW", "AdamW"), "optimizer._target_", overrides=("optimizer._target_=torch.optim.AdmW",)
    ),
    Mistake("misspelt module", ("torch.optm",), "", overrides=("optimizer._target_=torch.optm.AdamW",)),
    Mistake(
        "misspelt argument",
        ("'beta'", "betas"),
        "tiny.yaml",
        edits={TINY: ("  lr: 2.0e-3", "  lr: 2.0e-3\n  beta: [0.9, 0.99]")},
    ),
    Mistake("argument of another optimizer", ("momentum",), "momentum", overrides=("+optimizer.momentum=0.9",)),
    Mistake(
        "argument left over after a change of optimizer",
        ("nesterov",),
        "",
        overrides=("optimizer=adafactor", "+optimizer.nesterov=true"),
    ),
    Mistake(
        "misspelt argument of forge's trainer",
        ("max_grad_nrm", "max_grad_norm"),
        "max_grad_nrm",
        overrides=("+trainer.max_grad_nrm=1",),
    ),
    Mistake(
        "misspelt argument of a transformers config",
        ("hiden_size", "hidden_size"),
        "hiden_size",
        overrides=("+model.config.hiden_size=32",),
    ),
    Mistake("text for a number", ("'fast'",), "optimizer.lr=fast", overrides=("optimizer.lr=fast",)),
    Mistake(
        "text for a number of an argument without a flag",
        ("eps",),
        "tiny.yaml",
        edits={TINY: ("  lr: 2.0e-3", "  lr: 2.0e-3\n  eps: small")},
    ),
    Mistake("list for a number", ("max_steps",), "max_steps", overrides=("trainer.max_steps=[1,2]",)),
    Mistake(
        "number for a boolean", ("tie_word_embeddings",), "", overrides=("model.config.tie_word_embeddings=maybe",)
    ),
    Mistake("object for a text", ("output_dir",), "", overrides=("++trainer.output_dir=${model}",)),
    Mistake("missing required argument", ("dataset",), "", overrides=("~tokenizer.dataset",)),
    Mistake("missing required argument of a schedule", ("trainer", "model"), "", overrides=("~trainer.model",)),
    Mistake("misspelt special key", ("_partail_", "_partial_"), "", overrides=("++optimizer={_partail_: true}",)),
    Mistake(
        "special key with the wrong value",
        ("_partial_", "'yes please'"),
        "",
        overrides=("optimizer._partial_='yes please'",),
    ),
    Mistake("target that is no name", ("_target_",), "", overrides=("optimizer._target_=3",)),
    Mistake("symbol that is called", ("_symbol_",), "", overrides=("+model.dtype.x=1",)),
    Mistake("target and symbol", ("_target_ and _symbol_",), "", overrides=("+model.dtype._target_=torch.device",)),
    Mistake("positional arguments that are no list", ("_args_",), "", overrides=("+optimizer._args_=3",)),
    Mistake("too many positional arguments", ("positional",), "", overrides=("+schedule._args_=[1,2,3,4,5,6,7,8,9]",)),
    Mistake("value left open", ("???",), "", overrides=("trainer.output_dir=???",)),
    # what the policy refuses
    Mistake("target that runs a command", ("os.system",), "", overrides=("optimizer._target_=os.system",)),
    Mistake("remote code", ("trust_remote_code",), "", overrides=("+model.config.trust_remote_code=true",)),
    Mistake("pickle by another name", ("torch.load",), "", overrides=("optimizer._target_=torch.load",)),
    # what the config's own flags rule out
    Mistake("negative learning rate", ("-0.1",), "optimizer.lr", overrides=("optimizer.lr=-0.1",)),
    Mistake(
        "batch of nothing", ("0",), "per_device_train_batch_size", overrides=("trainer.per_device_train_batch_size=0",)
    ),
    Mistake(
        "strategy that does not exist", ("'step'", "steps"), "save_strategy", overrides=("trainer.save_strategy=step",)
    ),
    Mistake("fraction for a count", ("max_steps", "1.5"), "", overrides=("trainer.max_steps=1.5",)),
    Mistake("misspelt attention", ("flash_atention_2",), "", overrides=("model.attn_implementation=flash_atention_2",)),
]
