"""How quick the shell is: ``python benchmarks/shell.py``.

Completion among 10,000 keys of a real config, and the start next to the libraries that a shell like this stands on. ``--write
docs/performance.md`` puts the tables into the section "Shell" of that page.
"""

from __future__ import annotations

import argparse
import os
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles

from report import NONE, Table, Verdict, duration, machine, with_section

_ROOT = Path(__file__).resolve().parents[1]
_PEER = 'python -c "import prompt_toolkit, hydra"'
_LIMIT = 60.0
_P99 = 0.010
_TIMES = 1.5
_VERB = "show "


def main() -> int:
    """Measure, print, and perhaps write; with --check, 1 when a budget is unmet."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="forge-shell-") as folder:
        os.environ |= {f"FORGE_{kind}_HOME": str(Path(folder, kind.lower())) for kind in ("CACHE", "CONFIG", "DATA")}
        tables = [_completion(Path(folder), options.candidates, options.rounds), _start(options.rounds)]
    intro = f"Measured {machine()}. Repeat it with `python benchmarks/shell.py`."
    body = "\n\n".join([intro, *(table.markdown() for table in tables)])
    print(body)
    if options.write:
        options.write.write_text(with_section(options.write, "Shell", body))
    unmet = [row for table in tables for row in table.unmet]
    for line in unmet:
        print(f"over budget: {line}", file=sys.stderr)
    return 1 if unmet and options.check else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=10_000, help="how many keys the config has")
    parser.add_argument("--rounds", type=int, default=10, help="how often each word and each process is measured")
    parser.add_argument("--write", type=Path, help="put the tables into this page")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a budget is not met")
    return parser.parse_args()


def _completion(folder: Path, candidates: int, rounds: int) -> Table:
    """Everything between a key press and the sorted list, for a config whose keys all lie at its top."""
    from forge.shell.rank import Ranker, Usage
    from forge.shell.refresh import Snapshot
    from forge.shell.state import SHELL_VERBS, Choice
    from forge.shell.suggest import suggest

    names = [f"layer_{number % 97}_part_{number}_weight" for number in range(candidates)]
    (folder / "configs").mkdir()
    (folder / "project.yaml").write_text("name: wide\ndefault_config: wide\n")
    (folder / "configs" / "wide.yaml").write_text("".join(f"{name}: {len(name)}\n" for name in names))
    snapshot = Snapshot(Choice(str(folder), str(folder)), SHELL_VERBS)
    usage = Usage()
    for name in names[::100]:
        usage.add_line(f"{_VERB}{name}=1")
    chosen = names[:: max(1, len(names) // 10)][:10]
    words = {
        "beginnings, from the empty word on": [name[:length] for name in chosen for length in range(len(name))],
        "parts of a name": [name[start : start + 6] for name in chosen for start in range(1, len(name) - 6)],
        "letters in order": [f"{name[0]}{name[6:8]}{name[-9:-7]}{end}" for name in chosen for end in ("", "w", "t")],
        "what is in no name": ["zz", "weightlayer", "eeeee", "w9w9", "part__"],
    }
    started = time.perf_counter()
    suggest(_VERB, len(_VERB), snapshot, Ranker(usage))
    first = time.perf_counter() - started
    rows = []
    for what, each in words.items():
        clock, processor = [], []
        for word in dict.fromkeys(each):
            line = _VERB + word
            times, works = [], []
            for _ in range(rounds):
                start, work = time.perf_counter(), time.thread_time()
                suggest(line, len(line), snapshot, Ranker(usage))
                works.append(time.thread_time() - work)
                times.append(time.perf_counter() - start)
            # The median of a word's rounds, so that p99 speaks of the slow words and not of a busy machine.
            clock.append(median(times))
            processor.append(median(works))
        p50, p99 = _percentiles(processor)
        verdict = Verdict(f"p99 ≤ {_P99 * 1000:g} ms", p99 <= _P99)
        waited = [duration(seconds) for seconds in _percentiles(clock)]
        rows.append((what, f"{candidates:,}", f"{len(clock)}", duration(p50), duration(p99), *waited, *verdict.cells))
    text = (
        "From a press of a key to the sorted list with its meanings, in a real config with so many keys at its top; each word's "
        f"median of {rounds} rounds, in milliseconds of processor time, to which the budget is held, and by the clock, which also "
        "shows what else the machine does. The very first question, which composes the config, took "
        f"{duration(first)}; in the shell a thread in the background has done that before."
    )
    head = ("what is typed", "candidates", "words", "p50", "p99", "p50 by the clock", "p99 by the clock")
    return Table("Completion in the shell", text, head, rows)


def _percentiles(seconds: list[float]) -> tuple[float, float]:
    cuts = quantiles(seconds, n=100, method="inclusive")
    return cuts[49], cuts[98]


def _start(rounds: int) -> Table:
    """Whole processes in turn, and how long it takes until a prompt can be typed at."""
    project = str(_ROOT / "projects" / "pydoc")
    python = sys.executable
    ways = {
        _PEER: lambda: _process([python, "-c", "import prompt_toolkit, hydra"]),
        "forge -i -c exit": lambda: _process([python, "-m", "forge", "-p", project, "-i", "-c", "exit"]),
        "forge -i, until the prompt": lambda: _until_prompt([python, "-m", "forge", "-p", project, "-i"]),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(-1, rounds):
        for name, way in ways.items():
            seconds = way()
            if number >= 0:
                taken[name].append(seconds)
    rows = []
    for name, seconds in taken.items():
        ratios = [own / peer for own, peer in zip(seconds, taken[_PEER], strict=True)]
        verdict = Verdict() if name == _PEER else Verdict(f"≤ {_TIMES}x", median(ratios) <= _TIMES)
        shown = NONE if name == _PEER else f"{min(ratios):.2f} to {median(ratios):.2f}"
        rows.append((f"`{name}`", duration(min(seconds)), duration(median(seconds)), shown, *verdict.cells))
    text = (
        "Whole processes, in milliseconds, with the ratio to Python importing prompt_toolkit and Hydra in the same round; the "
        "last row ends when the prompt stands in a terminal and can be typed at."
    )
    return Table("Start of the shell", text, ("process", "least", "median", "ratio, least to median"), rows)


def _process(words: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(words, check=True, capture_output=True, cwd=_ROOT, timeout=_LIMIT)
    return time.perf_counter() - start


def _until_prompt(words: list[str]) -> float:
    """Until ``forge:pydoc`` has been drawn in a terminal; the shell is left afterwards."""
    ours, theirs = os.openpty()
    environment = {**os.environ, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"}
    start = time.perf_counter()
    with subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, cwd=_ROOT, env=environment) as shell:
        os.close(theirs)
        seen = b""
        while b"forge:pydoc" not in seen:
            if not select.select([ours], [], [], _LIMIT)[0]:
                shell.kill()
                raise TimeoutError(f"no prompt appeared, only {seen!r}")
            seen += os.read(ours, 10_000)
        seconds = time.perf_counter() - start
        os.write(ours, b"\x04")
        _drain(ours)
    os.close(ours)
    return seconds


def _drain(terminal: int) -> None:
    """Read what a process still writes: it could not end with a full terminal."""
    try:
        while os.read(terminal, 10_000):
            pass
    except OSError:  # the other side is closed
        return


if __name__ == "__main__":
    sys.exit(main())
