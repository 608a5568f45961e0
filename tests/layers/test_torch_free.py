"""Looking at configs never loads torch: all verbs run in one process, which says after each of them what is loaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

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

# Whoever loads something first is named for it; what comes after cannot be told any more.
PROGRAM = """
import contextlib, io, json, sys
from forge.cli.main import main
heavy = set(json.loads(sys.argv[1]))
found = [["import forge.cli.main", 0, sorted(heavy & sys.modules.keys()), ""]]
for words in json.loads(sys.argv[2]):
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            code = main(words)
        except SystemExit as end:
            code = end.code
    known = {name for _, _, names, _ in found for name in names}
    found.append([" ".join(words), code, sorted(heavy & sys.modules.keys() - known), said.getvalue()])
with open(sys.argv[3], "w") as file:
    json.dump(found, file)
"""


def test_a_verb_that_only_looks_leaves_torch_alone(tmp_path: Path, root: Path) -> None:
    report = tmp_path / "loaded.json"
    chosen = ["-p", str(root / "projects" / "pydoc"), "-t", "pretrain/tiny"]
    lines = [words if words[0].startswith("-") else [*chosen, *words] for words in LINES]
    environment = {**os.environ, "FORGE_CACHE_HOME": str(tmp_path / "cache"), "FORGE_DATA_HOME": str(tmp_path / "data")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(HEAVY), json.dumps(lines), str(report)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )
    assert report.exists(), done.stderr
    found = json.loads(report.read_text())
    assert len(found) == len(LINES) + 1
    assert [(line, loaded) for line, _, loaded, _ in found if loaded] == []
    assert [(line, code, said) for line, code, _, said in found if code not in (0, 1)] == []
    assert [line for line, _, _, said in found if "internal error" in said] == []
