from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from forge.launch.rank import rank_log

HERE = Path(__file__).parent


def test_each_rank_has_its_own_place_to_write(run: Path) -> None:
    for rank in (0, 11):
        environment = {**os.environ, "RANK": str(rank), "HOW": "0", "PYTHONPATH": str(HERE)}
        command = [sys.executable, "-m", "forge.launch.rank", "standin", str(run)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout == ("" if rank else "rank 0 speaks\n")
    assert Path(rank_log(str(run), 11)).read_text() == "rank 11 speaks\n"
    assert Path(rank_log(str(run), 11)) == run / "logs" / "rank-11.log"


def test_what_a_rank_fails_with_is_in_its_log(run: Path) -> None:
    environment = {**os.environ, "RANK": "1", "HOW": "no number", "PYTHONPATH": "/no/such/folder"}
    command = [sys.executable, "-m", "forge.launch.rank", "no_such_module", str(run)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    assert "No module named no_such_module" in Path(rank_log(str(run), 1)).read_text()
