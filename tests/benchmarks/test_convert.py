"""The benchmark of conversions, with the clock and the processes made up."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

_PATH = Path(__file__).parents[2] / "benchmarks" / "convert.py"
_SPEC = importlib.util.spec_from_file_location("benchmark_of_convert", _PATH)
assert _SPEC is not None
assert _SPEC.loader is not None
convert = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(convert)


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What copies and conversions take: seconds, and bytes of memory."""
    facts: dict[str, Any] = {"cp": 1.0, "seconds": 1.0, "memory": 100_000}

    def python(_program: str, *arguments: str) -> str:
        if len(arguments) == 3 and arguments[1].isdecimal():  # the model is made
            (Path(arguments[0]) / "model-00001.safetensors").write_bytes(bytes(1_000_000))
            return ""
        Path(arguments[1]).mkdir()
        return json.dumps({"seconds": facts["seconds"], "memory": facts["memory"]})

    monkeypatch.setattr(convert, "_python", python)
    monkeypatch.setattr(convert, "_copied", lambda _source, _target: facts["cp"])
    return facts


def test_a_conversion_within_the_bounds_is_reported(
    made_up: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made_up["seconds"] = 1.25
    assert convert.main(["--size", "1", "--shard", "1", "--pairs", "1", "--folder", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "1 MB in files of 1 MB; cp with fsync writes 1 MB/s" in said
    assert "as it is: 1 MB/s, 0.80 of cp; peak memory 0.10 shards" in said
    assert "to float32: 2 MB/s, 1.60 of cp" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("worse", [{"seconds": 1.3}, {"memory": 2_100_000}])
def test_a_bound_that_is_not_kept_is_exit_code_1(
    made_up: dict[str, Any], tmp_path: Path, worse: dict[str, float]
) -> None:
    made_up |= worse
    assert convert.main(["--size", "1", "--shard", "1", "--pairs", "1", "--folder", str(tmp_path)]) == 1
