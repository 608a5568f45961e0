from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

worker = pytest.importorskip("forge.ml.data.worker")

CHAT = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "bc"}]}


def _text_job(tokenizer: Any, **changes: Any) -> Any:
    return worker.Job(tokenizer.backend_tokenizer.to_str(), **{"text": "text", "end": 2, **changes})


def _chat_job(tokenizer: Any) -> Any:
    recipe = {
        "format": ["messages", {}, {}],
        "template": tokenizer.chat_template,
        "special_tokens": tokenizer.special_tokens_map,
    }
    return worker.Job(tokenizer.backend_tokenizer.to_str(), recipe=recipe, columns=("messages", "tools"))


def _numbers(reply: Any) -> list[int]:
    return memoryview(reply.ids).cast("I").tolist()


def test_a_document_ends_with_the_token_for_its_end(byte_tokenizer: Callable[..., Any]) -> None:
    tokenizer = byte_tokenizer()
    rows = ["ab", {"text": "ab<|im_end|>", "other": 1}]
    reply = worker.RowsEncoder(_text_job(tokenizer)).reply(rows)
    expected = [*tokenizer.backend_tokenizer.encode("ab").ids, 2]
    assert _numbers(reply) == expected * 2
    assert reply.rows == [(3, 2), (3, 2)]
    assert reply.learned == b""
    assert len(_numbers(worker.RowsEncoder(_text_job(tokenizer, end=None)).reply(["ab"]))) == 2


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("", "an empty document"),
        (" \n", "an empty document"),
        ({"content": "a"}, "no column text"),
        ({"text": None}, "the column text is not text"),
        (["a"], "the row is not a mapping of columns"),
        ("\ud800", "text that is not valid Unicode"),
    ],
)
def test_a_document_that_cannot_be_used_says_why(byte_tokenizer: Callable[..., Any], row: Any, reason: str) -> None:
    reply = worker.RowsEncoder(_text_job(byte_tokenizer())).reply(["ab", row, "cd"])
    assert [found[0] for found in reply.rows] == [3, reason, 3]
    assert len(_numbers(reply)) == 6


def test_one_token_is_no_document(byte_tokenizer: Callable[..., Any]) -> None:
    reply = worker.RowsEncoder(_text_job(byte_tokenizer(), end=None)).reply(["a"])
    assert reply.rows == [("a document of fewer than two tokens", "")]


def test_truncation_and_padding_of_the_tokenizer_do_not_count(byte_tokenizer: Callable[..., Any]) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.backend_tokenizer.enable_truncation(2)
    tokenizer.backend_tokenizer.enable_padding(length=50)
    assert worker.RowsEncoder(_text_job(tokenizer)).reply(["abcd"]).rows == [(5, 4)]


def test_of_a_conversation_the_answer_is_learned(byte_tokenizer: Callable[..., Any]) -> None:
    tokenizer = byte_tokenizer()
    reply = worker.RowsEncoder(_chat_job(tokenizer)).reply([CHAT, {"messages": []}, 7])
    (length, learned), (reason, _), (last, _) = reply.rows
    assert tokenizer.backend_tokenizer.decode(_numbers(reply), skip_special_tokens=False).endswith("bc<|im_end|>\n")
    assert (len(reply.learned), reply.learned.count(1), learned) == (length, 3, 3)
    assert [number for number, flag in zip(_numbers(reply), reply.learned, strict=True) if flag][-1] == 2
    assert reason == "no messages"
    assert last == "the row is not a mapping of columns"


def test_a_job_survives_as_a_frame_and_knows_its_columns(byte_tokenizer: Callable[..., Any]) -> None:
    for job in (_chat_job(byte_tokenizer()), _text_job(byte_tokenizer())):
        again = worker.Job(**json.loads(job.to_json()))
        assert again.to_json() == job.to_json()
        assert tuple(again.needed()) == job.needed()
    assert _text_job(byte_tokenizer()).needed() == ("text",)


def test_frames_are_read_as_they_were_written() -> None:
    stream = io.BytesIO()
    worker.write_frame(stream, b"abc", b"")
    stream.seek(0)
    assert [worker.read_frame(stream) for _ in range(3)] == [b"abc", b"", None]
    assert worker.read_frame(io.BytesIO(b"\x05\0\0\0\0\0\0\0abc")) is None


def _process(*frames: bytes) -> subprocess.CompletedProcess[bytes]:
    stream = io.BytesIO()
    worker.write_frame(stream, *frames)
    return subprocess.run(
        [sys.executable, "-m", "forge.ml.data.worker"],
        input=stream.getvalue(),
        capture_output=True,
        check=False,
        timeout=60,
        env={**os.environ, "TOKENIZERS_PARALLELISM": "false"},
    )


def test_the_process_answers_batches_until_its_input_ends(byte_tokenizer: Callable[..., Any]) -> None:
    done = _process(_text_job(byte_tokenizer()).to_json(), b'["ab"]', b'["abc", ""]')
    output = io.BytesIO(done.stdout)
    frames = [worker.read_frame(output) for _ in range(8)]
    assert done.returncode == 0
    assert json.loads(frames[0]) == ""
    assert json.loads(frames[1]) == [[3, 2]]
    assert len(frames[2]) == 12
    assert json.loads(frames[4]) == [[4, 3], ["an empty document", ""]]
    assert frames[7] is None


def test_the_process_ends_without_a_word_when_nobody_reads_its_answers(byte_tokenizer: Callable[..., Any]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "forge.ml.data.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    worker.write_frame(process.stdin, _text_job(byte_tokenizer()).to_json())
    assert worker.read_frame(process.stdout) == b'""'
    process.stdout.close()  # as when the process that started it was killed
    worker.write_frame(process.stdin, b'["abc"]')
    assert process.wait(timeout=60) == 1
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stdin.close()
    process.stderr.close()


def test_a_job_that_cannot_be_done_is_refused_with_a_sentence(byte_tokenizer: Callable[..., Any]) -> None:
    tokenizer = byte_tokenizer("{% if %}")
    done = _process(_chat_job(tokenizer).to_json())
    assert done.returncode == 1
    assert "the chat template does not parse" in json.loads(worker.read_frame(io.BytesIO(done.stdout)))
    assert _process().returncode == 0


def test_the_process_knows_neither_torch_nor_numpy() -> None:
    program = (
        "import sys, forge.ml.data.worker, forge.ml.chat.encode\n"
        "print([name for name in ('torch', 'transformers', 'datasets', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
