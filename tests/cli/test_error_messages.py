"""Frozen messages: what a user reads after a mistake, as ``error_messages.json`` holds it.

``FORGE_UPDATE_SNAPSHOTS=1 pytest tests/cli/test_error_messages.py`` writes the file anew; read the difference before keeping it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from forge.cli.main import main

GOLDEN = Path(__file__).with_name("error_messages.json")
UPDATE = os.environ.get("FORGE_UPDATE_SNAPSHOTS") == "1"
FILES = {
    "configs/tabs.yaml": "a:\n\tb: 1\n",
    "configs/twice.yaml": "a: 1\nb: 2\na: 3\n",
    "configs/scalar.yaml": "just text\n",
    "configs/tag.yaml": "a: !!python/object/apply:os.system [ls]\n",
    "configs/alias.yaml": "a: *nosuch\n",
    "configs/choice.yaml": "defaults:\n  - size: smal\n  - _self_\n",
    "configs/group.yaml": "defaults:\n  - siez: small\n  - _self_\n",
    "configs/file.yaml": "defaults:\n  - tinny\n  - _self_\n",
    "configs/defaults.yaml": "defaults: small\n",
    "configs/override.yaml": "defaults:\n  - override size: small\n  - _self_\n",
    "configs/dangling.yaml": "trainer: {_target_: builtins.dict, model: '${modle}'}\nmodel: {_target_: builtins.dict}\n",
    "configs/cycle.yaml": "a: {_target_: builtins.dict, b: '${b}'}\nb: {_target_: builtins.dict, a: '${a}'}\n",
    "configs/resolver.yaml": "a: '${oc.evn:HOME}'\n",
    "configs/secret.yaml": "a: '${oc.env:WANDB_API_KEY}'\n",
    "configs/special.yaml": "a: {_target: builtins.dict}\nb: {_taget_: builtins.dict}\n",
    "configs/both.yaml": "a: {_target_: builtins.dict, _symbol_: builtins.dict}\n",
    "configs/refused.yaml": "trainer: {_target_: os.system, command: ls}\n",
    "configs/nosuch.yaml": "trainer: {_target_: math.sine, _args_: [1]}\n",
    "configs/missing.yaml": "trainer:\n  _target_: builtins.dict\n  size: ???\n",
    "configs/flagtype.yaml": "args: {x: {key: a, type: itn}}\na: 1\n",
    "configs/flagkey.yaml": "args: {x: {type: int}}\na: 1\n",
    "configs/fails.yaml": "trainer: {_target_: datetime.timedelta, dayz: 1}\n",
    "bad/project.yaml": "nmae: x\n",
    "bare/project.yaml": "name: bare\n",
}
CASES = [
    # The line itself.
    ["shwo"],
    ["--prject", "x", "ls"],
    ["-p"],
    ["show", "--resolv"],
    ["show", "-t", "tiny"],
    ["show", "tiny"],
    ["--resolve", "show"],
    ["graph", "--format", "png"],
    ["graph", "--depth", "two"],
    ["graph", "--json=1"],
    ["show", "-o"],
    ["show", "-o", "nosuch/folder/x.yaml"],
    ["why"],
    ["diff"],
    ["diff", "tiny", "other", "third"],
    ["diff", "mode=slow", "tiny", "other"],
    ["new", "porject", "x"],
    ["new", "project", "1x"],
    ["new", "config", "tiny"],
    ["completion", "powershell"],
    ["check", "-r", "a=1"],
    ["help", "shwo"],
    ["edit"],
    # Projects and configs.
    ["-p", "dmeo", "ls"],
    ["-p", "bad", "ls"],
    ["-p", "bare", "show"],
    ["-t", "tny", "show"],
    # Files.
    *(
        ["-t", name, "show"]
        for name in ("tabs", "twice", "scalar", "tag", "alias", "choice", "group", "file", "defaults")
    ),
    ["-t", "override", "show"],
    *(["-t", name, "graph"] for name in ("dangling", "cycle", "resolver", "secret", "special", "both")),
    *(["-t", name, "show", "--help"] for name in ("flagtype", "flagkey")),
    # Overrides and the config's own flags.
    ["show", "size=smal"],
    ["show", "siez=small"],
    ["show", "trainer.max_step=5"],
    ["show", "+mode=fast"],
    ["show", "~trainer.nosuch"],
    ["show", "trainer.x=[1,2"],
    ["show", "mode=slow,fast"],
    ["show", "--mode", "fats"],
    ["show", "--max-steps", "0"],
    ["show", "--max-steps", "many"],
    ["show", "--max-step", "5"],
    ["show", "--quiet=perhaps"],
    # Looking and building.
    ["show", "--path", "trainer.max_step"],
    ["show", "--resolve", "+a=${nosuch}"],
    ["why", "max_steps"],
    ["graph", "--target", "trainr"],
    ["graph", "--focus", "trainer.sise"],
    ["graph", "--format", "python", "--depth", "1"],
    ["code", "--target", "nosuch"],
    ["build", "--target", "nosuch"],
    *(["-t", name, "build"] for name in ("refused", "nosuch", "missing", "fails")),
    *(["-t", name, "check"] for name in ("choice", "dangling", "refused", "nosuch", "missing", "fails", "special")),
]


@pytest.fixture(scope="module")
def snapshots() -> dict[str, dict[str, object]]:
    """The frozen messages, or, while they are updated, those that this run collects and writes."""
    return {} if UPDATE else json.loads(GOLDEN.read_text())


@pytest.mark.parametrize("words", CASES, ids=" ".join)
def test_the_message_is_as_it_was_frozen(
    words: list[str],
    project: Path,
    environment: dict[str, str],
    snapshots: dict[str, dict[str, object]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert environment["NO_COLOR"]
    for name, text in FILES.items():
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).write_text(text)
    monkeypatch.chdir(project)
    code = main(words)
    shown = capsys.readouterr()
    errors = _anywhere(shown.err, project)
    found: dict[str, object] = {"exit": code, "errors": errors}
    if words[-1] in {"check", "--help"}:
        found["output"] = _anywhere(shown.out, project)[-4:]
    assert len(errors) <= 3
    assert not any("Traceback" in line or "internal error" in line for line in errors)
    if UPDATE:
        snapshots[" ".join(words)] = found
        GOLDEN.write_text(json.dumps(snapshots, indent=1, ensure_ascii=False) + "\n")
    assert found == snapshots[" ".join(words)]


def _anywhere(text: str, project: Path) -> list[str]:
    """The lines of a text without the folders of this machine."""
    return text.replace(str(project.parent), "HOME").replace(str(GOLDEN.parents[2]), "FORGE").splitlines()


def test_every_frozen_message_has_its_case() -> None:
    assert list(json.loads(GOLDEN.read_text())) == [" ".join(words) for words in CASES]
