from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from forge.base.errors import CheckpointError
from forge.ml.checkpoint.manifest import MANIFEST, Entry, Manifest, Score, _digest, check_name, read_manifest

if TYPE_CHECKING:
    from pathlib import Path

GOOD = Manifest(
    step=100,
    sequence=3,
    saved="2026-01-02T03:04:05+00:00",
    files={"config.json": Entry(2, "a" * 64), "state/optimizer.safetensors": Entry(9, "b" * 64)},
    facts={"loss": 1.5, "run": "r"},
    score=Score("eval_loss", 1.25),
)


def resigned(**changes: Any) -> bytes:
    """A manifest with some of its JSON changed and the hash made right again."""
    body = json.loads(GOOD.to_bytes())
    body.pop("sha256")
    body.update(changes)
    return json.dumps({**body, "sha256": _digest(body)}, indent=1).encode() + b"\n"


def test_what_is_written_is_read_back() -> None:
    assert Manifest.from_bytes(GOOD.to_bytes()) == GOOD
    bare = replace(GOOD, facts={}, score=None)
    assert Manifest.from_bytes(bare.to_bytes()) == bare
    assert resigned() == GOOD.to_bytes()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is no JSON object"),
        (b"\xff\xfe", "is no JSON object"),
        (b"[]", "is no JSON object"),
        (b"[" * 100_000, "is no JSON object"),
        (b'{"a": NaN}', "is no JSON object"),
        (b'{"a": 1e999}', "is no JSON object"),
        (b"{}", "changed or damaged"),
        (GOOD.to_bytes().replace(b"100", b"200"), "changed or damaged"),
        (GOOD.to_bytes() + b" ", "changed or damaged"),
        (GOOD.to_bytes()[:-1], "changed or damaged"),
        (resigned(format=2), "another version of forge"),
        (resigned(extra=1), "does not describe a checkpoint"),
        (resigned(files=[1]), "does not describe a checkpoint"),
        (resigned(files={"x": 1}), "does not describe a checkpoint"),
        (resigned(step="100"), "no number"),
        (resigned(step=True), "no number"),
        (resigned(sequence=-1), "no number"),
        (resigned(facts=[]), "facts"),
        (resigned(score={"name": "x", "value": 1, "greater_is_better": False}), "score"),
        (resigned(score={"nme": "x"}), "does not describe"),
        (resigned(files={"x": {"size": -1, "sha256": "a" * 64}}), "no size or no hash of x"),
        (resigned(files={"x": {"size": 1, "sha256": "z" * 64}}), "no size or no hash of x"),
        (resigned(files={"../x": {"size": 1, "sha256": "a" * 64}}), "cannot be in a checkpoint"),
    ],
)
def test_anything_else_is_refused_with_the_reason(content: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Manifest.from_bytes(content)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "/etc/passwd",
        "../x",
        "a/../b",
        "a//b",
        "a/",
        ".hidden",
        "a/.b",
        "a\\b",
        "a\0b",
        "a\nb",
        "x" * 256,
        MANIFEST,
    ],
)
def test_a_name_that_leaves_the_folder_or_hides_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="names"):
        check_name(name)


@pytest.mark.parametrize("name", ["config.json", "state/optimizer.safetensors", "größe.json", "a b", "x" * 255])
def test_other_names_are_fine(name: str) -> None:
    assert check_name(name) == name


def test_a_manifest_that_is_not_there_or_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"manifest\.json is missing: it was not saved by forge"):
        read_manifest(tmp_path)
    (tmp_path / MANIFEST).mkdir()
    with pytest.raises(CheckpointError, match=r"manifest\.json cannot be read"):
        read_manifest(tmp_path)
    (tmp_path / MANIFEST).rmdir()
    (tmp_path / MANIFEST).write_bytes(b"{")
    with pytest.raises(CheckpointError, match=r"manifest\.json is no JSON object"):
        read_manifest(tmp_path)
    (tmp_path / MANIFEST).unlink()
    os.symlink("elsewhere", tmp_path / MANIFEST)
    with pytest.raises(CheckpointError, match="not a regular file"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("facts", [{"x": float("nan")}, {"x": object()}, {1: 2, "1": object()}])
def test_facts_that_are_no_json_are_refused_when_they_are_written(facts: dict[Any, Any]) -> None:
    with pytest.raises(CheckpointError, match="plain JSON"):
        replace(GOOD, facts=facts).to_bytes()


def test_a_score_knows_which_way_is_better() -> None:
    assert Score("loss", 1.0).beats(Score("loss", 2.0))
    assert not Score("loss", 2.0).beats(Score("loss", 2.0))
    assert Score("accuracy", 2.0, greater_is_better=True).beats(Score("accuracy", 1.0, greater_is_better=True))
