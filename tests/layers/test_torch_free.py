"""Looking at configs never loads torch: each verb runs in a process of its own and says what it loaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from forge.cli.registry import VERBS

if TYPE_CHECKING:
    from pathlib import Path

HEAVY = ("torch", "transformers", "tokenizers", "datasets", "numpy", "forge.ml")
# The verbs that call what a config names, or that open another program.
MAY_LOAD = {"build", "edit"}
# What a verb needs besides its name, where the name alone is a mistake.
WORDS = {
    "why": [["why", "model"]],
    "diff": [["diff", "trainer.max_steps=1"], ["diff", "pretrain/tiny", "chat/full"]],
    "graph": [
        ["graph", "--format", form] for form in ("tree", "yaml", "json", "python", "dot", "mermaid", "svg", "html")
    ],
    "completion": [["completion", "bash"], ["completion", "zsh"], ["completion", "fish"]],
    "show": [["show"], ["show", "--resolve"], ["show", "--origins"]],
    "new": [["new", "--help"]],
    "code": [["code"], ["code", "--target", "optimizer"]],
    "__complete": [["__complete", "bash", "forge "]],
    "help": [["help"], ["help", "show"]],
    "train": [["train", "--dry-run"]],
    "save-as": [["save-as", "longer", "optimizer=adafactor", "--dry-run"]],
    "control": [["control", "list"], ["control", "set", "--help"]],
    # Without a job there is nothing to do.
    **{name: [[name, "--help"]] for name in ("abort", "attach", "logs", "save", "stop")},
    # What these do is done by another process.
    "ckpt": [["ckpt", "ls", "--help"]],
    "data": [["data", "show", "--help"]],
    "model": [["model", "show", "--help"]],
    "eval": [["eval", "--help"]],
    **{name: [[name, "--help"]] for name in ("convert", "cp", "download", "export")},
    "peek": [["peek", "--help"]],
    "step": [["step", "--help"]],
    "tb": [["tb", "--help"]],
    "inf": [["inf", "--help"]],
    # Without a terminal it would wait for an editor; tests/lsp speak with it.
    "lsp": [["lsp", "--help"]],
}
LINES = [["--help"], ["--version"]] + [
    words
    for verb in VERBS.all
    if verb.name not in MAY_LOAD
    for words in [[verb.name, "--help"], *WORDS.get(verb.name, [[verb.name]])]
]

PROGRAM = """
import json, os, sys
from forge.cli.main import main
code = main(sys.argv[2:])
with open(sys.argv[1], "w") as file:
    json.dump([code, sorted(sys.modules)], file)
"""


@pytest.mark.parametrize("words", LINES, ids=" ".join)
def test_a_verb_that_only_looks_leaves_torch_alone(words: list[str], tmp_path: Path, root: Path) -> None:
    report = tmp_path / "loaded.json"
    before = [] if words[0].startswith("-") else ["-p", str(root / "projects" / "pydoc"), "-t", "pretrain/tiny"]
    environment = {**os.environ, "FORGE_CACHE_HOME": str(tmp_path / "cache"), "FORGE_DATA_HOME": str(tmp_path / "data")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(report), *before, *words],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )
    assert report.exists(), done.stderr
    code, loaded = json.loads(report.read_text())
    assert code in (0, 1), done.stderr
    assert "internal error" not in done.stderr
    assert [name for name in loaded if name in HEAVY] == []
