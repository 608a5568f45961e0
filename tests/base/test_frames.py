from __future__ import annotations

import json

import pytest

from forge.base.frames import FrameReader, frame


def test_messages_come_through_in_pieces_of_any_size() -> None:
    messages = [{"a": 1}, {"text": "日本 🙂 \udcff"}, {}, {"big": "x" * 100_000}]
    data = b"".join(map(frame, messages))
    for size in (1, 3, 4096, len(data)):
        reader = FrameReader()
        found = [one for start in range(0, len(data), size) for one in reader.feed(data[start : start + size])]
        assert found == messages


def test_a_message_that_is_not_whole_is_not_there() -> None:
    reader = FrameReader()
    assert list(reader.feed(frame({"a": 1})[:-1])) == []
    assert list(reader.feed(b"}")) == [{"a": 1}]


@pytest.mark.parametrize(
    "data",
    [
        b"hello, this is what a library prints\n",
        b"\0\0\0\x05hello",
        b"\0\0\0\x02[]",
        b"\0\0\0\x01\xff",
        b"\xff\xff\xff\xff",
    ],
)
def test_bytes_that_are_no_messages_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of several kinds
        list(FrameReader().feed(data))


def test_what_is_too_long_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forge.base.frames._LONGEST", 10)
    assert frame({"a": 1}) == b"\0\0\0\x08" + json.dumps({"a": 1}).encode()
    with pytest.raises(ValueError, match="11 bytes"):
        frame({"a": 1234})
