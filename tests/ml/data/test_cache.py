from __future__ import annotations

import json
import resource
from typing import TYPE_CHECKING, Any

import pytest

from forge.base.errors import FileError

if TYPE_CHECKING:
    from pathlib import Path

np = pytest.importorskip("numpy")
cache = pytest.importorskip("forge.ml.data.cache")
tokens_module = pytest.importorskip("forge.ml.data.tokens")
report_module = pytest.importorskip("forge.ml.data.report")

KEY = "ab" * 16
EXAMPLES = [
    (0, np.arange(5, dtype=np.uint32), np.array([0, 1, 1, 0, 1], dtype=np.uint8), 3),
    (2, np.arange(100_000, 100_003, dtype=np.uint32), None, 2),
]


def _keep() -> Any:
    report = report_module.Report(rows=3)
    report.drop("empty", 1)
    return cache.kept(KEY, iter(EXAMPLES), report)


def _same(one: Any, other: Any) -> bool:
    return all(
        np.array_equal(left, right)
        for number in range(len(one))
        for left, right in zip(one.example(number), other.example(number), strict=True)
    )


def test_what_is_kept_is_read_back(own_cache: Path) -> None:
    assert cache.encoded(KEY) is None
    kept = _keep()
    found, report = cache.encoded(KEY)
    assert _same(kept, found)
    assert found.rows.tolist() == [0, 2]
    assert found.learned.tolist() == [3, 2]
    assert report.dropped["empty"].count == 1
    assert own_cache.stat().st_mode & 0o077 == 0


def test_examples_are_written_as_shards_while_they_come(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens_module, "_SHARD", 4)
    kept = _keep()
    assert [len(shard.ids) for shard in kept.shards] == [5, 3]
    assert kept.example(1)[0].tolist() == [100_000, 100_001, 100_002]
    assert (own_cache / KEY / "ids-1").exists()


def test_nothing_used_is_kept_too(own_cache: Path) -> None:
    kept = cache.kept(KEY, iter(()), report_module.Report(rows=1))
    assert len(kept) == 0
    assert own_cache.exists()


def test_an_entry_with_any_flipped_bit_is_not_used(own_cache: Path) -> None:
    _keep()
    for path in sorted((own_cache / KEY).iterdir()):
        content = path.read_bytes()
        if path.name == "facts.json":
            continue
        for place in range(8 * len(content)):
            flipped = bytearray(content)
            flipped[place // 8] ^= 1 << place % 8
            path.write_bytes(flipped)
            assert cache.encoded(KEY) is None, (path.name, place)
        path.write_bytes(content)
        assert cache.encoded(KEY) is not None


@pytest.mark.parametrize("damage", ["missing", "short", "empty", "kind", "json", "list"])
def test_an_entry_that_is_not_whole_is_not_used(own_cache: Path, damage: str) -> None:
    _keep()
    facts, ids = own_cache / KEY / "facts.json", own_cache / KEY / "ids-0"
    if damage == "missing":
        ids.unlink()
    elif damage in ("short", "empty"):
        ids.write_bytes(ids.read_bytes()[: -4 if damage == "short" else 0])
    elif damage == "kind":
        found = json.loads(facts.read_text())
        found["arrays"]["ids-0"][0] = "object"
        facts.write_text(json.dumps(found))
    else:
        facts.write_text("{" if damage == "json" else "[]")
    assert cache.encoded(KEY) is None
    _keep()
    assert cache.encoded(KEY) is not None


def test_of_an_entry_that_cannot_be_written_nothing_is_left(own_cache: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, limits[1]))  # as on a full disk
    try:
        with pytest.raises(FileError) as caught:
            _keep()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "FORGE_CACHE_HOME names another folder" in str(caught.value)
    assert not [path for path in own_cache.rglob("*") if path.is_dir() and path.name == KEY]
    assert cache.encoded(KEY) is None
    assert _same(_keep(), cache.encoded(KEY)[0])


def test_only_a_hash_names_an_entry() -> None:
    for key in ("../../etc", "", "AB" * 16, "ab" * 8):
        with pytest.raises(ValueError, match="a key is a hash"):
            cache.encoded(key)
