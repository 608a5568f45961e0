"""Goes on with newer checkpoints while it serves: looks now and then, and hands a new model to the engine."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any, Final

from forge.base.errors import ForgeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from forge.ml.checkpoint.store import Store

__all__ = ["Follower"]

_log: Final = logging.getLogger("forge.serve")


class Follower:
    """Looks for a checkpoint after the one of the name ``current`` every so many seconds; ``take`` gets the path of each."""

    def __init__(self, store: Store, current: str | None, seconds: float, take: Callable[[str], Any]) -> None:
        self.current = current
        self._store = store
        self._seconds = seconds
        self._take = take
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="forge-follow", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._ended.set()

    def look(self) -> bool:
        """Take a newer checkpoint if there is one. One that cannot be served is told, and what is served stays."""
        listed = [one for one in self._store.list(quick=True) if one.valid]
        if not listed or listed[-1].name == self.current:
            return False
        try:
            found = self._store.newest()
            if found is None or found.name == self.current:
                return False
            self._take(found.path)
        except (ForgeError, ValueError, OSError, RuntimeError) as error:  # a full GPU is a RuntimeError
            _log.warning("a newer checkpoint cannot be served: %s", error)
            return False
        self.current = found.name
        _log.warning("serving %s now", found.name)
        return True

    def _follow(self) -> None:
        while not self._ended.wait(self._seconds):
            self.look()
