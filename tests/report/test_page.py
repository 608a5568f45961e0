from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from forge.report.page import report_page

if TYPE_CHECKING:
    from conftest import Past, Steps

CHECKPOINT = {
    "step": 20,
    "saved": "2026-01-01T10:11:12+00:00",
    "size": 5_000_000,
    "score": {"name": "eval_loss", "value": 2.25},
    "newest": True,
    "best": False,
    "linked": True,
    "reason": "",
}
OUTSIDE = re.compile(r"""(?:src|href)\s*=|url\(|@import|https?://(?!www\.w3\.org/2000/svg)""")


def test_the_page_holds_all_and_fetches_nothing(past: Past, steps: Steps) -> None:
    lines = [
        *steps(20),
        {"step": 20, "dataset": "held_out", "eval_loss": 2.25},
        {"event": "set", "step": 6, "changed": {"lr_scale": [1.0, 0.5]}},
    ]
    job = past("mode=slow", lines=lines)
    folder = Path(job.record.run)
    (folder / "samples.jsonl").write_text(json.dumps({"step": 20, "prompt": "Why", "text": "<b>because</b>"}) + "\n{\n")
    (folder / "config.yaml").write_text("a: <script>\n")
    env = {"python": "3", "host": "h", "packages": {"torch": "2.13"}, "git": {"commit": "abc", "changed": ["x"]}}
    (folder / "env.json").write_text(json.dumps(env))
    launch = {"command": ["python", "-m", "x"], "environment": {"A": "1", "HF_TOKEN": "hunter2"}}
    (folder / "launch.json").write_text(json.dumps(launch))
    text = report_page(job, [CHECKPOINT])
    for expected in (
        "finished",
        "20/20",
        "2.1353",
        "2.2500",
        "step 6: set lr_scale 1.0 -&gt; 0.5",
        "2026-01-01 10:11:12",
        "newest, linked",
        "&lt;b&gt;because",
        "a: &lt;script&gt;",
        "mode=slow",
        "abc, 1 files changed",
        "torch 2.13",
    ):
        assert expected in text, expected
    assert text.count('<svg class="chart"') == 6
    assert "<details><summary>graph" in text
    assert "hunter2" not in text
    assert "<script" not in text
    assert not OUTSIDE.search(text)
    assert "style=" not in text
    assert "default-src 'none'" in text


def test_a_run_that_left_nothing_has_a_page(past: Past) -> None:
    job = past(code=137, lines=[])
    Path(job.record.run, "graph.json").write_text("[")
    Path(job.record.run, "env.json").write_text("[")
    text = report_page(job)
    assert "failed by SIGKILL" in text
    assert "<h2>Curves" not in text
    assert "<h2>Checkpoints" not in text


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs a Chromium on PATH")
def test_a_browser_shows_it_light_and_dark(past: Past, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(report_page(past(), [CHECKPOINT]))
    sizes = set()
    for scheme in (0, 1):
        command = [
            "chromium",
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--blink-settings=preferredColorScheme={scheme}",
        ]
        picture = tmp_path / f"{scheme}.png"
        subprocess.run(
            [*command, f"--screenshot={picture}", "--window-size=1000,1200", f"file://{tmp_path}/report.html"],
            capture_output=True,
            timeout=120,
            check=True,
        )
        sizes.add(picture.read_bytes())
        assert picture.stat().st_size > 20_000
    assert len(sizes) == 2
