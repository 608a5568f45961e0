from __future__ import annotations

import socket
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from forge.base.errors import UsageError
from forge.control.known import find_job
from forge.launch.address import Endpoint
from forge.launch.attendance import RollCall
from forge.launch.joining import find_run, run_joined
from forge.launch.local import LocalLaunch
from forge.launch.rollcall import answer_roll, call_roll
from forge.launch.torchrun import Meeting

if TYPE_CHECKING:
    from pathlib import Path


def test_the_run_of_the_host_is_found_below_the_own_output_folder(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        endpoint = Endpoint("127.0.0.1", probe.getsockname()[1])
    run = tmp_path / "out" / "runs" / "20260101-tiny"
    run.mkdir(parents=True)
    call = RollCall(endpoint, 2, "7", str(run), 20.0)
    host = threading.Thread(target=call_roll, args=(call, lambda _: None))
    host.start()
    meeting = Meeting(endpoint, 2, "7", hosts=False)
    assert find_run(meeting, str(tmp_path / "out")) == str(run)
    with pytest.raises(UsageError, match="filesystem that all nodes share"):
        find_run(meeting, str(tmp_path / "elsewhere"))
    answer_roll(call, lambda _: None)
    host.join(20)


def test_a_part_of_a_run_is_a_job_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGE_DATA_HOME", str(tmp_path / "data"))
    launch = LocalLaunch((sys.executable, "-c", "import os, sys; sys.exit(int(os.environ['A']))"), {"A": "3"})
    assert run_joined(launch, config="tiny", project="demo", overrides=["a=1"], run_folder=str(tmp_path)) == 3
    job = find_job("tiny-1")
    assert (job.state, job.record.overrides) == ("stopped", ("a=1",))
