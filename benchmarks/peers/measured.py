"""What every peer reports of its training: tokens and seconds of each step after the first ones, and its peak memory."""

from __future__ import annotations

import json
import resource
import sys
import time
from itertools import pairwise
from typing import Any

__all__ = ["Measured", "peak_bytes"]


def peak_bytes() -> int:
    """The most memory this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Measured:
    """Notes the end of each step; the first ``warm_up`` steps are left out of what it reports."""

    def __init__(self, warm_up: int) -> None:
        self.warm_up = warm_up
        self.before = peak_bytes()
        self.ends: list[float] = []
        self.tokens: list[tuple[int, int]] = []
        self.losses: list[float] = []
        self.prepared = 0.0

    def batch(self, tokens: int, trained: int) -> None:
        """The next step learns from so many tokens, without padding, and is trained on so many."""
        self.tokens.append((tokens, trained))

    def step(self) -> None:
        """A step is done."""
        self.ends.append(time.perf_counter())

    def report(self) -> None:
        """Print everything as the last line."""
        first = self.warm_up
        seconds = [end - began for began, end in pairwise(self.ends[first - 1 :])]
        counted = self.tokens[first : len(self.ends)]
        result: dict[str, Any] = {
            "steps": [(*tokens, taken) for tokens, taken in zip(counted, seconds, strict=True)],
            "peak": peak_bytes(),
            "before": self.before,
            "losses": self.losses,
            "prepared": self.prepared,
        }
        sys.stdout.flush()
        print("\n" + json.dumps(result))
