from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import pytest

from forge.base.errors import FileError, ModelError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
shards = pytest.importorskip("forge.ml.convert.shards")
stored = pytest.importorskip("forge.ml.models.stored")
from forge.ml.convert.new_model import NewModelFolder  # noqa: E402 - torch has to be there first


def _stored(name: str, count: int) -> Any:
    return stored.Stored(name, "file", (count,), torch.float32, lambda: torch.arange(count, dtype=torch.float32))


def test_files_are_filled_in_order_up_to_the_limit() -> None:
    tensors = {name: _stored(name, count) for name, count in {"a": 2, "b": 3, "c": 9, "d": 1}.items()}
    assert shards.size_of(tensors["c"]) == 36
    assert shards.planned_shards(tensors, 20) == {
        "model-00001-of-00003.safetensors": ["a", "b"],
        "model-00002-of-00003.safetensors": ["c"],
        "model-00003-of-00003.safetensors": ["d"],
    }
    assert shards.planned_shards(tensors, shards.SHARD) == {"model.safetensors": ["a", "b", "c", "d"]}


def test_what_is_written_is_what_was_read(tmp_path: Path, tensors_of: Callable[[Any], dict[str, Any]]) -> None:
    tensors = {f"t{count}": _stored(f"t{count}", count) for count in (1, 5, 30, 0)}
    done: list[int] = []
    with NewModelFolder(str(tmp_path / "new")) as new:
        shards.write_shards(new, tensors, 40, done.append)
        new.commit()
    assert sum(done) == 36 * 4
    found = tensors_of(tmp_path / "new")
    assert all(torch.equal(found[name], tensors[name].read()) for name in tensors)
    assert (tmp_path / "new" / "model.safetensors.index.json").is_file()


def test_a_tensor_of_another_size_than_it_said_is_an_error(tmp_path: Path) -> None:
    wrong = stored.Stored("w", "file", (3,), torch.float32, lambda: torch.zeros(2))
    with (
        pytest.raises(ModelError, match="the tensor w has 8 bytes in place of 12"),
        NewModelFolder(str(tmp_path / "new")) as new,
    ):
        shards.write_shards(new, {"w": wrong}, 100, lambda _size: None)
    assert os.listdir(tmp_path) == []


def test_a_disk_that_fills_up_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_handle: int, _pieces: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "writev", full)
    with pytest.raises(FileError, match="No space left on device"), NewModelFolder(str(tmp_path / "new")) as new:
        shards.write_shards(new, {f"t{n}": _stored(f"t{n}", 20) for n in range(6)}, 100, lambda _size: None)
    assert os.listdir(tmp_path) == []
