from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from forge.build.imported import imported_findings

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """\
good: {_target_: builtins.dict, a: 1}
wrong: {_target_: datetime.timedelta, dayz: 1}
partial: {_target_: builtins.dict, _partial_: true}
own: {_target_: mine.thing}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in {
        "project.yaml": "name: demo\n",
        "configs/top.yaml": CONFIG,
        "src/mine/__init__.py": "raise ValueError('not today')\n",
    }.items():
        (tmp_path / "demo" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "demo" / name).write_text(text)
    for kind in ("CONFIG", "DATA", "CACHE"):
        monkeypatch.setenv(f"FORGE_{kind}_HOME", str(tmp_path / kind.lower()))
    return tmp_path / "demo"


def test_code_that_is_not_trusted_is_not_imported(folder: Path) -> None:
    found = {finding.key: str(finding) for finding in imported_findings(str(folder), "top")}
    assert "not trusted" in found["own"]
    assert "good" not in found
    assert "partial" not in found
    assert "mine" not in sys.modules


def test_what_an_import_raises_is_a_finding(folder: Path) -> None:
    from forge.base.trust import trust  # noqa: PLC0415 - the trust of this test's own user

    trust(folder / "src")
    found = {finding.key: str(finding) for finding in imported_findings(str(folder), "top")}
    assert "ValueError: not today" in found["own"]


def test_overrides_and_flags_reach_the_other_process(folder: Path) -> None:
    overrides = ("~own", ("++good._target_=builtins.dictt", "--x y"))
    found = {finding.key: finding for finding in imported_findings(str(folder), "top", overrides)}
    assert "own" not in found
    assert found["good"].origin is not None
