"""How long forge takes from conversations on disk to packed sequences: ``train_prepare.py MODEL DATA SCRATCH``."""

from __future__ import annotations

import json
import sys
import time

from transformers import AutoTokenizer

from forge.ml.data.corpus import ChatCorpus
from forge.ml.data.prepare import prepare
from forge.ml.data.read import file_rows


def main(model: str, data: str) -> None:
    """Prepare once, with an empty cache, and print the figures as the last line."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    began = time.perf_counter()
    corpus = ChatCorpus(train=file_rows([data]), train_on="all", max_length=1024, packing="best_fit")
    report = prepare(corpus, tokenizer).report
    seconds = time.perf_counter() - began
    print(json.dumps({"prepared": seconds, "tokens": report.tokens, "rows": report.sequences}))


if __name__ == "__main__":
    main(*sys.argv[1:3])
