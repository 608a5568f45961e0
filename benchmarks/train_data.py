"""Make what all contenders train: rows of text and of conversations, a tokenizer, and random llamas."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from own_venv import ROOT
from transformers import LlamaConfig, LlamaForCausalLM

import forge

SHAPES = {"10M": (320, 864, 6, 5), "10 heads": (320, 864, 6, 10), "50M": (640, 1728, 9, 10), "even": (320, 864, 8, 5)}
SHAPES |= {f"thin{places}": (64, 128, 2 * places, 2) for places in (2, 4, 8)}
# "even" has about as few tokens as a tokenizer of bytes can have: its head costs next to nothing, so that two or four stages take as
# long, forward and backward; so has each "thin", whose layers hardly cost anything: two for each place of a pipeline.
TOKENS = {name: 264 for name in SHAPES if name == "even" or name.startswith("thin")}


def main(folder: Path, sizes: list[str]) -> None:
    """Write everything that is not there yet."""
    config = forge.open(ROOT / "projects" / "pydoc").config("chat/full")
    tiny = forge.open(ROOT / "projects" / "pydoc").config("pretrain/tiny")
    _write_rows(folder / "text.jsonl", ({"text": text} for text in tiny.build("dataset").train))
    _write_rows(folder / "chat.jsonl", config.build("dataset").train)
    for size in sizes:
        if (folder / size / "model.safetensors").is_file():
            continue
        hidden, intermediate, layers, heads = SHAPES[size]
        tokenizer = _tokenizer(TOKENS.get(size, 4096))
        torch.manual_seed(0)
        shape = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=hidden,
            intermediate_size=intermediate,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=heads,
            max_position_embeddings=1024,
            tie_word_embeddings=False,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
        LlamaForCausalLM(shape).save_pretrained(folder / size)
        tokenizer.save_pretrained(folder / size)


def _tokenizer(tokens: int) -> Any:
    changed = forge.open(ROOT / "projects" / "pydoc").config("pretrain/tiny", f"tokenizer.vocab_size={tokens}")
    return changed.build("tokenizer")


def _write_rows(path: Path, rows: object) -> None:
    path.write_text("".join(json.dumps(dict(row)) + "\n" for row in rows))  # type: ignore[attr-defined]


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
