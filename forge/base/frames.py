"""Messages between two processes: JSON, each with its length in front, so that one is either whole or not there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["FrameReader", "frame"]

_HEAD: Final = 4
_LONGEST: Final = 256 << 20


def frame(message: Mapping[str, Any]) -> bytes:
    """A message as bytes; ValueError for one that is longer than any reader takes."""
    body = json.dumps(message, ensure_ascii=False).encode("utf-8", "surrogatepass")
    if len(body) > _LONGEST:
        raise ValueError(f"a message has {len(body):,} bytes, and at most {_LONGEST:,} can be sent")
    return len(body).to_bytes(_HEAD, "big") + body


class FrameReader:
    """Finds the messages in bytes that come in pieces; none may be longer than ``longest``."""

    def __init__(self, longest: int = _LONGEST) -> None:
        self._data = bytearray()
        self._longest = longest

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """Take more bytes, and give every message that is now whole; ValueError where the bytes are no messages."""
        self._data += data
        while len(self._data) >= _HEAD:
            end = _HEAD + int.from_bytes(self._data[:_HEAD], "big")
            if end > _HEAD + self._longest:
                raise ValueError(f"a message would have {end - _HEAD:,} bytes: these bytes are no messages")
            if len(self._data) < end:
                return
            body = bytes(self._data[_HEAD:end])
            del self._data[:end]
            message = json.loads(body.decode("utf-8", "surrogatepass"))
            if not isinstance(message, dict):
                raise ValueError(f"a message is a mapping, not {type(message).__name__}")  # noqa: TRY004 - as any other bytes
            yield message
