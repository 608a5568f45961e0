"""A run as one web page that stands alone: how it ended, its curves, its checkpoints, its config, and what it ran on.

Nothing is fetched and nothing runs: a content security policy lets only the page's own style in.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from html import escape
from typing import TYPE_CHECKING, Any, Final

from forge.base.errors import ForgeError
from forge.base.files import read_bounded
from forge.base.secrets import MASK, is_secret_name
from forge.base.sizes import shown_size
from forge.control.known import shown_loss, spoken_time
from forge.control.progress import progress_of
from forge.report.chart import ChartLine, chart, smoothed
from forge.report.compare import frozen_graph, run_summary, shown_number
from forge.report.figures import LoggedFigures
from forge.report.watch import event_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from forge.control.known import KnownJob
    from forge.report.compare import RunSummary
    from forge.report.figures import Points

__all__ = ["report_page"]

_STYLE: Final = re.compile(r"<style>(.*?)</style>", re.DOTALL)
_LIMIT: Final = 4 << 20
_MOST_NODES: Final = 400  # of a graph that is drawn
_PACKAGES: Final = (
    "forge",
    "torch",
    "transformers",
    "tokenizers",
    "datasets",
    "peft",
    "safetensors",
    "torchao",
    "numpy",
)
_SAMPLES: Final = 6
_GOOD: Final = ("finished", "running", "stopped")
_COLOURS: Final = "bcd"


def report_page(job: KnownJob, checkpoints: Sequence[dict[str, Any]] = ()) -> str:
    """The page; ``checkpoints`` are those of the run, as ``forge ckpt ls --json`` lists them."""
    found, figures = run_summary(job), LoggedFigures(job.record.run)
    graph = _graph(job)
    style = read_bounded(os.path.join(os.path.dirname(__file__), "page.css"), _LIMIT).decode()
    sections = [
        ("Curves", f'<div class="charts">{"".join(_charts(figures))}</div>' if figures.steps else ""),
        ("Events", _list(map(event_text, figures.events))),
        ("Checkpoints", _checkpoints(checkpoints)),
        ("What it wrote", _samples(job)),
        ("Config", _config(job, graph)),
        ("Environment", _environment(job)),
    ]
    body = "\n".join(f"<section><h2>{title}</h2>{text}</section>" for title, text in sections if text)
    title = escape(f"{job.config}: {found.name}")
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy([style, *_STYLE.findall(graph)])}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{title}</title>\n'
        f"<style>{style}</style>\n</head>\n<body>\n<main>\n{_head(found)}\n{body}\n</main>\n</body>\n</html>\n"
    )


def _policy(styles: Iterable[str]) -> str:
    digests = [base64.b64encode(hashlib.sha256(style.encode()).digest()).decode() for style in styles]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return f"default-src 'none'; style-src {allowed}; base-uri 'none'; form-action 'none'"


def _head(run: RunSummary) -> str:
    job, measured = run.job, run.measured
    facts = [
        ("state", job.how, "good" if job.state in _GOOD else "bad"),
        ("step", progress_of(job.record.run).steps, ""),
        ("loss", shown_loss(measured.loss), ""),
        *((f"eval {name}", shown_loss(value), "") for name, value in measured.eval_loss.items()),
        ("duration", "" if job.seconds is None else spoken_time(job.seconds), ""),
        ("tokens", "" if measured.tokens is None else _short(measured.tokens), ""),
        ("tokens/s", shown_number(measured.tokens_per_second), ""),
        ("memory", "" if measured.memory is None else shown_size(measured.memory), ""),
    ]
    cells = "".join(
        f'<div><dt>{escape(name)}</dt><dd class="{kind}">{escape(text)}</dd></div>'
        for name, text, kind in facts
        if text
    )
    where = f"{job.record.host}:{job.record.run}" if job.record.host else job.record.run
    started = f"started {job.record.started[:16].replace('T', ' ')} UTC"
    return f'<h1>{escape(job.config)}</h1>\n<p class="where">{escape(where)}<br>{started}</p>\n<dl class="facts">{cells}</dl>'


def _charts(figures: LoggedFigures) -> Iterator[str]:
    marks = [(float(event["step"]), event_text(event)) for event in figures.events]
    evaluated = [
        ChartLine(f"eval {name}", points, _COLOURS[number % len(_COLOURS)])
        for number, (name, points) in enumerate(figures.evaluated().items())
    ]
    yield _figure("Loss", [*_calm("train", figures.series("loss")), *evaluated], marks, cut=True)
    yield _figure("Learning rate", [ChartLine("lr", figures.series("lr"))], marks, zero=True)
    yield _figure("Norm of the gradients", _calm("mean", figures.series("grad_norm")), marks, cut=True)
    yield _figure("Tokens per second", _calm("mean", figures.series("tokens_per_second")), marks, zero=True)
    parts = ("forward", "backward", "optimizer", "data")
    seconds = [
        ChartLine(name, figures.series(f"seconds.{name}"), style) for name, style in zip(parts, "abcd", strict=True)
    ]
    yield _figure("Seconds of a step", seconds, marks, zero=True)
    memory = [(step, size / 1e9) for step, size in figures.series("memory")]
    yield _figure("Memory, at most so far, in GB", [ChartLine("memory", memory)], marks, zero=True)


def _calm(name: str, points: Points) -> list[ChartLine]:
    """A figure that jumps from step to step, with its mean."""
    mean = smoothed(points)
    return [ChartLine(name, mean)] if mean is points else [ChartLine("each step", points, "raw"), ChartLine(name, mean)]


def _figure(
    title: str, lines: Sequence[ChartLine], marks: Sequence[tuple[float, str]], *, zero: bool = False, cut: bool = False
) -> str:
    lines = [line for line in lines if line.points]
    drawn = chart(title, lines, marks=marks, zero=zero, cut=cut)
    if not drawn:
        return ""
    keys = "".join(f'<span class="legend {line.style}"><span>{escape(line.name)}</span></span>' for line in lines)
    legend = keys if len(lines) > 1 else ""
    return f"<figure><figcaption><h3>{escape(title)}</h3>{legend}</figcaption>{drawn}</figure>"


def _checkpoints(found: Sequence[dict[str, Any]]) -> str:
    rows = []
    for one in found:
        score = one.get("score")
        marks = ", ".join(name for name in ("newest", "best", "linked") if one.get(name))
        measured = f"{score['name']} {shown_loss(score['value'])}" if score else ""
        saved = str(one.get("saved", ""))[:19].replace("T", " ")
        state = str(one.get("reason") or "valid")
        rows.append([str(one["step"]), saved, shown_size(one.get("size") or 0), measured, marks, state])
    return _table(["step", "saved", "size", "score", "", "state"], rows)


def _samples(job: KnownJob) -> str:
    lines = _text(job, "samples.jsonl").splitlines()[-_SAMPLES:]
    found = []
    for line in lines:
        try:
            one = json.loads(line)
            about = f"after step {one['step']}, {one['prompt']!s:.200}"
            found.append(f'<p class="soft">{escape(about)}</p><blockquote>{escape(str(one["text"]))}</blockquote>')
        except (ValueError, KeyError, TypeError):
            continue
    return "".join(found)


def _config(job: KnownJob, graph: str) -> str:
    overrides = "".join(f"{escape(one)}\n" for one in job.record.overrides)
    config = escape(_text(job, "config.yaml"))
    return "".join(
        [
            f"<pre>{overrides}</pre>" if overrides else '<p class="soft">without overrides</p>',
            f'<details><summary>graph</summary><div class="graph">{graph}</div></details>' if graph else "",
            f"<details><summary>config.yaml</summary><pre>{config}</pre></details>" if config else "",
        ]
    )


def _graph(job: KnownJob) -> str:
    """The picture of the config, unless it would be a wall of cards, or is damaged."""
    from forge.graph.walk import walk
    from forge.render.svg import svg

    try:
        graph = frozen_graph(job)
    except ForgeError:
        return ""
    if sum(1 for _ in walk(graph.root)) > _MOST_NODES:
        return ""
    return svg(graph, title="", engine="auto")


def _environment(job: KnownJob) -> str:
    try:
        found = json.loads(_text(job, "env.json") or "{}")
        launch = json.loads(_text(job, "launch.json") or "{}")
    except ValueError:
        return ""
    packages = dict(found.get("packages") or {})
    own = {name.lower(): version for name, version in packages.items()}
    git = found.get("git") or {}
    changed = len(git.get("changed") or ())
    rows = [
        ["command", " ".join(map(str, launch.get("command") or ()))],
        ["variables", _variables(launch.get("environment") or {})],
        ["host", str(found.get("host", ""))],
        ["platform", str(found.get("platform", ""))],
        ["processors", str(found.get("processors", ""))],
        ["python", str(found.get("python", ""))],
        ["git", f"{git['commit']}{f', {changed} files changed' if changed else ''}" if git.get("commit") else ""],
        *([name, own[name]] for name in _PACKAGES if name in own),
    ]
    text = _table(["", ""], [row for row in rows if row[1]])
    if not packages:
        return text if found or launch else ""
    whole = "\n".join(f"{name} {version}" for name, version in packages.items())
    return f"{text}<details><summary>all {len(packages)} packages</summary><pre>{escape(whole)}</pre></details>"


def _variables(environment: dict[str, Any]) -> str:
    return " ".join(f"{name}={MASK if is_secret_name(name) else value}" for name, value in environment.items())


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    top = "".join(f"<th>{escape(name)}</th>" for name in head) if any(head) else ""
    lines = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table>{f"<tr>{top}</tr>" if top else ""}{lines}</table></div>'


def _list(texts: Iterable[str]) -> str:
    lines = "".join(f"<tr><td>{escape(text)}</td></tr>" for text in texts)
    return f"<table>{lines}</table>" if lines else ""


def _text(job: KnownJob, name: str) -> str:
    """The text of a file in the run folder, empty where there is none."""
    try:
        return read_bounded(os.path.join(job.record.run, name), _LIMIT).decode("utf-8", "replace")
    except ForgeError:
        return ""


def _short(count: float) -> str:
    """``1.31 B`` for 1,310,720,000."""
    unit = next(((size, name) for size, name in ((1e12, "T"), (1e9, "B"), (1e6, "M")) if count >= size), None)
    return shown_number(count) if unit is None else f"{count / unit[0]:.3g} {unit[1]}"
