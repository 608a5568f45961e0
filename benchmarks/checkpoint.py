"""How fast forge saves, reads and checks checkpoints, next to the disk itself and to others: ``python benchmarks/checkpoint.py``.

Contenders take turns, each round beginning with another one, so that what else the machine and its disk do disturbs all of them;
ratios are taken round by round. ``dd`` writes the same bytes, which it reads from memory: a disk may take zeros more quickly.
``--write docs/performance.md`` puts the tables into the section "Checkpoints" of that page.
"""

from __future__ import annotations

import argparse
import mmap
import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.distributed.checkpoint as dcp
from report import NONE, Table, Verdict, duration, machine, ratio_text, with_section
from safetensors.torch import load_file, save_file
from timing import Timing

from forge.ml.checkpoint.manifest import read_manifest
from forge.ml.checkpoint.saver import Saver
from forge.ml.checkpoint.store import Store
from forge.ml.checkpoint.tensors import as_tensor, read_tensors
from forge.ml.checkpoint.verify import verify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_MEASURES = ("save", "load", "stall")
_SHARDS = 4
_MEMORY = "/dev/shm"  # noqa: S108 - a folder of a name of its own is made in it
_DISK = "dd, with fsync"
_READING = "reading the files"
_WARM = ", from memory"


class Turn(NamedTuple):
    """One way to do it: what is timed, and what is done before it."""

    name: str
    call: Callable[[Path], Any]
    before: Callable[[Path], Any] = lambda _: None


def main() -> int:
    """Measure, print, and perhaps write; 1 with --check when a budget is unmet."""
    options = _options()
    torch.manual_seed(0)
    tables = []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        if "save" in options.only:
            tables.append(_save_table(Path(folder), options))
        if "load" in options.only:
            tables.append(_load_table(Path(folder), options))
        if "stall" in options.only:
            tables.append(_stall_table(Path(folder), options))
    body = "\n\n".join([_intro(options), *(table.markdown() for table in tables)])
    print(body)
    if options.write:
        options.write.write_text(with_section(options.write, "Checkpoints", body))
    unmet = [row for table in tables for row in table.unmet]
    for line in unmet:
        print(f"over budget: {line}", file=sys.stderr)
    return 1 if options.check and unmet else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=1024, help="the size of a checkpoint")
    parser.add_argument("--rounds", type=int, default=5, help="how often each contender has its turn")
    parser.add_argument("--steps", type=int, default=30, help="training steps, of which every fifth is saved")
    parser.add_argument("--folder", type=Path, default=Path.cwd(), help="where to write: the disk that is measured")
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(_MEASURES), help=",".join(_MEASURES))
    parser.add_argument("--write", type=Path, help="put the tables into this page")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a budget is not met")
    return parser.parse_args()


def _intro(options: argparse.Namespace) -> str:
    return (
        f"Measured {machine()}; torch {torch.__version__}. A checkpoint has {options.megabytes:,} MB in {_SHARDS} files of float32 "
        "tensors of 4 MB. Contenders take turns, and ratios are taken round by round. "
        "Repeat it with `python benchmarks/checkpoint.py`."
    )


def _tensors(megabytes: int) -> list[dict[str, torch.Tensor]]:
    """Shards of tensors of 4 MB."""
    count = max(1, megabytes // 4 // _SHARDS)
    return [{f"layer.{n}.weight": torch.randn(1024, 1024) for n in range(count)} for _ in range(_SHARDS)]


def _rounds(turns: list[Turn], folder: Path, rounds: int, *, keep: bool = False) -> dict[str, Timing]:
    """Time all of them in turn, after one round that is not counted; each has an empty folder of its own, or the same one.

    A round begins where the last one began, one further: what a turn leaves to the disk disturbs another one each time.
    """
    timings = {turn.name: Timing(turn.name) for turn in turns}
    for number in range(rounds + 1):
        first = number % len(turns)
        for turn in [*turns[first:], *turns[:first]]:
            place = folder / turn.name.replace("/", " ")
            if not keep:
                shutil.rmtree(place, ignore_errors=True)
                place.mkdir(parents=True)
                os.sync()
            turn.before(place)
            start = time.perf_counter()
            turn.call(place)
            if number:
                timings[turn.name].seconds.append(time.perf_counter() - start)
            if not keep:
                shutil.rmtree(place, ignore_errors=True)
    return timings


def _rows(
    timings: dict[str, Timing], peer: str, megabytes: int, budgets: dict[str, float]
) -> Iterator[tuple[str, ...]]:
    for timing in timings.values():
        against = timings[peer + _WARM] if timing.name.endswith(_WARM) and peer + _WARM in timings else timings[peer]
        ratios = [theirs / ours for ours, theirs in zip(timing.seconds, against.seconds, strict=True)]
        verdict = Verdict()
        if timing.name in budgets:
            verdict = Verdict(f"≥ {budgets[timing.name]:g}x", median(ratios) >= budgets[timing.name])
        speed = f"{megabytes / timing.middle:,.0f}"
        shown = NONE if timing is against else f"{ratio_text(min(ratios))} to {ratio_text(median(ratios))}"
        yield (timing.name, duration(timing.least), duration(timing.middle), speed, shown, *verdict.cells)


# ---- saving


def _save_table(folder: Path, options: argparse.Namespace) -> Table:
    shards = _tensors(options.megabytes)
    megabytes = sum(tensor.nbytes for shard in shards for tensor in shard.values()) / 1e6
    flat = {f"{number}.{name}": tensor for number, shard in enumerate(shards) for name, tensor in shard.items()}

    def disk(place: Path) -> None:
        for number in range(_SHARDS):
            words = ["dd", f"if={memory / str(number)}", f"of={place / str(number)}", "bs=4M", "conv=fsync"]
            subprocess.run(words, check=True, capture_output=True)

    def safetensors(place: Path) -> None:
        for number, shard in enumerate(shards):
            save_file(shard, place / f"{number}.safetensors")

    def forge(place: Path) -> None:
        _forge_save(place, shards)

    turns = [
        Turn(_DISK, disk),
        Turn("forge: hashed, fsync", forge),
        Turn("safetensors save_file", safetensors),
        Turn("safetensors save_file, then fsync", lambda place: (safetensors(place), _sync_all(place))),
        Turn("torch.save", lambda place: torch.save(flat, place / "model.pt")),
        Turn("torch.save, then fsync", lambda place: (torch.save(flat, place / "model.pt"), _sync_all(place))),
        Turn("dcp.save", lambda place: _dcp_save(flat, place)),
    ]
    with tempfile.TemporaryDirectory(dir=_MEMORY) as name:
        memory = Path(name)
        for number, shard in enumerate(shards):
            save_file(shard, memory / str(number))
        timings = _rounds(turns, folder, options.rounds)
    return Table(
        "Saving",
        "Milliseconds from the call to the return, everything in memory before. forge's checkpoint is hashed, on disk and committed "
        "then; what does not say fsync may still be lost with the power. `dd` copies the same bytes out of memory. The ratio is the "
        "speed compared with it.",
        ("what", "least", "median", "MB/s", "times as fast as dd, least to median"),
        list(_rows(timings, _DISK, int(megabytes), {"forge: hashed, fsync": 0.8})),
    )


def _forge_save(place: Path, shards: list[dict[str, torch.Tensor]]) -> str:
    store = Store(place / "checkpoints")
    with store.begin(1) as stage:
        for number, shard in enumerate(shards):
            stage.write_tensors(f"model-{number}.safetensors", shard)
        path = stage.commit()
    store.release()
    return path


def _dcp_save(tensors: dict[str, torch.Tensor], place: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save(tensors, checkpoint_id=place / "dcp", no_dist=True)


def _dcp_load(tensors: dict[str, torch.Tensor], place: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.load(tensors, checkpoint_id=place / "dcp", no_dist=True)


def _sync_all(place: Path) -> None:
    for path in [*place.iterdir(), place]:
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)


# ---- reading


def _load_table(folder: Path, options: argparse.Namespace) -> Table:
    shards = _tensors(options.megabytes)
    megabytes = sum(tensor.nbytes for shard in shards for tensor in shard.values()) / 1e6
    flat = {f"{number}.{name}": tensor for number, shard in enumerate(shards) for name, tensor in shard.items()}
    checkpoint = Path(_forge_save(folder, shards))
    manifest = read_manifest(checkpoint)
    files = sorted(checkpoint.glob("*.safetensors"))
    other = folder / "others"
    other.mkdir()
    torch.save(flat, other / "model.pt")
    _dcp_save(flat, other)
    everything = [*files, other / "model.pt", *(other / "dcp").iterdir()]
    os.sync()
    room = {name: torch.empty_like(tensor) for name, tensor in flat.items()}

    def read(path: Path) -> None:
        rest = memoryview(mmap.mmap(-1, path.stat().st_size))
        with path.open("rb", buffering=0) as file:
            while rest:
                rest = rest[file.readinto(rest[: 8 << 20]) :]

    def check(path: Path) -> None:
        for raw in read_tensors(path, manifest.files[path.name]).values():
            as_tensor(raw)

    def all_files(how: Callable[[Path], None]) -> None:
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            list(pool.map(how, files))

    def forget(_: Path) -> None:
        for path in everything:
            handle = os.open(path, os.O_RDONLY)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)

    ways: list[tuple[str, Callable[[Path], Any]]] = [
        (_READING, lambda _: all_files(read)),
        ("forge: verify", lambda _: verify(checkpoint)),
        ("forge: tensors, each byte checked", lambda _: all_files(check)),
        ("safetensors load_file, unchecked", lambda _: [_touched(load_file(path)) for path in files]),
        ("torch.load, unchecked", lambda _: torch.load(other / "model.pt", weights_only=True)),
        ("dcp.load, unchecked", lambda _: _dcp_load(room, other)),
    ]
    turns = [Turn(name, call, forget) for name, call in ways] + [Turn(name + _WARM, call) for name, call in ways]
    timings = _rounds(turns, folder, options.rounds, keep=True)
    return Table(
        "Reading",
        "Milliseconds to have all tensors in memory: from the disk, its files having been dropped from the system's cache before, and "
        "from that cache. forge's are checked against the manifest before they are given out. The ratio is the speed compared with "
        "reading the same files into memory of their own, as many at a time as there are cores.",
        ("what", "least", "median", "MB/s", "times as fast as reading, least to median"),
        list(
            _rows(
                timings,
                _READING,
                int(megabytes),
                dict.fromkeys(("forge: tensors, each byte checked", "forge: verify"), 0.8),
            )
        ),
    )


def _touched(tensors: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """The tensors in memory of their own: a file that is mapped is read when it is used."""
    return [tensor.clone() for tensor in tensors.values()]


# ---- saving while training


def _stall_table(folder: Path, options: argparse.Namespace) -> Table:
    rows = []
    for name, asynchronous in (("forge, asynchronous", True), ("forge, waiting for the disk", False)):
        plain, saved, stalls, size = _train(folder / name, options.steps, asynchronous=asynchronous)
        step = median(plain)
        share = median(stalls) / step
        most = max(stalls) / step
        slower = max(0.0, median(saved) / step - 1)
        verdict = Verdict("median ≤ 5 %", share <= 0.05) if asynchronous else Verdict()
        cells = (
            f"{size / 1e6:,.0f}",
            duration(step),
            duration(median(stalls)),
            f"{share:.1%}",
            f"{most:.1%}",
            f"{slower:.1%}",
        )
        rows.append((name, *cells, *verdict.cells))
    return Table(
        "Saving while training",
        "A llama of 10 million parameters with AdamW in float32, 8 rows of 512 tokens a step, saved after every fifth step. The stall "
        "is the time that `save` takes from the training, as a share of a step. Slower: by how much the step after it takes "
        "longer, because a second thread hashes and writes on the same cores.",
        ("how", "MB", "step, ms", "stall, ms", "share, median", "most", "next step slower by"),
        rows,
    )


def _train(folder: Path, steps: int, *, asynchronous: bool) -> tuple[list[float], list[float], list[float], int]:
    """The seconds of the steps that follow no save, of those that do, and of the saves; and the bytes of one."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=8192,
        hidden_size=256,
        intermediate_size=1024,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=4,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters())
    tokens = torch.randint(8192, (8, 512))
    saver = Saver(Store(folder / "checkpoints"), keep=2, asynchronous=asynchronous)
    plain: list[float] = []
    after: list[float] = []
    stalls: list[float] = []
    for number in range(steps):
        start = time.perf_counter()
        model(input_ids=tokens, labels=tokens).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds = time.perf_counter() - start
        if number > 1:
            (after if number % 5 == 0 and stalls else plain).append(seconds)
        if number % 5 == 4:
            saver.wait()  # a disk slower than five steps is no stall of this save
            start = time.perf_counter()
            weights = {name: tensor for name, tensor in model.state_dict().items() if name != "lm_head.weight"}
            saver.save([("model.safetensors", weights)], {"optimizer": optimizer.state_dict()}, number)
            if number > 5:  # the first takes the memory for the copies
                stalls.append(time.perf_counter() - start)
    saver.wait()
    newest = saver.store.newest()
    saver.store.release()
    return plain, after, stalls, newest.size if newest else 0


if __name__ == "__main__":
    sys.exit(main())
