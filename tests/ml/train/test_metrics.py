"""The lines every run writes, and the loggers beside them."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from forge.base.errors import ToolError
from forge.ml.train.metrics import Lines, Metrics, open_metrics, plain

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

WRITER = """
import sys
from forge.ml.train.metrics import Metrics
metrics = Metrics(sys.argv[1])
step = 0
while True:
    step += 1
    metrics.write({"step": step, "text": "x" * (step % 3000)})
    if step == 100:
        print("writing", flush=True)
"""


def strict(text: str) -> Any:
    def refuse(name: str) -> None:
        raise ValueError(name)

    return json.loads(text, parse_constant=refuse)


def lines(folder: Path) -> list[Any]:
    text = (folder / "metrics.jsonl").read_text()
    assert text.endswith("\n")
    return [strict(line) for line in text.splitlines()]


class Kept:
    """A sink that keeps what it is given, or fails."""

    def __init__(self, name: str = "kept", error: Exception | None = None) -> None:
        self.name, self.error = name, error
        self.seen: list[Any] = []

    def write(self, record: Mapping[str, Any]) -> None:
        self._take(dict(record))

    def text(self, name: str, text: str, step: int) -> None:
        self._take((name, text, step))

    def close(self) -> None:
        self._take("closed")

    def _take(self, what: Any) -> None:
        if self.error is not None:
            raise self.error
        self.seen.append(what)


class Logger:
    def __init__(self, outcome: Kept | Exception) -> None:
        self.outcome = outcome
        self.opened_with: tuple[str, dict[str, Any]] | None = None

    def open(self, run_folder: str, config: dict[str, Any]) -> Kept:
        self.opened_with = (run_folder, config)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


class Number:
    """As numpy and torch have them."""

    def __init__(self, value: float) -> None:
        self.value = value

    def item(self) -> float:
        return self.value


def test_each_record_is_a_line_and_goes_to_every_sink(tmp_path: Path) -> None:
    one, two = Kept(), Kept()
    metrics = Metrics(str(tmp_path), [one, two])
    metrics.write({"step": 1, "loss": 2.5, "seconds": {"data": 0.1}})
    metrics.text("samples", "hello", 1)
    metrics.close()
    assert lines(tmp_path) == [{"step": 1, "loss": 2.5, "seconds": {"data": 0.1}}]
    assert one.seen == two.seen == [lines(tmp_path)[0], ("samples", "hello", 1), "closed"]


def test_a_line_is_in_the_file_at_once(tmp_path: Path) -> None:
    metrics = Metrics(str(tmp_path))
    metrics.write({"step": 1})
    assert lines(tmp_path) == [{"step": 1}]
    metrics.close()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"loss": math.nan}, {"loss": None, "loss_text": "NaN"}),
        ({"loss": math.inf}, {"loss": None, "loss_text": "Infinity"}),
        ({"loss": -math.inf}, {"loss": None, "loss_text": "-Infinity"}),
        ({"a": {"b": math.nan}}, {"a": {"b": None, "b_text": "NaN"}}),
        ({"a": [1.0, math.inf, "x"]}, {"a": [1.0, "Infinity", "x"]}),
        ({"a": Number(2.5), "b": Number(math.nan)}, {"a": 2.5, "b": None, "b_text": "NaN"}),
        ({"a": True, "b": None, 3: (1, 2)}, {"a": True, "b": None, "3": [1, 2]}),
        ({"a": "\ud800 ü\n"}, {"a": "\ud800 ü\n"}),
        ({"a": complex(1, 2)}, {"a": "(1+2j)"}),
    ],
)
def test_every_line_is_strict_json(tmp_path: Path, value: dict[Any, Any], expected: dict[str, Any]) -> None:
    assert plain(value) == expected
    metrics = Metrics(str(tmp_path))
    metrics.write(value)
    metrics.close()
    assert lines(tmp_path) == [expected]


def test_a_run_that_goes_on_adds_its_lines(tmp_path: Path) -> None:
    for record in ({"step": 1}, {"event": "resumed", "step": 1}):
        metrics = Metrics(str(tmp_path))
        metrics.write(record)
        metrics.close()
    assert lines(tmp_path) == [{"step": 1}, {"event": "resumed", "step": 1}]


@pytest.mark.parametrize(("before", "left"), [('{"a": 1}\n{"b', '{"a": 1}\n'), ('{"a', ""), ("", ""), ("{}\n", "{}\n")])
def test_a_torn_line_of_a_dead_writer_is_taken_away(tmp_path: Path, before: str, left: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(before)
    written = Lines(str(path))
    written.write({"c": 3})
    written.close()
    assert path.read_text() == left + '{"c": 3}\n'


def test_a_writer_that_is_killed_leaves_complete_lines(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"writing\n"
        writer.send_signal(signal.SIGKILL)
    found = lines(tmp_path)
    assert [record["step"] for record in found] == list(range(1, len(found) + 1))
    assert len(found) >= 100


def test_a_sink_that_fails_is_told_of_once_and_the_others_go_on(tmp_path: Path) -> None:
    said: list[str] = []
    good, bad = Kept(), Kept("bad", ConnectionError("the server is away\nand more"))
    metrics = Metrics(str(tmp_path), [bad, good], warn=said.append)
    for step in range(5):
        metrics.write({"step": step})
    assert said == ["bad does not take what it is given, and the run goes on: the server is away"]
    bad.error = None
    metrics.write({"step": 5})
    assert bad.seen == [{"step": 5}]
    metrics.close()
    assert said[1:] == ["bad: 5 records could not be written"]
    assert len(good.seen) == len(lines(tmp_path)) + 1 == 7


def test_a_disk_that_is_full_for_a_while_costs_lines_and_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    metrics = Metrics(str(tmp_path), warn=said.append)
    metrics.write({"step": 1})
    file = metrics._lines._file
    assert file is not None

    class Full:
        def write(self, line: str) -> None:
            file.write(line[:5])
            file.flush()
            raise OSError(28, "No space left on device")

        def close(self) -> None:
            file.close()

    monkeypatch.setattr(metrics._lines, "_file", Full())
    metrics.write({"step": 2})
    metrics.write({"step": 3})
    metrics.close()
    assert lines(tmp_path) == [{"step": 1}, {"step": 3}]
    assert said == [
        "metrics.jsonl does not take what it is given, and the run goes on: [Errno 28] No space left on device",
        "metrics.jsonl: 1 record could not be written",
    ]


def test_without_anybody_to_tell_a_warning_goes_to_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = Metrics(str(tmp_path), [Kept("bad", ValueError("no"))])
    metrics.write({"step": 1})
    metrics.close()
    assert capsys.readouterr().err.startswith("warning: bad does not take what it is given")


def test_the_loggers_of_a_config_are_opened_with_the_run_and_its_config(tmp_path: Path) -> None:
    folder = str(tmp_path / "new")
    one, two = Logger(Kept()), Logger(Kept())
    metrics = open_metrics(folder, [one, two], {"a": 1})
    metrics.write({"step": 1})
    assert one.opened_with == two.opened_with == (folder, {"a": 1})
    metrics.close()
    assert isinstance(two.outcome, Kept)
    assert two.outcome.seen == [{"step": 1}, "closed"]
    assert os.path.exists(os.path.join(folder, "metrics.jsonl"))


def test_a_logger_that_cannot_be_reached_is_left_out(tmp_path: Path) -> None:
    said: list[str] = []
    good = Kept()
    metrics = open_metrics(str(tmp_path), [Logger(TimeoutError("nobody there")), Logger(good)], warn=said.append)
    metrics.write({"step": 1})
    metrics.close()
    assert said == ["Logger cannot be opened, and the run goes on without it: nobody there"]
    assert good.seen == [{"step": 1}, "closed"]


def test_a_logger_whose_package_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="not installed"):
        open_metrics(str(tmp_path), [Logger(ToolError("it is not installed"))])
