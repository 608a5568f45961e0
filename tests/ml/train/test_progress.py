from __future__ import annotations

import io

from rich.console import Console

from forge.ml.train.progress import Progress

RECORD = {"loss": 2.5, "tokens_per_second": 12345.6, "lr": 1e-3}


def _shown(*, terminal: bool) -> str:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=100, color_system=None, markup=False)
    with Progress(20, 10, console=console) as progress:
        for step in range(1, 21):
            progress.step({**RECORD, "step": step})
        progress.evaluated({"step": 20, "dataset": "held_out", "eval_loss": 2.0, "perplexity": 7.389})
        progress.say("[not markup]")
    return stream.getvalue()


def test_a_log_file_gets_a_line_at_the_first_the_last_and_every_logged_step() -> None:
    lines = _shown(terminal=False).splitlines()
    assert [line.split()[1] for line in lines[:3]] == ["1/20", "10/20", "20/20"]
    assert "loss 2.5000" in lines[0]
    assert "12,346 tokens/s" in lines[0]
    assert lines[3] == "step 20: held_out: loss 2.0000, perplexity 7.39"
    assert lines[4] == "[not markup]"
    assert len(lines) == 5


def test_a_log_file_says_how_long_the_steps_took_and_will_take_though_each_takes_minutes() -> None:
    stream, now = io.StringIO(), [0.0]
    console = Console(file=stream, force_terminal=False, width=100, get_time=lambda: now[0])
    with Progress(20, 1, console=console) as progress:
        for step in range(1, 21):
            now[0] += 90
            progress.step({**RECORD, "step": step})
    lines = stream.getvalue().splitlines()
    assert lines[0].endswith("lr 1.00e-03"), "one step has no speed: the first one prepares what the others use"
    assert lines[3].endswith("  0:06:00 gone, 0:24:00 left")
    assert lines[19].endswith("lr 1.00e-03")


def test_a_terminal_gets_a_bar_and_the_lines_above_it() -> None:
    shown = _shown(terminal=True)
    assert "20/20" in shown
    assert "100%" in shown
    assert "held_out: loss 2.0000" in shown
    assert "step 10/20  loss" not in shown
