"""New projects and new configs that work as they are: they check clean and they build."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

from forge.base.errors import FileError, UsageError

if TYPE_CHECKING:
    from forge.api import ProjectHandle

__all__ = ["new_config", "new_project"]

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]*\Z")
_CONFIG_NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)*\Z")

_PROJECT: Final = """\
name: {name}
description: {name}, a project for forge.
default_config: train
source: src
"""

_README: Final = """\
# {name}

Put text files (`*.txt`) into `texts/`, one document a file, and train a small model on them.

    forge ls                # the configs of this project
    forge graph             # what a config describes
    forge check             # what is wrong with it
    forge build             # build it

The texts are read by `src/{package}/__init__.py`. Forge imports that code only while it is as you trusted it: after a
change, run `forge trust`.
"""

_CONFIG: Final = """\
# A tiny Llama from scratch, with its own tokenizer, on the texts of this project.
defaults:
  - /args: train
  - /tokenizer: bpe
  - /model: tiny
  - /optimizer: adamw
  - /schedule: cosine
  - /parallel: single
  - /logging: tensorboard
  - /callback: nonfinite
  - /launch: local
  - /trainer: default
  - _self_

meta:
  name: Train
  description: A tiny Llama from scratch, with its own tokenizer, on the texts of this project.
  kind: pretrain

dataset:
  _target_: forge.ml.data.corpus.TextCorpus
  train: {{_target_: {package}.documents, split: train}}
  held_out: {{_target_: {package}.documents, split: held_out}}
  max_length: 256

tokenizer:
  vocab_size: 280  # the one text here holds no more; raise it with the texts
  model_max_length: ${{model.config.max_position_embeddings}}

model:
  seed: ${{trainer.seed}}
  config:
    vocab_size: ${{tokenizer.vocab_size}}
    bos_token_id: 1
    eos_token_id: 2

trainer:
  output_dir: output/{name}/train
  max_steps: 100
"""

_SOURCE: Final = '''\
"""The texts of {name}: one document for each file in the project's folder ``texts``."""

from __future__ import annotations

from pathlib import Path

__all__ = ["documents"]

TEXTS = Path(__file__).resolve().parents[2] / "texts"


def documents(split: str = "train") -> list[str]:
    """The documents to learn from, or those held out for evaluation: every tenth file."""
    files = sorted(TEXTS.glob("*.txt"))
    return [
        file.read_text(encoding="utf-8") for number, file in enumerate(files) if (number % 10 == 9) == (split != "train")
    ]
'''

_TEXT: Final = """\
A config says what to build: a model, the data it learns from, and how it learns. Values that belong together stand in
one file, and a file can stand on others. To change one value, change it in one place, or on the command line.
"""

_CHILD: Final = """\
# {name}: {parent} with changes.
defaults:
  - /{parent}
  - _self_

meta:
  name: {title}
  description: {parent} with changes.
"""

_PACKAGE_HEADER: Final = "# @package _global_\n"


def new_project(path: str) -> str:
    """Make a project in a new folder and return the folder; its code is trusted, since forge wrote it."""
    name = os.path.basename(os.path.normpath(path))
    if not _NAME.match(name):
        raise UsageError(
            f"{name!r} cannot be the name of a project", hint="letters, digits, - and _, beginning with a letter"
        )
    if os.path.exists(path) and (not os.path.isdir(path) or os.listdir(path)):
        raise FileError(f"{path} is there already", hint="choose another name, or an empty folder")
    # The package gets a name of its own: one called like an installed library would be hidden by it.
    package = f"{name.replace('-', '_').lower()}_text"
    for relative, template in {
        "project.yaml": _PROJECT,
        "README.md": _README,
        "configs/train.yaml": _CONFIG,
        f"src/{package}/__init__.py": _SOURCE,
    }.items():
        _write(os.path.join(path, relative), template.format(name=name, package=package))
    _write(os.path.join(path, "texts", "first.txt"), _TEXT)
    from forge.base.trust import trust  # only a new project needs it

    trust(os.path.join(path, "src"))
    return path


def new_config(project: ProjectHandle, name: str, parent: str | None = None) -> str:
    """Write a config that stands on another one (the default config) and return its file."""
    name = name.removesuffix(".yaml")
    if not _CONFIG_NAME.match(name):
        raise UsageError(f"{name!r} cannot be the name of a config", hint="write it like tiny or pretrain/tiny")
    if name.partition("/")[0] in project.groups() and "/" in name:
        group = name.partition("/")[0]
        raise UsageError(
            f"{group!r} is a config group, so {name!r} would be a choice of it", hint="choose another folder"
        )
    path = os.path.join(project.project.config_folder, f"{name}.yaml")
    if os.path.exists(path):
        raise FileError(f"the config {name!r} is there already", hint=f"open it: forge -t {name} edit")
    parent = project.project.config_name(project.project.config_name(parent))  # a default config may be missing
    text = _CHILD.format(name=name, parent=parent, title=name.rpartition("/")[2].replace("_", " ").capitalize())
    _write(path, (_PACKAGE_HEADER if "/" in name else "") + text)
    return path


def _write(path: str, text: str) -> None:
    from forge.base.files import make_folder, write_atomic  # only a new project needs it

    make_folder(os.path.dirname(path))
    write_atomic(path, text)
