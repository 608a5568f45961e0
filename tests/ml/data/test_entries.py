"""What stays in the data cache, and what goes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from forge.ml.data import entries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KEYS = ["aa" * 16, "bb" * 16, "cc" * 16]
DAY = 24 * 3600
# Uses an entry until its input is closed.
USER = "import sys; from forge.ml.data.entries import use; use(sys.argv[1]); print(flush=True); sys.stdin.read()"


@pytest.fixture
def make(own_cache: Path) -> Callable[..., None]:
    """Makes an entry that was last used some days ago."""

    def made(key: str, size: int, days: float) -> None:
        (own_cache / key).mkdir(parents=True)
        (own_cache / key / "ids-0").write_bytes(bytes(size))
        lock = own_cache.parent / "data-in-use" / key
        lock.parent.mkdir(exist_ok=True, mode=0o700)
        lock.touch()
        used = time.time() - days * DAY
        os.utime(lock, (used, used))

    return made


@pytest.fixture
def user(own_cache: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Another process that uses an entry."""
    started: list[subprocess.Popen[str]] = []

    def start(key: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", USER, key],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "FORGE_CACHE_HOME": str(own_cache.parent)},
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "\n"
        return process

    yield start
    for process in started:
        process.communicate(timeout=20)


def _there() -> list[str]:
    return [one.key for one in entries.cache_entries()]


def test_no_cache_has_no_entries(own_cache: Path) -> None:
    assert entries.cache_entries() == []
    assert entries.prune() == []
    assert not own_cache.exists()


def test_entries_stand_in_the_order_of_their_use(make: Callable[..., None]) -> None:
    for key, days in zip(KEYS, (3, 1, 2), strict=True):
        make(key, 10, days)
    assert _there() == [KEYS[1], KEYS[2], KEYS[0]]
    assert [one.size for one in entries.cache_entries()] == [10, 10, 10]
    assert not any(one.in_use for one in entries.cache_entries())


def test_what_was_not_used_for_long_goes(make: Callable[..., None], own_cache: Path) -> None:
    for key, days in zip(KEYS, (29, 31, 400), strict=True):
        make(key, 10, days)
    assert [one.key for one in entries.prune()] == [KEYS[2], KEYS[1]]
    assert _there() == [KEYS[0]]
    assert os.listdir(own_cache) == os.listdir(own_cache.parent / "data-in-use") == [KEYS[0]]


def test_of_too_much_the_least_used_goes(make: Callable[..., None]) -> None:
    for days, key in enumerate(KEYS):
        make(key, 10, days)
    assert entries.prune(largest=30) == []
    assert [one.key for one in entries.prune(largest=29)] == [KEYS[2]]
    assert [one.key for one in entries.prune(largest=0)] == [KEYS[1], KEYS[0]]


def test_what_another_process_uses_stays(
    make: Callable[..., None], user: Callable[[str], subprocess.Popen[str]]
) -> None:
    for key in KEYS[:2]:
        make(key, 10, 400)
    one, other = user(KEYS[0]), user(KEYS[0])
    assert {found.key: found.in_use for found in entries.cache_entries()} == {KEYS[0]: True, KEYS[1]: False}
    assert [found.key for found in entries.prune(largest=0, days=0)] == [KEYS[1]]
    one.communicate(timeout=20)
    assert entries.prune(largest=0, days=0) == []
    other.communicate(timeout=20)
    assert [found.key for found in entries.prune(largest=0, days=0)] == [KEYS[0]]


def test_a_use_is_remembered(make: Callable[..., None], user: Callable[[str], subprocess.Popen[str]]) -> None:
    make(KEYS[0], 10, 400)
    user(KEYS[0]).communicate(timeout=20)
    assert entries.prune() == []
    assert entries.cache_entries()[0].used == pytest.approx(time.time(), abs=60)


def test_looking_is_no_use(make: Callable[..., None]) -> None:
    make(KEYS[0], 10, 3)
    first, again = entries.cache_entries(), entries.cache_entries()
    assert first == again
    assert again[0].used < time.time() - 2 * DAY


def test_what_a_killed_process_left_goes(make: Callable[..., None], own_cache: Path) -> None:
    make(KEYS[0], 10, 1)
    (own_cache / ".trash-12").mkdir()
    (own_cache / ".trash-12" / "ids-0").touch()
    (own_cache.parent / "data-in-use" / KEYS[1]).touch()  # it meant to make an entry
    assert entries.prune(days=0.5) != []
    assert os.listdir(own_cache) == []


def test_an_entry_from_before_there_were_locks_is_an_entry(own_cache: Path) -> None:
    (own_cache / KEYS[0]).mkdir(parents=True)
    assert _there() == [KEYS[0]]
    assert entries.prune() == []
    assert [one.key for one in entries.prune(days=-1)] == [KEYS[0]]


def test_a_new_entry_makes_old_ones_go(make: Callable[..., None]) -> None:
    pytest.importorskip("numpy")
    from forge.ml.data.cache import kept
    from forge.ml.data.report import Report

    make(KEYS[0], 10, 400)
    kept(KEYS[1], iter(()), Report())
    assert _there() == [KEYS[1]]


def test_only_a_hash_names_an_entry() -> None:
    for key in ("../../etc", "", "AB" * 16, "ab" * 8):
        with pytest.raises(ValueError, match="a key is a hash"):
            entries.entry_folder(key)
