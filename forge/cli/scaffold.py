"""New projects and new configs that work as they are: they check clean and they build."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

from forge.base.errors import FileError, UsageError
from forge.compose.new_file import new_config_file

if TYPE_CHECKING:
    from forge.api.project import ProjectHandle
    from forge.compose.project import ConfigFile

__all__ = ["new_config", "new_config_or_choice", "new_project"]

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]*\Z")

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

_CHOICE: Final = "# What this choice is, in one line.\n"
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
    made = new_config_file(project.project, name)
    if os.path.exists(made.file):
        raise FileError(f"the config {made.name!r} is there already", hint=f"open it: forge -t {made.name} edit")
    return _child(project, made, parent)


def new_config_or_choice(project: ProjectHandle, made: ConfigFile, parent: str | None = None) -> str:
    """Write a new file below the project's configs, as a choice where its folder is a group, and return it."""
    if made.name.partition("/")[0] not in project.groups():
        return _child(project, made, parent)
    _write(made.file, _CHOICE)
    return made.file


def _child(project: ProjectHandle, made: ConfigFile, parent: str | None) -> str:
    name, path = made
    parent = project.project.config_name(project.project.config_name(parent))  # a default config may be missing
    text = _CHILD.format(name=name, parent=parent, title=name.rpartition("/")[2].replace("_", " ").capitalize())
    _write(path, (_PACKAGE_HEADER if "/" in name else "") + text)
    return path


def _write(path: str, text: str) -> None:
    from forge.base.files import make_folder, write_atomic  # only a new project needs it

    make_folder(os.path.dirname(path))
    write_atomic(path, text)
