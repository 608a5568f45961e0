"""A process that has imported everything once, and forks the processes of each run: importing takes longer than any of them.

Each line of its input is ``{"folder": ..., "processes": ..., "wide": ...}``; it carries out the run that is frozen in ``FOLDER/run`` and answers with
a line: what went wrong, or an empty text. It has one thread only when it forks, so that what it forks is whole.

A run leaves in its folder, written by the first process of each stage: the losses and norms of the steps, the evaluations, every
gradient of the first step, and the weights after the last.
"""

from __future__ import annotations

import faulthandler
import json
import os
import sys
import time
import traceback
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "resume"))

import torch
import torch.distributed as dist
import transformers.integrations.moe
from safetensors.torch import save_file
from small_run import carry_out

from forge.ml.parallel.pieces import wholes
from forge.ml.train.callback import Callback

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from forge.ml.train.run import Run

# What runs import when they need it.
LATER = (
    *("forge.ml.train.loop", "forge.ml.train.setup", "forge.ml.train.saving", "forge.ml.train.restore"),
    *("forge.ml.parallel.spread", "forge.ml.parallel.tensor", "forge.ml.parallel.pipeline", "forge.ml.parallel.shares"),
    *("forge.ml.models.decoder.modeling", "forge.ml.loss.linear", "forge.ml.optim.muon", "torch._dynamo", "peft"),
    *(
        f"transformers.models.{name}.modeling_{name}"
        for name in ("gpt2", "llama", "qwen3", "mistral", "gemma2", "granite", "cohere", "phi3", "qwen3_moe")
    ),
)
LONGEST = 240  # seconds that a run may take on a busy machine


class Watch(Callback):
    """Keeps what a run shows; all processes ask for what is whole, and the first writes it down."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.steps: list[dict[str, float]] = []
        self.evaluations: list[float] = []
        self.ids: list[list[Any]] = []

    def begin(self, run: Run) -> None:
        if run.step:  # what was loaded
            self._keep(run, "began", run.model.named_parameters())

    def before_update(self, run: Run, _loss: float, _norm: float | None) -> bool:
        if run.step == 0:
            gradients = ((name, parameter.grad) for name, parameter in run.model.named_parameters())
            self._keep(run, "gradients", ((name, gradient) for name, gradient in gradients if gradient is not None))
        return True

    def after_step(self, run: Run, record: dict[str, Any]) -> None:
        self.steps.append({name: record[name] for name in ("loss", "grad_norm", "tokens", "trained_tokens")})
        self.ids.append([batch.ids for batch in run.batch])

    def after_evaluation(self, _run: Run, records: list[dict[str, Any]]) -> None:
        self.evaluations += [record["eval_loss"] for record in records]

    def end(self, run: Run) -> None:
        self._keep(run, "weights", run.model.named_parameters())
        (self.folder / f"ids-{run.world.rank}.json").write_text(json.dumps([run.world.data_rank, self.ids]))
        if run.world.first:
            shown = {"steps": self.steps, "evaluations": self.evaluations}
            (self.folder / "figures.json").write_text(json.dumps(shown))

    def _keep(self, run: Run, name: str, tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
        found = wholes({key: tensor.detach() for key, tensor in tensors}, lambda tensor: tensor.clone().contiguous())
        mine = run.world.rank // (run.world.size // run.world.layout.pp)
        if run.world.rank % (run.world.size // run.world.layout.pp) == 0:
            save_file(found, self.folder / f"{name}-{mine}.safetensors")


def meet(folder: Path, rank: int, size: int) -> None:
    """Find the other processes of a run; the first one says at which port."""
    told = folder / "port"
    if rank == 0:
        store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        (folder / "port.new").write_text(str(store.port))
        (folder / "port.new").rename(told)
    else:
        while not told.exists():
            time.sleep(0.01)
        store = dist.TCPStore("127.0.0.1", int(told.read_text()), is_master=False, wait_for_workers=False)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=timedelta(seconds=LONGEST))


def widen() -> None:
    """From now on compute in float64 whatever says float32: layouts that do the same are equal to many more digits."""
    torch.float32 = torch.float = torch.float64
    torch.Tensor.float = torch.Tensor.double
    torch.set_default_dtype(torch.float64)
    # Torch multiplies no groups of matrices in it.
    transformers.integrations.moe._can_use_grouped_mm = lambda *_: False


def be(folder: Path, rank: int, size: int, watch: Callable[[Path], Callback], *, wide: bool) -> None:
    """One process of a run, from its beginning to its end."""
    log = os.open(folder / f"log-{rank}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    faulthandler.dump_traceback_later(LONGEST, exit=True)
    code = 1
    try:
        torch.use_deterministic_algorithms(mode=True)
        if wide:
            widen()
        if size > 1:
            os.environ.update({"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)})
            meet(folder, rank, size)
        carry_out(str(folder / "run"), watch(folder))
        if size > 1:
            dist.barrier()
            dist.destroy_process_group()
        code = 0
    except BaseException:  # noqa: BLE001 - whatever it is, nothing of this process may go on as the one that it was forked from
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def carried_out(folder: Path, size: int, watch: Callable[[Path], Callback], *, wide: bool) -> str:
    """Carry out a run in so many processes; what went wrong."""
    threads = os.listdir("/proc/self/task")
    assert len(threads) == 1, f"{len(threads)} threads: a fork would have one of them"
    children: dict[int, int] = {}
    for rank in range(size):
        child = os.fork()
        if child == 0:
            be(folder, rank, size, watch, wide=wide)
        children[child] = rank
    wrong = ""
    while children:
        child, status = os.wait()
        rank = children.pop(child)
        if status and not wrong:
            wrong = f"process {rank} ended with {os.waitstatus_to_exitcode(status)}:\n"
            wrong += (folder / f"log-{rank}").read_text(errors="replace")[-6000:]
            for other in children:
                os.kill(other, 9)  # they wait for what does not come
    return wrong


def serve(watch: Callable[[Path], Callback] = Watch) -> None:
    """Carry out what comes in, watched by what ``watch`` makes of the folder, until no more comes."""
    for name in LATER:
        import_module(name)
    for line in sys.stdin:
        asked = json.loads(line)
        wrong = carried_out(Path(asked["folder"]), asked["processes"], watch, wide=asked["wide"])
        sys.stdout.write(json.dumps(wrong) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
