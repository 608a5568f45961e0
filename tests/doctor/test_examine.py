from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from forge.doctor import link_speed, storage
from forge.doctor.examine import DoctorsWish, examine_here, host_facts, shown_rate

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "_MOST", 1 << 20)
    monkeypatch.setattr(link_speed, "_MOST", 1 << 20)


def test_all_of_one_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NNODES", "2")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    rows = examine_here(DoctorsWish(str(tmp_path), model=str(tmp_path)))
    names = {row.name for row in rows}
    assert {
        "Python",
        "host name",
        "gloo takes",
        "loopback",
        "meeting place",
        "fsync",
        "shared memory",
        "GPUs",
        "nodes",
    } <= names
    assert next(row for row in rows if row.name == "model folder").verdict == "bad"
    assert all(row.found and not row.host for row in rows)
    assert all(row.remedy for row in rows if row.verdict != "good")
    monkeypatch.setenv("PET_NNODES", "3")
    assert "meeting place" not in {row.name for row in examine_here(DoctorsWish(str(tmp_path)), alone=False)}


def test_the_place_that_is_asked_for(tmp_path: Path) -> None:
    rows = examine_here(DoctorsWish(str(tmp_path), endpoint="nosuch.invalid"), alone=False)
    assert next(row for row in rows if row.name == "meeting place").verdict == "bad"
    assert "loopback" not in {row.name for row in rows}


def test_what_is_compared() -> None:
    facts = host_facts()
    assert facts["versions"]["forge"]
    assert set(facts) == {"versions", "addresses", "mtu", "gloo"}
    assert shown_rate(1.5e9) == "1.5 GB/s"
