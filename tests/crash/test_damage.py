"""Checkpoints that were damaged on disk: found out before a tensor of them is used, and the newest whole one is taken."""

from __future__ import annotations

import os
import random
import shutil
from typing import TYPE_CHECKING

import pytest

from forge.base.errors import CheckpointError, ResumeError
from forge.ml.checkpoint.manifest import MANIFEST, read_manifest
from forge.ml.checkpoint.store import Store, open_checkpoint
from forge.ml.checkpoint.tensors import read_tensors
from forge.ml.checkpoint.verify import verify

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SHARDS = ("model.safetensors", "state/optimizer.safetensors")
JSON = ("config.json", "tokenizer.json", "state/state.json")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def halve(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def fill_with_zeros(path: Path) -> None:
    path.write_bytes(bytes(len(path.read_bytes())))


def zero_the_end(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2].ljust(len(content), b"\0"))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def remove(path: Path) -> None:
    path.unlink()


def make_a_folder_of(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "x").write_text("x")


def make_a_link_of(path: Path) -> None:
    path.rename(path.with_name(".moved"))
    path.symlink_to(".moved")


def take_from_another_step(path: Path) -> None:
    """The file of the checkpoint before, which is of the same size."""
    newer, older = path.parts.index("checkpoint-3"), "checkpoint-2"
    shutil.copy(os.path.join(*path.parts[:newer], older, *path.parts[newer + 1 :]), path)


DAMAGES: list[Callable[[Path], None]] = [
    truncate,
    halve,
    fill_with_zeros,
    zero_the_end,
    empty,
    lengthen,
    remove,
    make_a_folder_of,
    make_a_link_of,
    take_from_another_step,
]
CASES = [
    pytest.param(damage, name, id=f"{damage.__name__}-{name}")
    for damage in DAMAGES
    for name in (*SHARDS, *JSON, MANIFEST)
    # The tokenizer and the state's JSON are the same, or as good as the same, in each of these checkpoints.
    if not (damage is take_from_another_step and name == "tokenizer.json")
    if not (damage is zero_the_end and name == "tokenizer.json")
]


@pytest.mark.parametrize(("damage", "name"), CASES)
def test_the_newest_whole_checkpoint_is_taken_and_one_line_names_the_file(
    with_steps: Callable[..., Path], damage: Callable[[Path], None], name: str
) -> None:
    folder = with_steps(1, 2, 3) / "checkpoints"
    damage(folder / "checkpoint-3" / name)
    said: list[str] = []
    newest = Store(folder).newest(said.append)
    assert newest is not None
    assert newest.step == 2
    assert len(said) == 1
    assert "checkpoint-3 is skipped: " in said[0]
    assert os.path.basename(name) in said[0]
    with pytest.raises(CheckpointError, match=r"checkpoint-3 cannot be used"):
        open_checkpoint(folder / "checkpoint-3")


@pytest.mark.parametrize(
    "name", ["model-00002-of-00002.safetensors", "adapter_config.json", "state/more.safetensors", "x/y"]
)
def test_a_file_too_many_is_found_because_a_loader_might_take_it(with_steps: Callable[..., Path], name: str) -> None:
    folder = with_steps(1, 2) / "checkpoints"
    (folder / "checkpoint-2" / name).parent.mkdir(exist_ok=True)
    shutil.copy(folder / "checkpoint-1" / "model.safetensors", folder / "checkpoint-2" / name)
    said: list[str] = []
    newest = Store(folder).newest(said.append)
    assert newest is not None
    assert newest.step == 1
    assert said == [f"{folder / 'checkpoint-2'} is skipped: {name} was not saved with it"]


def test_a_checkpoint_under_the_name_of_another_is_not_taken(with_steps: Callable[..., Path]) -> None:
    folder = with_steps(1, 2) / "checkpoints"
    shutil.copytree(folder / "checkpoint-1", folder / "checkpoint-9")
    said: list[str] = []
    newest = Store(folder).newest(said.append)
    assert newest is not None
    assert newest.step == 2
    assert [found.reason for found in Store(folder).list() if not found.valid] == [
        f"{MANIFEST} is of step 1: it belongs to another folder"
    ]


def test_the_last_few_may_all_be_damaged(with_steps: Callable[..., Path]) -> None:
    folder = with_steps(*range(1, 9)) / "checkpoints"
    for step, damage in zip(range(3, 9), DAMAGES, strict=False):
        damage(folder / f"checkpoint-{step}" / "model.safetensors")
    said: list[str] = []
    newest = Store(folder).newest(said.append)
    assert newest is not None
    assert newest.step == 2
    assert [line.split("/checkpoint-")[1][0] for line in said] == list("876543")


def test_where_none_is_whole_a_run_does_not_start_from_nothing(with_steps: Callable[..., Path]) -> None:
    folder = with_steps(1, 2) / "checkpoints"
    for step in (1, 2):
        truncate(folder / f"checkpoint-{step}" / "model.safetensors")
    with pytest.raises(ResumeError, match=r"none of the 2 checkpoints in .* can be used: checkpoint-2: model\.safet"):
        Store(folder).newest()


def test_where_there_is_none_at_all_it_does(tmp_path: Path) -> None:
    assert Store(tmp_path / "nothing").newest() is None


def test_each_of_a_thousand_flipped_bits_is_found(with_steps: Callable[..., Path]) -> None:
    folder = with_steps(1) / "checkpoints" / "checkpoint-1"
    manifest = read_manifest(folder)
    sizes = {name: (folder / name).stat().st_size for name in (*manifest.files, MANIFEST)}
    choose = random.Random(7)
    found = 0
    for _ in range(1000):
        name = choose.choices(list(sizes), list(sizes.values()))[0]
        bit = choose.randrange(8 * sizes[name])
        flip(folder / name, bit)
        problems = verify(folder)
        found += len(problems) == 1 and problems[0].startswith(name)
        if name in SHARDS:
            with pytest.raises(CheckpointError, match="is not as it was written"):
                read_tensors(folder / name, manifest.files[name])
        flip(folder / name, bit)
    assert found == 1000
    assert verify(folder) == []


def flip(path: Path, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([byte ^ (1 << bit % 8)]))


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 40
