from __future__ import annotations

import json
from typing import TYPE_CHECKING

from forge.control.known import find_job
from forge.control.record import change_record

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Run

    Begin = Callable[..., Path]
    Past = Callable[..., str]


def test_without_jobs(run: Run) -> None:
    assert run("jobs") == (0, "", "no jobs: `forge train` starts one\n")
    assert run("jobs", "--json") == (0, "[]\n", "")


def test_the_table(run: Run, begin: Begin, past: Past) -> None:
    past(1, started="2026-01-01T00:00:00+00:00", ended="2026-01-01T01:02:03+00:00")
    begin()
    change_record(past(), ended="", host="node7")
    done = run("jobs")
    assert done.code == 0
    head, first, second, third = (line.split("  ") for line in done.out.splitlines())
    assert [word.strip() for word in head if word] == ["job", "config", "state", "step", "loss", "time", "run folder"]
    assert [word.strip() for word in first if word.strip()] == [
        "tiny-1",
        "a/tiny",
        "failed with exit code 1",
        "1:02:03",
        "/runs/x",
    ]
    assert [word.strip() for word in second if word.strip()][:5] == ["tiny-2", "tiny", "running", "5/300", "2.5000"]
    assert second[-1].strip() == "run-1"
    assert [word.strip() for word in third if word.strip()][2] == "on node7"
    data = json.loads(run("jobs", "--json").out)
    assert [one["state"] for one in data] == ["failed", "running", "elsewhere"]
    assert data[1]["pid"] == find_job().record.process.pid
    assert (data[1]["overrides"], data[1]["step"], data[1]["total"]) == (["a=1"], 5, 300)


def test_old_jobs_are_shown_when_asked_for(run: Run, past: Past) -> None:
    for _ in range(7):
        past()
    done = run("jobs")
    assert [line.split()[0] for line in done.out.splitlines()[1:]] == [f"tiny-{number}" for number in range(3, 8)]
    assert done.errors == "2 older: jobs --all shows them, cleanup forgets those that have ended\n"
    assert len(run("jobs", "--all").out.splitlines()) == 8
    assert len(json.loads(run("jobs", "--json", "--all").out)) == 7
