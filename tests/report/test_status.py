from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from forge.control.processes import identity
from forge.control.record import change_record
from forge.control.requests import ask_to_save
from forge.report.folders import named_run
from forge.report.status import status_data, status_lines

if TYPE_CHECKING:
    from conftest import Past


def test_the_status_of_a_run_that_goes_on(past: Past) -> None:
    job = past("mode=slow", code=None)
    change_record(job.id, process=identity(os.getpid()))
    ask_to_save(job.record.run)
    job = named_run(job.record.run, [])
    found = status_data(job)
    assert (found["state"], found["step"], found["total"], found["waiting"]) == ("running", 20, 20, ["SAVE"])
    assert os.getpid() in [one["pid"] for one in found["processes"]]
    assert found["memory"] > 1_000_000
    lines = dict(line.split(maxsplit=1) for line in status_lines(job) if not line.startswith(("last", "run ")))
    assert lines["config"] == "tiny of demo"
    assert lines["overrides"] == "mode=slow"
    assert lines["step"] == "20/20  loss 2.1353  1,000 tokens/s"
    assert lines["waiting"] == "SAVE"


def test_the_status_of_a_run_of_the_past(past: Past) -> None:
    job = past(code=1)
    found = status_data(job)
    assert (found["how"], found["processes"], found["memory"]) == ("failed with exit code 1", [], None)
    assert not any(line.startswith(("waiting", "last step", "processes")) for line in status_lines(job))


def test_it_waits_for_nobody(past: Past) -> None:
    """Whatever the run does meanwhile: what is known lies in files and in the system's list of processes."""
    job = past(code=None)
    began = time.monotonic()
    for _ in range(20):
        status_data(job)
    assert time.monotonic() - began < 10
