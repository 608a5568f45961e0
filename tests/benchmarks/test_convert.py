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
        size = 2_000_000 if "float32" in arguments[2] else 1_000_000
        (Path(arguments[1]) / "model.safetensors").write_bytes(bytes(size))
        return json.dumps({"seconds": facts["seconds"], "memory": facts["memory"]})

    monkeypatch.setattr(convert, "_python", python)
    monkeypatch.setattr(convert, "_copied", lambda _source, _target: facts["cp"])
    return facts


def test_a_conversion_within_the_bounds_is_reported(
    made_up: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made_up["seconds"] = 0.9
    assert convert.main(["--size", "1", "--shard", "1", "--pairs", "1", "--folder", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "1 MB of bfloat16, written in files of 1 MB" in said
    assert (
        "as it is: 0.90 s, cp of the result 1.00 s (1 MB/s written); 1.11 of cp's bytes a second; peak memory 0.10 shards"
        in said
    )
    assert "to float32: 0.90 s, cp of the result 1.00 s (2 MB/s written); 0.83 of cp's bytes a second" in said
    assert "back to bfloat16: 0.90 s, cp of the result 1.00 s (1 MB/s written); 1.67 of cp's" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("worse", [{"seconds": 0.95}, {"memory": 2_100_000}])
def test_a_bound_that_is_not_kept_is_exit_code_1(
    made_up: dict[str, Any], tmp_path: Path, worse: dict[str, float]
) -> None:
    made_up |= worse
    assert convert.main(["--size", "1", "--shard", "1", "--pairs", "1", "--folder", str(tmp_path)]) == 1
