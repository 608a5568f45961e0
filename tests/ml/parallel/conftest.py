"""One process in the place of any of several: torch's fake backend, whose collectives send nothing."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

# Modules beside the tests, and those of small real runs.
sys.path[:0] = [os.path.dirname(__file__), os.path.join(os.path.dirname(__file__), "..", "..", "resume")]

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Callable[..., AbstractContextManager[Any]]:
    """A world of a layout as one of its processes sees it."""

    @contextmanager
    def made(rank: int, size: int, **degrees: Any) -> Iterator[Any]:
        import torch
        import torch.distributed as dist
        from torch.testing._internal.distributed.fake_pg import FakeStore

        from forge.ml.parallel import world
        from forge.plan.layout import Layout

        monkeypatch.setenv("WORLD_SIZE", str(size))
        dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=size)
        new_group = dist.new_group
        monkeypatch.setattr(
            dist, "new_group", lambda *args, **kwargs: new_group(*args, **{**kwargs, "backend": "fake"})
        )
        try:
            yield world.join(Layout(**degrees), torch.device("cpu"))
        finally:
            dist.destroy_process_group()

    return made
