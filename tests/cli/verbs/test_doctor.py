from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from forge.doctor import link_speed, storage
from forge.doctor.row import DoctorRow

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Run


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "_MOST", 1 << 20)
    monkeypatch.setattr(link_speed, "_MOST", 1 << 20)


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> list[DoctorRow]:
    """What the doctor finds."""
    found = [
        DoctorRow("software", "torch", "good", "2.13.0"),
        DoctorRow("names", "host name", "warning", "vm", "do it"),
    ]
    monkeypatch.setattr("forge.doctor.examine.examine_here", lambda _wish: found)
    return found


def test_this_machine(run: Run, empty: Path) -> None:
    done = run("doctor", cwd=empty)
    assert done.code in (0, 1)  # it depends on the machine
    assert done.errors == ""
    assert {"software", "network", "storage", "machine", "GPUs", "surroundings"} <= set(done.out.splitlines())
    assert list(empty.iterdir()) == []


def test_the_exit_code_says_whether_anything_is_bad(run: Run, rows: list[DoctorRow]) -> None:
    assert run("doctor").code == 0
    rows.append(DoctorRow("GPUs", "in use", "bad", "by somebody", "ask"))
    done = run("doctor", "--plain")
    assert done.code == 1
    assert done.out.splitlines()[2].startswith("bad ")
    assert done.out.splitlines()[-1] == "1 bad, 1 warning, 1 good"


def test_rows_for_programs(run: Run, rows: list[DoctorRow]) -> None:
    found = json.loads(run("doctor", "--json").out)
    assert [row["name"] for row in found] == [row.name for row in rows]
    assert found[1]["remedy"] == "do it"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--hosts", "a,-b"], "do not begin with a dash"),
        (["--hosts", "a,a"], "named twice"),
        (["--port", "0"], "--port is a number from 1 to 65535"),
        (["--endpoint", "a b"], "nodes meet at a host or host:port"),
        (["--python", "x"], "means nothing without --hosts"),
    ],
)
def test_lines_that_mean_nothing(run: Run, words: list[str], says: str) -> None:
    done = run("doctor", *words)
    assert done.code == 2
    assert says in done.errors


def test_hosts_are_examined_there(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def examined(names: list[str], wish: object, python: str) -> list[DoctorRow]:
        asked.append((names, wish, python))
        return []

    monkeypatch.setattr("forge.doctor.between.examine_hosts", examined)
    assert run("doctor", "--hosts", "a:4,b", "--python", "/x/python", "--folder", "/runs").code == 0
    (names, wish, python) = asked[0]
    assert (names, python) == (["a", "b"], "/x/python")
    assert wish.folder == "/runs"
