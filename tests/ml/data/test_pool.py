from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from forge.base.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

np = pytest.importorskip("numpy")
pool = pytest.importorskip("forge.ml.data.pool")
worker = pytest.importorskip("forge.ml.data.worker")
report_module = pytest.importorskip("forge.ml.data.report")


def _text_job(tokenizer: Any) -> Any:
    return worker.Job(tokenizer.backend_tokenizer.to_str(), text="text", end=2)


def _chat_job(tokenizer: Any) -> Any:
    recipe = {"format": ["messages", {}, {}], "template": tokenizer.chat_template, "special_tokens": {}}
    return worker.Job(tokenizer.backend_tokenizer.to_str(), recipe=recipe, columns=("messages",))


def _chat(question: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": "yes"}]}


def _run(job: Any, rows: Iterable[Any], workers: int | None, first: int = 0) -> tuple[list[Any], Any]:
    report = report_module.Report()
    with pool.Pool(job, workers) as running:
        found = [
            (row, ids.tolist(), None if flags is None else flags.tolist(), learned)
            for row, ids, flags, learned in running.examples(rows, report, first)
        ]
        processes = [each._process for each in running._started]
    assert all(process.poll() is not None for process in processes)
    return found, report


def test_little_text_is_encoded_here(byte_tokenizer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_Worker", None)
    found, report = _run(_text_job(byte_tokenizer()), ["ab", "", {"text": "c"}], 2, first=5)
    assert [(row, len(ids), learned) for row, ids, _, learned in found] == [(5, 3, 2), (7, 2, 1)]
    assert (report.rows, report.dropped["an empty document"].first) == (3, [(6, "")])


def test_much_text_takes_the_same_way_through_processes(
    byte_tokenizer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = _text_job(byte_tokenizer())
    rows = [f"row {number}" * (number % 7) for number in range(900)]
    here, report = _run(job, rows, 0)
    monkeypatch.setattr(pool, "_LITTLE_TEXT", 1000)
    there, other = _run(job, iter(rows), 2)
    assert there == here
    assert report == other


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_conversations_come_back_in_order(byte_tokenizer: Callable[..., Any], workers: int) -> None:
    rows = [_chat("q" * (number % 50)) if number % 10 else {"messages": []} for number in range(700)]
    found, report = _run(_chat_job(byte_tokenizer()), rows, workers)
    assert [row for row, *_ in found] == [number for number in range(700) if number % 10]
    lengths = {len(ids) - row % 50 for row, ids, _, _ in found}
    assert len(lengths) == 1
    assert all(sum(flags) == learned == 4 for _, _, flags, learned in found)
    assert report.dropped["no messages"].count == 70


def test_what_a_row_holds_beside_its_text_is_left_behind(byte_tokenizer: Callable[..., Any]) -> None:
    found, _ = _run(_text_job(byte_tokenizer()), [{"text": "ab", "image": object()}], 1)
    assert len(found) == 1
    with pytest.raises(DataError, match="row 3 holds what is not plain data"):
        _run(_text_job(byte_tokenizer()), [{"text": b"ab"}], 1, first=3)


def test_a_template_that_does_not_parse_is_an_error(byte_tokenizer: Callable[..., Any]) -> None:
    with pytest.raises(DataError, match="cannot be used: the chat template does not parse: line 1"):
        _run(_chat_job(byte_tokenizer("{{ messages ")), [_chat("a")], 1)


def test_a_template_that_cannot_even_be_compiled_is_an_error(byte_tokenizer: Callable[..., Any]) -> None:
    constant = "{{ ([[0]] * 400000) | sum(start=[]) | length }}"  # jinja computes what is constant beforehand
    with pytest.raises(DataError, match="the chat template cannot be used"):
        _run(_chat_job(byte_tokenizer(constant)), [_chat("a")], 1)


def _template(trap: str) -> str:
    return (
        "{% for m in messages %}{% if 'trap' in m['content'] %}" + trap + "{% endif %}"
        "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )


LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
# One operation that sees no signal before it ends: only the end of the process stops it.
DEAF = "{{ ([[m['role']]] * 400000) | sum(start=[]) | length }}"


@pytest.mark.parametrize(
    ("trap", "reasons"),
    [
        (LOOP, {"the template runs too long"}),
        (DEAF, {"the template cannot be stopped", "the template runs too long"}),
        ("{{ raise_exception('no traps') }}", {"the template refuses the conversation"}),
    ],
)
def test_a_row_over_which_the_template_hangs_is_named_and_the_others_are_kept(
    byte_tokenizer: Callable[..., Any], trap: str, reasons: set[str]
) -> None:
    rows = [_chat("trap" if number == 5 else "a") for number in range(12)]
    found, report = _run(_chat_job(byte_tokenizer(_template(trap))), rows, 1)
    assert [row for row, *_ in found] == [row for row in range(12) if row != 5]
    assert len(report.dropped) == 1
    assert set(report.dropped) <= reasons
    assert next(iter(report.dropped.values())).first[0][0] == 5


@pytest.mark.slow
@pytest.mark.parametrize("trap", [LOOP, DEAF] if os.environ.get("FORGE_FULL") else [DEAF])
def test_a_template_that_always_hangs_is_not_waited_for(byte_tokenizer: Callable[..., Any], trap: str) -> None:
    with pytest.raises(DataError, match=r"the chat template cannot be used: the template .* at row 7 and 7 rows"):
        _run(_chat_job(byte_tokenizer(_template(trap))), [_chat("trap")] * 500, 1)


def test_a_process_that_dies_otherwise_is_an_error(byte_tokenizer: Callable[..., Any]) -> None:
    with pool.Pool(_chat_job(byte_tokenizer()), 1) as running:
        examples = running.examples((_chat("a") for _ in range(2000)), report_module.Report())
        next(examples)
        os.kill(running._started[0]._process.pid, signal.SIGKILL)
        with pytest.raises(DataError, match="ended with the status -9"):
            list(examples)


def test_what_a_signal_to_all_means_is_said_by_who_started_them(byte_tokenizer: Callable[..., Any]) -> None:
    with pool.Pool(_chat_job(byte_tokenizer()), 1) as running:
        examples = running.examples((_chat("a") for _ in range(2000)), report_module.Report())
        next(examples)
        for sent in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
            os.kill(running._started[0]._process.pid, sent)
        assert len(list(examples)) == 1999


def test_examples_left_behind_leave_no_process(byte_tokenizer: Callable[..., Any]) -> None:
    with pool.Pool(_chat_job(byte_tokenizer()), 2) as running:
        next(running.examples((_chat("a") for _ in range(5000)), report_module.Report()))
        processes = [each._process for each in running._started]
    assert processes
    assert all(process.poll() is not None for process in processes)


def test_a_closed_pool_starts_no_process_for_a_thread_that_still_asks(byte_tokenizer: Callable[..., Any]) -> None:
    with pool.Pool(_chat_job(byte_tokenizer()), 1) as running:
        next(running.examples((_chat("a") for _ in range(20)), report_module.Report()))
        (one,) = running._started
        with one._forgotten() as process:  # as when it has died: the next to ask would start another
            process.kill()
    assert one.ask([b"{}"]) is None
    assert one._process is None


def test_there_is_at_least_one_processor() -> None:
    assert pool.processors() >= 1
