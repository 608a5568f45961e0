"""From a corpus and a tokenizer to sequences: rows are encoded once and kept, and packed each time."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final

import forge.ml.chat
from forge.base.errors import DataError
from forge.ml.data.cache import encoded, kept
from forge.ml.data.corpus import ChatCorpus, Mixture, TextCorpus
from forge.ml.data.mixture import Mixed
from forge.ml.data.pool import Pool
from forge.ml.data.report import Report
from forge.ml.data.source import columns_of, fingerprint, is_streaming, place_of
from forge.ml.data.split import Split, split_of
from forge.ml.data.stream import Stream
from forge.ml.data.worker import Job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from forge.ml.data.corpus import Corpus
    from forge.ml.data.tokens import Tokens

__all__ = ["Prepared", "Progress", "Sequences", "job_for", "prepare"]

Sequences = Split | Stream | Mixed
"""What a `Loader` can load from."""

# Called with what is being prepared and the number of rows done.
Progress = "Callable[[str, int], None]"

_SPECIAL: Final = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_HELD_OUT: Final = "held_out"
