"""What a conversion costs: its speed beside `cp` with fsync on the same disk, and its peak memory beside the size of a shard.

    python benchmarks/convert.py [--size 2000] [--shard 500] [--pairs 3] [--folder /tmp]

A model of random weights with so many megabytes is converted in several ways, and what each has written is copied by `cp` right
after it; both end when the disk has all bytes. What is compared are the bytes moved in a second, read and written: to write float32, a
conversion reads one byte of bfloat16 for two that it writes, and a copy reads two. The times themselves stand beside that. The ratios
are of the medians. Peak memory is that of the process that converts, less what it had when torch and transformers were imported, before
it began.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main", "measure"]

_LEAST_SHARE: Final = 0.8
_MOST_SHARDS: Final = 2

_MAKE = """
import sys, torch
from safetensors.torch import save_file
from transformers import LlamaConfig
import json, os
folder, size, shard = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
width, inner = 1024, 4096
layer = 4 * width * width + 3 * width * inner + 2 * width
layers = max(1, size // (2 * layer))
config = LlamaConfig(vocab_size=1024, hidden_size=width, intermediate_size=inner, num_hidden_layers=layers,
                     num_attention_heads=8, num_key_value_heads=8, dtype=torch.bfloat16)
config.save_pretrained(folder)
shapes = {"model.embed_tokens.weight": (1024, width), "lm_head.weight": (1024, width), "model.norm.weight": (width,)}
for n in range(layers):
    place = f"model.layers.{n}"
    shapes |= {f"{place}.self_attn.{p}_proj.weight": (width, width) for p in "qkvo"}
    shapes |= {f"{place}.mlp.{p}_proj.weight": (inner, width) for p in ("gate", "up")}
    shapes |= {f"{place}.mlp.down_proj.weight": (width, inner)}
    shapes |= {f"{place}.{p}_layernorm.weight": (width,) for p in ("input", "post_attention")}
places, part, room, number = {}, {}, shard, 1
def write():
    name = f"model-{number:05}.safetensors"
    save_file(part, os.path.join(folder, name), {"format": "pt"})
    places.update(dict.fromkeys(part, name))
for name, shape in shapes.items():
    tensor = torch.randn(shape, dtype=torch.bfloat16)
    if part and tensor.nbytes > room:
        write(); part, room, number = {}, shard, number + 1
    part[name] = tensor; room -= tensor.nbytes
write()
with open(os.path.join(folder, "model.safetensors.index.json"), "w") as file:
    json.dump({"metadata": {}, "weight_map": places}, file)
"""
_CONVERT = """
import json, resource, sys, time
from forge.ml.convert.convert import Changes, convert_folder
from forge.ml.convert.source import open_source
def resident():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmRSS"))
source, target, changes = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
with open_source(source):  # what a first look imports is no part of a conversion's speed
    before = resident()
began = time.perf_counter()
convert_folder(source, target, Changes(**changes), begin=lambda _source, _made: lambda _size: None)
seconds = time.perf_counter() - began
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
print(json.dumps({"seconds": seconds, "memory": peak - before}))
"""


_KINDS: Final[dict[str, dict[str, str]]] = {
    "as it is": {},
    "to assembled": {"to": "assembled"},
    "to float32": {"dtype": "float32"},
    "back to bfloat16": {"dtype": "bfloat16"},
}
"""The last reads what the one before it has written."""


def measure(folder: str, size: int, shard: int, pairs: int) -> dict[str, Any]:
    """The median seconds and the bytes moved of each kind of conversion and of a copy of its result, and its peak memory."""
    source, wide = os.path.join(folder, "source"), os.path.join(folder, "wide")
    os.mkdir(source)
    _python(_MAKE, source, str(size), str(shard))
    _converted(source, wide, {"dtype": "float32", "max_shard_size": shard})
    kinds: dict[str, dict[str, Any]] = {kind: {"convert": [], "cp": [], "memory": 0} for kind in _KINDS}
    for _ in range(pairs):
        for kind, changes in _KINDS.items():
            found, new = kinds[kind], os.path.join(folder, "new")
            before = wide if kind.startswith("back") else source
            made = _converted(before, new, {**changes, "max_shard_size": shard})
            found["convert"].append(made["seconds"])
            found["memory"] = max(found["memory"], made["memory"])
            found["cp"].append(_copied(new, os.path.join(folder, "copy")))
            found["written"], found["moved"] = _bytes(new), _bytes(before) + _bytes(new)
            shutil.rmtree(new)
    for found in kinds.values():
        found["convert"], found["cp"] = statistics.median(found["convert"]), statistics.median(found["cp"])
    return {"bytes": _bytes(source), "shard": shard, "kinds": kinds}


def _bytes(folder: str) -> int:
    names = [name for name in os.listdir(folder) if name.endswith(".safetensors")]
    return sum(os.path.getsize(os.path.join(folder, name)) for name in names)


def _copied(source: str, target: str) -> float:
    began = time.perf_counter()
    subprocess.run(["cp", "-r", source, target], check=True)  # noqa: S607 - the system's own cp
    for name in os.listdir(target):
        handle = os.open(os.path.join(target, name), os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)
    taken = time.perf_counter() - began
    shutil.rmtree(target)
    return taken


def _converted(source: str, target: str, changes: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_python(_CONVERT, source, target, json.dumps(changes)))
    return found


def _python(program: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-c", program, *arguments], check=True, capture_output=True, text=True)
    return done.stdout


def main(arguments: Sequence[str]) -> int:
    """Measure and print; the exit code is 1 when a bound is not kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=2000, help="megabytes of weights")
    parser.add_argument("--shard", type=int, default=500, help="megabytes in a file")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--folder", help="on the disk to measure")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="forge-", dir=options.folder) as folder:
        found = measure(folder, options.size * 10**6, options.shard * 10**6, options.pairs)
    lines = [f"{found['bytes'] / 1e6:,.0f} MB of bfloat16, written in files of {options.shard} MB"]
    kept = True
    for kind, one in found["kinds"].items():
        share = (one["moved"] / one["convert"]) / (2 * one["written"] / one["cp"])
        shards = one["memory"] / found["shard"]
        kept = kept and share >= _LEAST_SHARE and shards <= _MOST_SHARDS
        lines.append(
            f"{kind}: {one['convert']:.2f} s, cp of the result {one['cp']:.2f} s ({one['written'] / one['cp'] / 1e6:,.0f} MB/s written); "
            f"{share:.2f} of cp's bytes a second; peak memory {shards:.2f} shards"
        )
    sys.stdout.write("\n".join(lines) + "\n")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
