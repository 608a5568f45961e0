"""Worker processes, and rows that pass through them in order."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final

import numpy as np

import forge
from forge.base.errors import DataError
from forge.ml.data.worker import PATIENCE, TOO_SLOW, Reply, RowsEncoder, read_frame, write_frame

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from typing_extensions import Self

    from forge.ml.data.cache import Example
    from forge.ml.data.report import Report
    from forge.ml.data.worker import Job

__all__ = ["Pool", "processors"]

_BATCH_ROWS: Final = 128
_BATCH_BYTES: Final = 256 << 10
# Up to here processes would take longer to start than they save: the tokenizer has threads of its own.
_LITTLE_TEXT: Final = 4 << 20
_UNSTOPPABLE: Final = "the template cannot be stopped"


def processors() -> int:
    """The processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class _Batch:
    first: int  # the number of its first row
    rows: list[bytes]  # each as JSON


class Pool:
    """Rows in, examples out, in the same order; the work is done by worker processes.

    Little text is not worth a process and is encoded here, by the tokenizer's own threads. Conversations always pass through a
    worker, because a chat template is somebody else's program. Processes start when they are needed and stay until `close`.
    """

    def __init__(self, job: Job, workers: int | None = None) -> None:
        self.job = job
        self.count = processors() if workers is None else workers
        self._here: RowsEncoder | None = None
        self._idle: SimpleQueue[_Worker] = SimpleQueue()
        self._started: list[_Worker] = []
        self._threads: ThreadPoolExecutor | None = None
        self._closed = False
        self._slow = 0
        self._unstopped = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def examples(self, rows: Iterable[Any], report: Report, first: int = 0) -> Iterator[Example]:
        """The examples of rows, of which the first has this number; rows without one are counted in the report."""
        for number, reply in self._replies(_batches(rows, first, report, self.job)):
            yield from self._examples(number, reply, report)

    def close(self) -> None:
        """End all processes, and begin no others."""
        self._closed = True
        for worker in self._started:
            worker.kill()
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)

    def _replies(self, batches: Iterator[_Batch]) -> Iterator[tuple[int, Reply]]:
        if self.job.text is not None and not self._started:
            little, more = _up_to(batches, _LITTLE_TEXT if self.count else None)
            if not more:
                yield from ((batch.first, self._encode_here(batch)) for batch in little)
                return
            batches = chain(little, more)
        yield from self._through_workers(batches)

    def _encode_here(self, batch: _Batch) -> Reply:
        if self._here is None:
            self._here = RowsEncoder(self.job)
        return self._here.reply([json.loads(row) for row in batch.rows])

    def _through_workers(self, batches: Iterable[_Batch]) -> Iterator[tuple[int, Reply]]:
        count = max(self.count, 1)
        if self._threads is None:
            self._threads = ThreadPoolExecutor(count, thread_name_prefix="forge-data")
        waiting: deque[tuple[int, Future[Reply]]] = deque()
        try:
            for batch in batches:
                self._start_another(len(waiting), count)
                waiting.append((batch.first, self._threads.submit(self._encode, batch)))
                while waiting and (len(waiting) > 4 * count or waiting[0][1].done()):
                    number, future = waiting.popleft()
                    yield number, future.result()
            while waiting:
                number, future = waiting.popleft()
                yield number, future.result()
        finally:
            for _, future in waiting:
                future.cancel()

    def _start_another(self, waiting: int, count: int) -> None:
        """One process for each batch that waits, so that little data does not start many."""
        if self._closed:
            raise RuntimeError("the processes that prepare rows have been closed")
        if len(self._started) < min(count, waiting + 1):
            worker = _Worker(self.job)
            self._started.append(worker)
            self._idle.put(worker)

    def _encode(self, batch: _Batch) -> Reply:
        worker = self._idle.get()
        try:
            reply = worker.ask(batch.rows)
            if reply is not None:
                return reply
            worker.check_ended_by_template()
            parts = list(self._one_by_one(worker, batch.rows))
            return Reply(
                [row for part in parts for row in part.rows],
                b"".join(part.ids for part in parts),
                b"".join(part.learned for part in parts),
            )
        finally:
            self._idle.put(worker)

    def _one_by_one(self, worker: _Worker, rows: Sequence[bytes]) -> Iterator[Reply]:
        """The rows of a batch that ended a worker: some of them do so again."""
        for row in rows:
            given_up = self._unstopped >= PATIENCE
            yield Reply([(_UNSTOPPABLE, "")], b"", b"") if given_up else self._alone(worker, row)

    def _alone(self, worker: _Worker, row: bytes) -> Reply:
        reply = worker.ask([row])
        if reply is not None:
            return reply
        worker.check_ended_by_template()
        self._unstopped += 1
        return Reply([(_UNSTOPPABLE, "its process had to be ended")], b"", b"")

    def _examples(self, first: int, reply: Reply, report: Report) -> Iterator[Example]:
        ids = np.frombuffer(reply.ids, dtype="<u4")
        flags = np.frombuffer(reply.learned, dtype=np.uint8) if reply.learned else None
        at = 0
        for row, (size, learned) in enumerate(reply.rows, start=first):
            if isinstance(size, str):
                report.drop(size, row, learned)
                self._count_slow(size, row, learned)
                continue
            trained = None if flags is None else flags[at : at + size]
            yield row, ids[at : at + size], trained, learned
            at += size

    def _count_slow(self, reason: str, row: int, detail: str) -> None:
        self._slow += reason in (*TOO_SLOW, _UNSTOPPABLE)
        if self._slow >= PATIENCE:
            raise DataError(
                f"the chat template cannot be used: {reason} ({detail}), at row {row} and {self._slow - 1} rows before it",
                hint="use another template (template: chatml), or repair this one",
            )


class _Worker:
    """One worker process and the pipes to it; started again when it has ended."""

    def __init__(self, job: Job) -> None:
        self._job = job.to_json()
        self._closed = False
        # The thread that asks and the one that closes the pool both change which process this is.
        self._changing = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._running()  # at once: it loads its libraries while the first rows are read

    def ask(self, rows: Sequence[bytes]) -> Reply | None:
        """What became of rows; None when the process ended over them."""
        process = self._running()
        if process is None:
            return None
        try:
            self._greet(process)
            write_frame(process.stdin, b"[" + b",".join(rows) + b"]")
        except BrokenPipeError:
            return None
        found = [read_frame(process.stdout) for _ in range(3)]
        if None in found:
            return None
        outcome, ids, learned = found
        return Reply([tuple(row) for row in json.loads(outcome)], ids, learned)

    def check_ended_by_template(self) -> None:
        """Forget the process that has ended; DataError unless it was a limit on its template that ended it."""
        from forge.ml.chat.limits import KILLED

        process = self._forgotten()
        if process is None:
            raise RuntimeError("the processes that prepare rows have been closed")
        code = process.wait()
        _close(process)
        if code != KILLED:
            raise DataError(f"a process that prepares rows ended with the status {code}")

    def kill(self) -> None:
        """End the process, whatever it does."""
        process = self._forgotten(for_good=True)
        if process is not None:
            process.kill()
            process.wait()
            _close(process)

    def _forgotten(self, *, for_good: bool = False) -> subprocess.Popen[bytes] | None:
        """The process there was; from now on there is none, or a new one when somebody asks."""
        with self._changing:
            self._closed = self._closed or for_good
            process, self._process = self._process, None
            return process

    def _running(self) -> subprocess.Popen[bytes] | None:
        """The process, started when there is none; None once the pool is closed."""
        with self._changing:
            if self._process is None and not self._closed:
                self._process = self._start()
            return self._process

    def _start(self) -> subprocess.Popen[bytes]:
        package = os.path.dirname(os.path.dirname(os.path.abspath(forge.__file__)))
        paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
        # One thread each: the processes themselves are what runs in parallel.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"}
        environment |= {"TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1"}
        self._greeted = False
        return subprocess.Popen(
            [sys.executable, "-m", "forge.ml.data.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )

    def _greet(self, process: subprocess.Popen[bytes]) -> None:
        """Hand over the job, and hear whether it can be done."""
        if self._greeted:
            return
        write_frame(process.stdin, self._job)
        answer = read_frame(process.stdout)
        if answer is None:
            self.check_ended_by_template()
            raise DataError("the chat template cannot be used: it takes too long to compile")
        if problem := json.loads(answer):
            raise DataError(f"the chat template cannot be used: {problem}")
        self._greeted = True


def _close(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        # What was still to be written has no reader any more.
        with contextlib.suppress(OSError):
            pipe.close()


def _batches(rows: Iterable[Any], first: int, report: Report, job: Job) -> Iterator[_Batch]:
    """Rows as JSON, in batches of bounded size; the report counts them."""
    waiting: list[bytes] = []
    size, number = 0, first
    for number, row in enumerate(rows, start=first):
        report.rows += 1
        waiting.append(_as_json(_needed(row, job), number))
        size += len(waiting[-1])
        if size >= _BATCH_BYTES or len(waiting) >= _BATCH_ROWS:
            yield _Batch(number + 1 - len(waiting), waiting)
            waiting, size = [], 0
    if waiting:
        yield _Batch(number + 1 - len(waiting), waiting)


def _needed(row: Any, job: Job) -> Any:
    """The part of a row that its tokens depend on: what else it holds need not be plain data, and only its names are told."""
    if not isinstance(row, dict):
        return row
    return {name: row[name] for name in job.needed() if name in row} or dict.fromkeys(map(str, row))


def _as_json(row: Any, number: int) -> bytes:
    try:
        return json.dumps(row).encode()
    except (TypeError, ValueError) as error:
        raise DataError(
            f"row {number} holds what is not plain data: {error}", hint="rows hold texts, numbers, lists and mappings"
        ) from error


def _up_to(batches: Iterator[_Batch], limit: int | None) -> tuple[list[_Batch], Iterator[_Batch] | None]:
    """The first batches up to this many bytes, and the others when there are any."""
    taken: list[_Batch] = []
    size = 0
    for batch in batches:
        taken.append(batch)
        size += sum(map(len, batch.rows))
        if limit is not None and size > limit:
            return taken, batches
    return taken, None
