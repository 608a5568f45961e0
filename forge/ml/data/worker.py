"""A process that turns rows into tokens: it knows the tokenizer and the template, and neither torch nor transformers.

It reads a job and then batches of rows from its standard input, and writes for each batch what became of its rows. Everything is
a frame: its length in eight bytes, then JSON or plain bytes. The process ends when its input does.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from array import array
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from tokenizers import Tokenizer

from forge.ml.chat.conversation import RowError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from forge.ml.chat.encode import Encoded

__all__ = ["PATIENCE", "TOO_SLOW", "Job", "Reply", "RowsEncoder", "document_of", "read_frame", "write_frame"]

TOO_SLOW: Final = ("the template runs too long", "the template needs too much memory")
"""The reasons of rows over which a template hit a limit."""

PATIENCE: Final = 8
"""After so many of them the template is given up, because each has cost the whole of its limit."""

_SIZE: Final = 8
_AT_ONCE: Final = 16


@dataclass(frozen=True, slots=True)
class Job:
    """All that decides how rows become tokens, as plain data.

    ``text`` names the column of documents (a row may be the document itself); without it rows are conversations, read by
    ``recipe`` (the fields of `forge.ml.chat.encode.Recipe`, its format as its three values).
    """

    tokenizer: str
    text: str | None = None
    end: int | None = None  # the token that ends a document
    recipe: dict[str, Any] = field(default_factory=dict)
    columns: tuple[str, ...] = ()  # those of conversations

    def needed(self) -> tuple[str, ...]:
        """The columns that tokens depend on."""
        return self.columns if self.text is None else (self.text,)

    def to_json(self) -> bytes:
        """The job as a frame."""
        return json.dumps(asdict(self)).encode()


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of a batch of rows: their tokens end to end as four-byte numbers, and a byte for each that says whether it is learned.

    ``rows`` has for each row its number of tokens and how many are learned, or the reason and the detail why it cannot be used.
    ``learned`` is empty when every token is.
    """

    rows: list[tuple[Any, Any]]
    ids: bytes
    learned: bytes


class RowsEncoder:
    """Encodes batches of rows by a job."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._tokenizer = Tokenizer.from_str(job.tokenizer)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._chat = None if job.text is not None else _chat_encoder(job.recipe, self._tokenizer)
        self._slow: list[RowError] = []

    def reply(self, rows: Sequence[Any]) -> Reply:
        """Encode a batch."""
        return self._documents(rows) if self._chat is None else self._conversations(rows)

    def _documents(self, rows: Sequence[Any]) -> Reply:
        found = [document_of(row, self.job.text) for row in rows]
        texts = [text for text in found if isinstance(text, str)]
        encodings = iter(self._tokenizer.encode_batch_fast(texts))
        ids, outcome = array("I"), []
        for text in found:
            if isinstance(text, RowError):
                outcome.append((text.reason, text.detail))
                continue
            own = self._ended(next(encodings).ids)
            if len(own) < 2:  # noqa: PLR2004 - one token has no token to follow it
                outcome.append(("a document of fewer than two tokens", ""))
                continue
            ids.extend(own)
            # Nothing comes before the first token, so it cannot be learned.
            outcome.append((len(own), len(own) - 1))
        return Reply(outcome, ids.tobytes(), b"")

    def _conversations(self, rows: Sequence[Any]) -> Reply:
        mappings = [row for row in rows if isinstance(row, dict)]
        found = iter(
            [each for at in range(0, len(mappings), _AT_ONCE) for each in self._some(mappings[at : at + _AT_ONCE])]
        )
        return _of_conversations(next(found) if isinstance(row, dict) else _not_a_mapping(row) for row in rows)

    def _some(self, rows: list[Any]) -> list[Encoded | RowError]:
        if len(self._slow) >= PATIENCE:
            return [self._slow[-1]] * len(rows)
        found = self._chat.encode(rows)
        self._slow += [each for each in found if isinstance(each, RowError) and each.reason in TOO_SLOW]
        return found

    def _ended(self, ids: list[int]) -> list[int]:
        end = self.job.end
        return ids if end is None or (ids and ids[-1] == end) else [*ids, end]


def _chat_encoder(recipe: Mapping[str, Any], tokenizer: Tokenizer) -> Any:
    # Documents need neither jinja2 nor what stands on it.
    from forge.ml.chat.encode import Recipe, RowEncoder
    from forge.ml.chat.formats import RowFormat

    return RowEncoder(Recipe(**{**recipe, "format": RowFormat(*recipe["format"])}), tokenizer)


def _not_a_mapping(row: Any) -> RowError:
    return RowError("the row is not a mapping of columns", f"it is {type(row).__name__}")


def document_of(row: Any, column: str | None) -> str | RowError:
    """The text of a row that is one, or has it in a column; else what is wrong with the row."""
    if not isinstance(row, str):
        if not isinstance(row, dict):
            return _not_a_mapping(row)
        if column not in row:
            return RowError(f"no column {column}", f"the row has {', '.join(sorted(map(str, row)))}")
        row = row[column]
        if not isinstance(row, str):
            return RowError(f"the column {column} is not text", f"it is {type(row).__name__}")
    if not row.strip():
        return RowError("an empty document")
    try:
        row.encode()
    except UnicodeEncodeError:
        return RowError("text that is not valid Unicode")
    return row


def _of_conversations(found: Iterable[Encoded | RowError]) -> Reply:
    ids, learned, rows = array("I"), bytearray(), []
    for encoded in found:
        if isinstance(encoded, RowError):
            rows.append((encoded.reason, encoded.detail))
            continue
        flags = bytearray(len(encoded.ids))
        for start, stop in encoded.learned:
            flags[start:stop] = b"\1" * (stop - start)
        flags[:1] = b"\0"[: len(flags)]
        count = flags.count(1)
        if not count:
            rows.append(("nothing to learn", "no token of it is"))
            continue
        ids.extend(encoded.ids)
        learned += flags
        rows.append((len(flags), count))
    return Reply(rows, ids.tobytes(), bytes(learned))


def read_frame(stream: BinaryIO) -> bytes | None:
    """The next frame; None at the end of the stream."""
    head = stream.read(_SIZE)
    if len(head) < _SIZE:
        return None
    size = int.from_bytes(head, "little")
    found = stream.read(size)
    return found if len(found) == size else None


def write_frame(stream: BinaryIO, *frames: bytes) -> None:
    """Write frames at once."""
    for frame in frames:
        stream.write(len(frame).to_bytes(_SIZE, "little"))
        stream.write(frame)
    stream.flush()


def _work() -> int:
    """Answer batches until the input ends, or nobody reads the answers any more."""
    # They reach all processes of a terminal or of a job; what they mean for this one is said by who started it.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not get among the frames
    try:
        return _answer_batches(sys.stdin.buffer, output)
    except BrokenPipeError:  # who started this process was killed, and nobody is left to be told
        os.dup2(os.open(os.devnull, os.O_WRONLY), output.fileno())  # for what has not been written yet
        return 1


def _answer_batches(source: BinaryIO, output: BinaryIO) -> int:
    described = read_frame(source)
    if described is None:
        return 0
    try:
        encoder = RowsEncoder(Job(**json.loads(described)))
    except (ValueError, RowError) as error:
        write_frame(output, json.dumps(str(error)).encode())
        return 1
    write_frame(output, json.dumps("").encode())
    while (batch := read_frame(source)) is not None:
        reply = encoder.reply(json.loads(batch))
        write_frame(output, json.dumps(reply.rows).encode(), reply.ids, reply.learned)
    return 0


if __name__ == "__main__":
    sys.exit(_work())
