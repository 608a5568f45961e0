"""vLLM itself behind the server, where it is installed: what forge has exported, and an adapter on its base model."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.torch,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed"),
]
openai = pytest.importorskip("openai")
HI = [{"role": "user", "content": "hi"}]
NAME = "m"
PROMPT = "the quick brown fox"


@pytest.fixture(scope="module")
def folders(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A base model, an adapter for it, and what forge exports of the two."""
    path = tmp_path_factory.mktemp("vllm")
    found = {name: path / name for name in ("base", "adapter", "exported")}
    shutil.copytree(folder, found["base"])
    described = json.loads((found["base"] / "tokenizer_config.json").read_text())
    (found["base"] / "tokenizer_config.json").write_text(json.dumps({**described, "pad_token": "<pad>"}))
    _write_models(found["base"], found["adapter"])
    words = [sys.executable, "-m", "forge", "export", str(found["adapter"]), str(found["exported"])]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return found


def _write_models(base: Path, adapter: Path) -> None:
    import peft
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from forge.ml.models.adapter import put_adapter

    torch.manual_seed(1)
    sizes = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "max_position_embeddings": 2048}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=261, **sizes, **heads, bos_token_id=1, eos_token_id=2))
    with torch.no_grad():
        model.lm_head.weight.mul_(8)  # so that one token is likelier than the others, however it is rounded
    model.save_pretrained(base)
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["q_proj", "down_proj"])
    wrapped = put_adapter(LlamaForCausalLM.from_pretrained(base), config)
    with torch.no_grad():
        for name, weight in wrapped.named_parameters():
            if "lora_B" in name:
                weight.add_(torch.randn_like(weight), alpha=0.3)
    wrapped.save_pretrained(adapter)


@pytest.fixture(scope="module", params=["exported", "adapter"])
def client(request: pytest.FixtureRequest, folders: dict[str, Path], tmp_path: Path) -> Iterator[Any]:
    """A client of a server with vLLM."""
    served = {"exported": ["exported"], "adapter": ["base", f"--adapter={folders['adapter']}"]}[request.param]
    words = [
        "--engine=vllm",
        "--dtype=float32",
        f"--served-model-name={NAME}",
        "--max-num-seqs=8",
        "--host=127.0.0.1",
        "--port=0",
    ]
    command = [sys.executable, "-m", "forge.ml.serve", f"--model={folders[served[0]]}", *served[1:], *words]
    log = tmp_path / "server.txt"
    with log.open("w") as written, subprocess.Popen(command, stderr=written, stdout=written) as process:
        try:
            with openai.OpenAI(base_url=f"{_address(log, process)}/v1", api_key="none", timeout=120) as found:
                yield found
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(60) in (0, 130, -signal.SIGINT), log.read_text()


@pytest.fixture(scope="module")
def tmp_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log")


def _address(log: Path, process: subprocess.Popen[Any]) -> str:
    end = time.monotonic() + 600  # it imports a lot, in three processes
    while time.monotonic() < end and process.poll() is None:
        for line in log.read_text().splitlines():
            if line.startswith("serving "):
                return line.split()[3]
        time.sleep(0.2)
    raise AssertionError(f"the server did not come up: {log.read_text()}")


def _complete(client: Any, **asked: Any) -> Any:
    return client.completions.create(model=NAME, **{"prompt": PROMPT, **asked}, extra_body={"ignore_eos": True})


def test_it_says_what_transformers_would(client: Any, folders: dict[str, Path]) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folders["exported"], dtype=torch.float32)
    prompt = AutoTokenizer.from_pretrained(folders["exported"])(PROMPT, return_tensors="pt").input_ids
    asked = {"max_tokens": 12, "temperature": 0, "logprobs": 3}
    found = _complete(client, prompt=prompt[0].tolist(), **asked).choices[0].logprobs
    said = model.generate(prompt, max_new_tokens=12, do_sample=False, eos_token_id=None, pad_token_id=0)
    logprobs = torch.log_softmax(model(said).logits[0, prompt.shape[1] - 1 : -1].float(), -1)
    expected = logprobs.gather(1, said[0, prompt.shape[1] :, None])[:, 0].tolist()
    assert found.token_logprobs == pytest.approx(expected, abs=2e-3)
    assert all(1 <= len(top) <= 3 for top in found.top_logprobs)


def test_chats_completions_and_streams(client: Any) -> None:
    asked = {"model": NAME, "messages": HI, "max_tokens": 6, "seed": 4, "n": 2, "extra_body": {"ignore_eos": True}}
    chats = [client.chat.completions.create(**asked) for _ in range(2)]
    assert [one.message.content for one in chats[0].choices] == [one.message.content for one in chats[1].choices]
    assert (chats[0].usage.completion_tokens, chats[0].choices[1].finish_reason) == (12, "length")
    whole = _complete(client, max_tokens=20, seed=1, temperature=1.0).choices[0].text
    stream = _complete(client, max_tokens=20, seed=1, temperature=1.0, stream=True)
    assert "".join(piece.choices[0].text for piece in stream) == whole
    stop = next(letter for letter in whole[2:] if letter not in whole[:2])
    cut = _complete(client, max_tokens=20, seed=1, temperature=1.0, stop=[stop]).choices[0]
    assert (cut.text, cut.finish_reason) == (whole[: whole.index(stop)], "stop")
    biased = _complete(client, max_tokens=5, temperature=0, logit_bias={"70": 100}).choices[0].text
    assert len(biased) == 5
    assert len(set(biased)) == 1


def test_texts_are_held_to_a_schema(client: Any) -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "boolean"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    said = client.chat.completions.create(model=NAME, messages=HI, max_tokens=60, response_format=form)
    assert json.loads(said.choices[0].message.content)["a"] in (True, False)
    tools = [{"type": "function", "function": {"name": "f", "parameters": schema}}]
    called = client.chat.completions.create(
        model=NAME, messages=HI, max_tokens=200, tools=tools, tool_choice="required"
    )
    (call,) = called.choices[0].message.tool_calls
    assert (call.function.name, set(json.loads(call.function.arguments))) == ("f", {"a"})
    wrong = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "nosuch"}}}
    with pytest.raises(openai.BadRequestError, match="schema cannot be used"):
        client.chat.completions.create(model=NAME, messages=HI, max_tokens=9, response_format=wrong)
    with pytest.raises(openai.BadRequestError, match="makes no embeddings"):
        client.embeddings.create(model=NAME, input="abc")


def test_many_at_a_time_and_one_that_goes_away(client: Any) -> None:
    counts: list[int] = []

    def ask(number: int) -> None:
        found = _complete(client, prompt=PROMPT[: number + 1], max_tokens=30)
        counts.append(found.usage.completion_tokens)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [30] * 16
    stream = _complete(client, max_tokens=1900, stream=True)
    next(iter(stream))
    assert _running(client) == 1
    stream.close()
    end = time.monotonic() + 20
    while _running(client):
        assert time.monotonic() < end, "the text goes on"
        time.sleep(0.02)


def _running(client: Any) -> int:
    address = str(client.base_url).replace("/v1/", "/metrics")
    with urllib.request.urlopen(address, timeout=30) as answer:  # noqa: S310 - the server of this test
        lines = answer.read().decode().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("forge_running "))
