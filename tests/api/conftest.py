from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import forge

if TYPE_CHECKING:
    from pathlib import Path

    from forge.api.project import ProjectHandle

FILES = {
    "project.yaml": "name: demo\ndescription: A small project.\ndefault_config: tiny\ngroups: [size]\n",
    "README.md": "# demo\n\nWhat it is.\n\n## More\n\nDetails.\n",
    "configs/tiny.yaml": """\
defaults: [{size: small}, _self_]
meta: {description: A tiny config.}
args: {steps: {key: trainer.steps, type: int}}
api_key: hunter2
trainer: {_target_: builtins.dict, size: "${size}", steps: 100, key: "${api_key}"}
""",
    "configs/other.yaml": "defaults: [tiny, {override size: large}, _self_]\ntrainer: {steps: 200}\n",
    "configs/bad.yaml": "defaults: [{size: smal}]\n",
    "configs/size/small.yaml": "_target_: builtins.dict\ndim: 8\n",
    "configs/size/large.yaml": "_target_: builtins.dict\ndim: 800\n",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProjectHandle:
    for name, text in FILES.items():
        path = tmp_path / "demo" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for kind in ("CONFIG", "DATA", "CACHE"):
        monkeypatch.setenv(f"FORGE_{kind}_HOME", str(tmp_path / kind.lower()))
    monkeypatch.chdir(tmp_path)
    return forge.open(tmp_path / "demo")
