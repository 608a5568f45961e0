from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import pytest

from forge.ml.checkpoint.verify import CHECKPOINT, file_sha256, verify

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize("size", [0, 1, (4 << 20) + 3])
def test_the_hash_of_a_file_is_that_of_its_bytes(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    (tmp_path / "x").write_bytes(content)
    assert file_sha256(tmp_path / "x") == hashlib.sha256(content).hexdigest()


def test_a_quick_look_sees_names_and_sizes_and_a_full_one_every_byte(add: Callable[..., str]) -> None:
    path = add(1)
    assert verify(path) == []
    with open(os.path.join(path, "model.safetensors"), "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"x")
    assert verify(path, quick=True) == []
    assert verify(path) == ["model.safetensors is not as it was written: its hash differs"]
    os.truncate(os.path.join(path, "model.safetensors"), 5)
    assert verify(path, quick=True)[0].startswith("model.safetensors has 5 bytes in place of ")


def test_each_file_that_is_not_right_is_named(add: Callable[..., str]) -> None:
    path = add(1)
    os.unlink(os.path.join(path, "config.json"))
    os.truncate(os.path.join(path, "state", "state.json"), 0)
    with open(os.path.join(path, "more.json"), "w", encoding="utf-8") as file:
        file.write("{}")
    assert [problem.split(" ", 1)[0] for problem in verify(path)] == ["config.json", "state/state.json", "more.json"]


def test_hidden_files_are_nobodys_business(add: Callable[..., str]) -> None:
    path = add(1)
    with open(os.path.join(path, ".DS_Store"), "w", encoding="utf-8") as file:
        file.write("x")
    os.mkdir(os.path.join(path, ".cache"))
    assert verify(path) == []


def test_a_file_that_cannot_be_read_is_a_problem_and_no_exception(
    add: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = add(1)

    def fail(*_: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "readv", fail)
    assert verify(path)[0].endswith(" cannot be read: Input/output error")


def test_a_folder_of_any_other_name_may_hold_a_checkpoint(add: Callable[..., str], tmp_path: Path) -> None:
    os.rename(add(1), tmp_path / "my-model")
    assert verify(tmp_path / "my-model") == []
    assert verify(tmp_path / "none") == ["manifest.json is missing: it was not saved by forge, or not to the end"]


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("checkpoint-1", True),
        ("checkpoint-10-2", True),
        ("checkpoint-", False),
        ("checkpoint-x", False),
        ("xcheckpoint-1", False),
    ],
)
def test_what_a_checkpoint_is_called(name: str, right: object) -> None:
    assert (CHECKPOINT.fullmatch(name) is not None) is right
