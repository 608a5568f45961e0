"""How quick forge serves, next to ``transformers serve`` in the same run: ``python benchmarks/serve.py``.

The same random llama, the same chats, all servers up at the same time and asked in turn. ``--write docs/performance.md`` puts
the table into the section "Serve" of that page. Start it with an interpreter that has the extras train, serve and test.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from own_venv import ROOT
from report import NONE, Table, Verdict, duration, machine, ratio_text, with_section

if TYPE_CHECKING:
    from collections.abc import Iterator

OURS = "forge"
PLAIN, BATCHED = "transformers serve", "transformers serve, continuous batching"
_SIZES = {"tiny": (64, 2, 512), "small": (256, 6, 8192), "medium": (512, 8, 16384)}
_BUDGET, _MANY = 1.2, 32
_PATIENCE = 120
_PEER = "import sys; from transformers.cli.transformers import main; sys.argv[0] = 'transformers'; main()"


class Server(NamedTuple):
    """A server that runs: who it is, what it calls the model, where it listens, and its process."""

    name: str
    model: str
    port: int
    process: int


class Round(NamedTuple):
    """What so many clients at a time got: tokens a second of all of them, and the middle one's wait for the first.

    ``memory`` is what the server has in memory afterwards.
    """

    tokens_per_second: float
    first: float
    memory: int


def main() -> int:
    """Measure, print, and write what is asked for."""
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        make_model(folder, *_SIZES[options.size])
        with contextlib.ExitStack() as stack:
            servers = [stack.enter_context(running(name, folder, options.threads)) for name in (OURS, BATCHED, PLAIN)]
            table = compare(servers, options)
    print(table.markdown())
    if options.write:
        page = Path(options.write)
        page.write_text(with_section(page, "Serve", f"{machine()}.\n\n{table.markdown()}"))
    for missed in table.unmet:
        print(f"missed: {missed}", file=sys.stderr)
    return 1 if options.check and table.unmet else 0


def make_model(folder: str, hidden: int, layers: int, vocabulary: int) -> None:
    """Save a random llama with a tokenizer of bytes and a chat template; nothing that it says ends a text."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    bytes_ = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    fill = {f"word{number}": number for number in range(len(bytes_), vocabulary)}
    tokenizer = Tokenizer(models.BPE(vocab=bytes_ | fill, merges=[]))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    wrapped.chat_template = "{% for message in messages %}{{ message['role'] + ': ' + message['content'] }}{% endfor %}"
    wrapped.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=hidden * 3,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 32,
        num_key_value_heads=max(hidden // 64, 1),
        max_position_embeddings=1024,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


@contextlib.contextmanager
def running(name: str, folder: str, threads: int) -> Iterator[Server]:
    """A server of the model in a folder, which ends with the block."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = ["-m", "forge", "inf", "server", "-m", folder, "--served-model-name", "m", "--host", "127.0.0.1"]
    if name != OURS:
        words = ["-c", _PEER, "serve", folder, "--device", "cpu", "--host", "127.0.0.1"]
        words += ["--continuous-batching"] if name == BATCHED else []
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(
            [sys.executable, *words, f"--port={port}"], env=environment, stdout=log, stderr=log
        ) as process,
    ):
        try:
            _wait(process, port, name)
            yield Server(name, "m" if name == OURS else folder, port, process.pid)
        finally:
            process.terminate()
            process.wait(30)


def _wait(process: subprocess.Popen[bytes], port: int, name: str) -> None:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
            return
        time.sleep(0.2)
    raise SystemExit(f"{name} does not come up")


def compare(servers: list[Server], options: argparse.Namespace) -> Table:
    """Ask all servers in turn, with so many clients at a time."""
    rows = []
    for clients in map(int, options.clients.split(",")):
        found: dict[str, list[Round]] = {server.name: [] for server in servers}
        for number in range(options.rounds + 1):  # the first round warms up
            for server in servers:
                one = asyncio.run(ask(server, clients, options.tokens, number))
                found[server.name] += [one] if number else []
        best = max(median(one.tokens_per_second for one in found[name]) for name in found if name != OURS)
        rows += [_row(clients, name, rounds, best) for name, rounds in found.items()]
    text = (
        f"A random llama ({options.size}), chats of about 100 tokens, {options.tokens} tokens answered to each, streamed; "
        f"{options.threads} thread for each server. No two chats begin alike. Medians of {options.rounds} rounds in turn; "
        "first token in milliseconds, memory of the server's process in MB."
    )
    head = ("clients", "who", "tokens/s", "of best peer", "first token", "memory")
    return Table("Streams at a time", text, head, rows)


def _row(clients: int, name: str, rounds: list[Round], best: float) -> tuple[str, ...]:
    speed, first = median(one.tokens_per_second for one in rounds), median(one.first for one in rounds)
    ratio = speed / best
    verdict = Verdict()
    if name == OURS and clients >= _MANY:
        verdict = Verdict(f"≥ {_BUDGET}x", ratio >= _BUDGET)
    shown = ratio_text(ratio) if name == OURS else NONE
    memory = f"{max(one.memory for one in rounds) / 1e6:,.0f}"
    return (str(clients), name, f"{speed:,.0f}", shown, duration(first), memory, *verdict.cells)


async def ask(server: Server, clients: int, tokens: int, number: int = 0) -> Round:
    """Stream so many chats at once; ``number`` makes them other ones than those of another round."""
    began = time.perf_counter()
    firsts = await asyncio.gather(*(_stream(server, f"{number}.{client}", tokens) for client in range(clients)))
    taken = time.perf_counter() - began
    return Round(clients * tokens / taken, median(firsts), _memory(server.process))


def _memory(process: int) -> int:
    """What a process and all that it has started have in memory."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    own = next((int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmRSS")), 0)
    children = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="ascii").split()
    return own + sum(_memory(int(child)) for child in children)


async def _stream(server: Server, name: str, tokens: int) -> float:
    """The seconds until the first piece of one chat, which is read to its end."""
    began = time.perf_counter()
    said = f"{name} tell me a story about a harbour. " * 3
    body: dict[str, Any] = {"model": server.model, "messages": [{"role": "user", "content": said}]}
    body |= {"max_tokens": tokens, "temperature": 0, "stream": True}
    content = json.dumps(body).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{server.port}\r\ncontent-type: application/json\r\n"
    head += f"content-length: {len(content)}\r\nconnection: close\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1 << 22)
    writer.write(head.encode() + content)
    first, reason = 0.0, ""
    async for line in reader:
        if line.startswith(b"data: {"):
            choice = (json.loads(line[6:])["choices"] or [{}])[0]
            first = first or (time.perf_counter() - began if choice.get("delta", {}).get("content") else 0.0)
            reason = choice.get("finish_reason") or reason
    writer.close()
    if reason != "length":  # otherwise nobody knows how many tokens came
        raise SystemExit(f"{server.name} ended a text for the reason {reason!r}")
    return first


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=_SIZES, default="small")
    parser.add_argument("--clients", default="1,8,32")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--check", action="store_true", help="exit code 1 when a budget is not met")
    parser.add_argument("--write", help="the page to write the table into")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
