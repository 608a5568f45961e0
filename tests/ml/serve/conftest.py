"""A small model's folder without weights, an engine that repeats the prompt, and the real server around it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from forge.base.places import chat_templates
from forge.ml.serve.engine import Ended, EngineBusy, EngineLoad, RequestRefused, Sampled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from forge.ml.serve.engine import Heard, Work
    from forge.ml.serve.guard import GuardRules
    from forge.ml.serve.model_folder import ServedModel
    from forge.ml.serve.wire import Deadlines

SPECIAL = ["<pad>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]
KEY = "a-key-of-enough-letters"


class RepeatingEngine:
    """Says the prompt again, a token every tick, to as many as have a slot; what it was asked stays in ``asked``."""

    name = "repeating"
    pooling = "mean"
    constrains = "this engine holds no text to a schema"

    def __init__(self, slots: int = 64, waiting: int = 64, tick: float = 0.0005, longest: int = 4096) -> None:
        self.longest = longest
        self.asked: list[Work] = []
        self.cancelled: list[int] = []
        self.failing = False
        self._slots, self._room, self._tick = slots, slots + waiting, tick
        self._texts: dict[int, tuple[Work, Heard, deque[int]]] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()

    def submit(self, work: Work, heard: Heard) -> int:
        with self._lock:
            if len(self._texts) >= self._room:
                raise EngineBusy("too many requests wait already")
            self.asked.append(work)
            number = len(self.asked)
            prompt = work.prompt
            said = deque(prompt[place % len(prompt)] for place in range(work.sampling.max_tokens))
            self._texts[number] = (work, heard, said)
        return number

    def cancel(self, number: int) -> None:
        with self._lock:
            if self._texts.pop(number, None) is not None:
                self.cancelled.append(number)

    def embed(self, prompts: Sequence[Sequence[int]]) -> Future[list[list[float]]]:
        if not self.pooling:
            raise RequestRefused("this model makes no embeddings")
        found: Future[list[list[float]]] = Future()
        found.set_result([[float(len(prompt)), 0.5] for prompt in prompts])
        return found

    @property
    def load(self) -> EngineLoad:
        count = len(self._texts)
        return EngineLoad(min(count, self._slots), max(count - self._slots, 0), not self.failing)

    def _work(self) -> None:
        while not self._ended.wait(self._tick):
            with self._lock:
                running = list(self._texts.items())[: self._slots]
            for number, (work, heard, said) in running:
                if self.failing:
                    self._end(number, heard, Ended("error", "it broke"))
                elif said:
                    token = said.popleft()
                    wanted = work.sampling.top_logprobs
                    heard(
                        Sampled(token) if wanted is None else Sampled(token, -0.5, ((token, -0.5), (5, -3.0))[:wanted])
                    )
                else:
                    self._end(number, heard, Ended("length"))

    def _end(self, number: int, heard: Heard, ended: Ended) -> None:
        with self._lock:
            known = self._texts.pop(number, None)
        if known is not None:
            heard(ended)


class Running:
    """A server that runs in this process, and the plainest client for it."""

    def __init__(self, engine: RepeatingEngine, port: int, key: str | None) -> None:
        self.engine, self.port, self.key = engine, port, key
        self.url = f"http://127.0.0.1:{port}"

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        sent = {} if self.key is None else {"authorization": f"Bearer {self.key}"}
        sent |= {"content-type": "application/json"} if content is not None else {}
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request(method, path, content, {**sent, **(headers or {})})
            response = connection.getresponse()
            return Answer(
                response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
            )

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)


class Answer:
    def __init__(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.status, self.headers, self.content = status, headers, content

    @property
    def json(self) -> Any:
        return json.loads(self.content)

    @property
    def error(self) -> str:
        return self.json["error"]["message"]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's folder without weights: bytes as tokens, and a template that knows tools."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    path = tmp_path_factory.mktemp("served") / "small"
    path.mkdir()
    letters = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(letters)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(content, special=True) for content in SPECIAL])
    tokenizer.save(str(path / "tokenizer.json"))
    described = {
        "bos_token": "<s>",
        "eos_token": "<|im_end|>",
        "pad_token": {"content": "<pad>"},
        "add_bos_token": False,
    }
    (path / "tokenizer_config.json").write_text(json.dumps(described))
    sizes = {"vocab_size": len(letters), "max_position_embeddings": 512, "eos_token_id": 2}
    (path / "config.json").write_text(json.dumps({"model_type": "llama", **sizes}))
    with open(f"{chat_templates()}/qwen.jinja", encoding="utf-8") as file:
        (path / "chat_template.jinja").write_text(file.read())
    return path


@pytest.fixture(scope="session")
def served_model(folder: Path) -> ServedModel:
    from forge.ml.serve.model_folder import read_served_model

    return read_served_model(str(folder))


@contextlib.contextmanager
def run_server(
    model: ServedModel,
    engine: RepeatingEngine,
    rules: GuardRules | None = None,
    deadlines: Deadlines | None = None,
    key: str | None = None,
) -> Iterator[Running]:
    uvicorn = pytest.importorskip("uvicorn")
    pytest.importorskip("fastapi")
    from forge.ml.serve.app import build_app
    from forge.ml.serve.guard import GuardRules, key_digests
    from forge.ml.serve.wire import Deadlines, deadline_protocol

    rules = rules or GuardRules(keys=key_digests([key] if key else []))
    config = uvicorn.Config(
        build_app(engine, model, rules),
        http=deadline_protocol(deadlines or Deadlines()),
        ws="none",
        lifespan="on",
        loop="asyncio",
        access_log=False,
        log_config=None,
        server_header=False,
        backlog=4096,
        timeout_graceful_shutdown=5,
    )
    server = uvicorn.Server(config)
    with contextlib.closing(engine), socket.create_server(("127.0.0.1", 0), backlog=4096) as listening:
        engine.start()
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.01)
            assert server.started
            yield Running(engine, listening.getsockname()[1], key)
        finally:
            server.should_exit = True
            thread.join(30)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def server(served_model: ServedModel) -> Iterator[Running]:
    """A server for this machine, without a key."""
    with run_server(served_model, RepeatingEngine()) as running:
        yield running


@pytest.fixture(scope="module")
def locked(served_model: ServedModel) -> Iterator[Running]:
    """A server with a key."""
    with run_server(served_model, RepeatingEngine(), key=KEY) as running:
        yield running


@pytest.fixture(scope="module")
def hasty(served_model: ServedModel) -> Iterator[Running]:
    """A server that waits for a twentieth of the usual time."""
    pytest.importorskip("uvicorn")
    from forge.ml.serve.wire import Deadlines

    deadlines = Deadlines(head=0.4, body=0.6, reading=0.8, buffer=4096)
    with run_server(served_model, RepeatingEngine(tick=0.0002), deadlines=deadlines) as running:
        yield running


@pytest.fixture
def begin_server(served_model: ServedModel) -> Iterator[Callable[..., Running]]:
    """Begins servers that end with the test."""
    with contextlib.ExitStack() as stack:
        yield lambda engine, model=served_model, **values: stack.enter_context(run_server(model, engine, **values))


@pytest.fixture(scope="session")
def until() -> Callable[[Callable[[], object]], None]:
    def wait(condition: Callable[[], object], seconds: float = 20) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "it never came"
            time.sleep(0.005)

    return wait


@pytest.fixture(scope="session")
def make_engine() -> type[RepeatingEngine]:
    return RepeatingEngine


# ---- the real thing: a process of its own, with weights


class RealServer:
    """``python -m forge.ml.serve``, and the plainest client for it."""

    def __init__(self, address: str, process: int) -> None:
        found = urlsplit(address)
        self.host, self.port, self.process = str(found.hostname), int(found.port or 0), process
        self.headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}"}

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        with contextlib.closing(http.client.HTTPConnection(self.host, self.port, timeout=60)) as connection:
            connection.request(method, path, body, {**self.headers, **(headers or {})})
            response = connection.getresponse()
            return response.status, response.read()

    def memory(self) -> int:
        """The bytes in memory of the process and of the one that writes chats."""
        with open(f"/proc/{self.process}/task/{self.process}/children", encoding="ascii") as file:
            processes = [str(self.process), *file.read().split()]
        return sum(_resident(one) for one in processes)


def _resident(process: str) -> int:
    try:
        with open(f"/proc/{process}/status", encoding="ascii") as file:
            return next((int(line.split()[1]) << 10 for line in file if line.startswith("VmRSS")), 0)
    except OSError:  # it has just ended
        return 0


@pytest.fixture(scope="session")
def whole_folder(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model with weights, as the newest checkpoint of a run."""
    torch = pytest.importorskip("torch")
    from tiny_sizes import TINY
    from transformers import LlamaConfig, LlamaForCausalLM

    from forge.ml.checkpoint.store import Store

    path = shutil.copytree(folder, tmp_path_factory.mktemp("whole") / "model")
    torch.manual_seed(1)
    LlamaForCausalLM(LlamaConfig(**{**TINY, "vocab_size": 261})).save_pretrained(path)
    store = Store(path.parent / "run" / "checkpoints")
    stage = store.begin(3)
    for entry in path.iterdir():
        stage.write_bytes(entry.name, entry.read_bytes())
    stage.commit({})
    store.release()
    return path.parent / "run"


@pytest.fixture(scope="session")
def real_server(whole_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """The newest checkpoint of a run, served with a key."""
    pytest.importorskip("fastapi")
    words = ["--model", str(whole_folder), "--from-checkpoint", "--pooling=mean", "--max-model-len=128"]
    command = [sys.executable, "-m", "forge.ml.serve", "--host=127.0.0.1", "--port=0", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "FORGE_API_KEY": KEY}
    log = tmp_path_factory.mktemp("log") / "server.txt"  # a pipe would be full one day
    with log.open("w") as written, subprocess.Popen(command, stderr=written, env=environment) as process:
        try:
            yield RealServer(_address(log, process), process.pid)
        finally:
            for _ in range(2):  # who waits for an end asks again
                process.send_signal(signal.SIGINT)
                time.sleep(0.05)
            assert process.wait(30) in (0, 130, -signal.SIGINT)
    said = log.read_text()
    assert "Traceback" not in said
    assert KEY not in said


def _address(log: Path, process: subprocess.Popen[bytes]) -> str:
    """Where it serves, once it does."""
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        for line in log.read_text().splitlines():
            if line.startswith("serving "):
                return line.split()[3]
        time.sleep(0.05)
    raise AssertionError(f"the server did not come up: {log.read_text()}")
