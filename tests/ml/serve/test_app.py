from __future__ import annotations

import base64
import dataclasses
import json
import struct
import threading
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Running

    from forge.ml.serve.model_folder import ServedModel

pytest.importorskip("fastapi")
openai = pytest.importorskip("openai")

ROUTES = {
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/tokenize",
    "/detokenize",
    "/v1/models",
    "/v1/models/{name}",
    "/health",
    "/metrics",
}


def test_the_models_are_listed(server: Running) -> None:
    card = server.ask("GET", "/v1/models").json["data"][0]
    assert (card["id"], card["max_model_len"]) == ("small", 4096)
    assert server.ask("GET", "/v1/models/small").json == card
    assert server.ask("GET", "/v1/models/large").status == 404


def test_the_server_describes_itself(server: Running) -> None:
    described = server.ask("GET", "/openapi.json").json
    assert set(described["paths"]) == ROUTES
    assert server.ask("GET", "/docs").status == 404  # that page would load its code from elsewhere


def test_texts_become_tokens_and_back(server: Running) -> None:
    found = server.ask("POST", "/tokenize", {"prompt": "aé<|im_end|>"}).json
    assert found["count"] == len(found["tokens"]) == 4
    assert server.ask("POST", "/detokenize", {"tokens": found["tokens"]}).json == {"prompt": "aé<|im_end|>"}
    chat = server.ask("POST", "/tokenize", {"messages": [{"role": "user", "content": "hi"}]}).json["tokens"]
    assert "user\nhi" in server.ask("POST", "/detokenize", {"tokens": chat}).json["prompt"]
    assert server.ask("POST", "/tokenize", {}).status == 400
    assert server.ask("POST", "/detokenize", {"tokens": [9999]}).error == "the model knows no token 9999"


def test_embeddings_are_numbers_or_base64(server: Running) -> None:
    found = server.ask("POST", "/v1/embeddings", {"input": ["ab", "abcd"]}).json
    assert [entry["embedding"] for entry in found["data"]] == [[2.0, 0.5], [4.0, 0.5]]
    assert found["usage"] == {"prompt_tokens": 6, "total_tokens": 6}
    coded = server.ask("POST", "/v1/embeddings", {"input": "ab", "encoding_format": "base64"}).json
    assert struct.unpack("<2f", base64.b64decode(coded["data"][0]["embedding"])) == (2.0, 0.5)
    assert server.ask("POST", "/v1/embeddings", {"input": ""}).status == 400
    assert "one size" in server.ask("POST", "/v1/embeddings", {"input": "a", "dimensions": 3}).error


def test_the_official_client_gets_embeddings(server: Running) -> None:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        assert client.embeddings.create(model="small", input="abc").data[0].embedding == [3.0, 0.5]


def test_health_and_figures(server: Running) -> None:
    server.ask("POST", "/v1/completions", {"prompt": "abc", "max_tokens": 4})
    assert server.ask("GET", "/health").json == {"status": "ok"}
    text = server.ask("GET", "/metrics").content.decode()
    assert "forge_generated_tokens_total" in text
    server.engine.failing = True
    assert server.ask("GET", "/health").status == 503
    server.engine.failing = False


def test_a_mistake_names_the_field_and_says_nothing_that_was_sent(server: Running) -> None:
    for body, param in [
        ({"prompt": "a", "temperature": "SECRET"}, "temperature"),
        ({"prompt": "a", "n": 1000}, "n"),
        ({"prompt": "a", "maxtokens": 3}, "maxtokens"),
        ({"prompt": "a", "logit_bias": {"1": 1e999}}, "logit_bias.1"),
        ({"prompt": "a", "max-Tokens": 3}, "max-Tokens"),
        ({"prompt": [[1, "x"]]}, "prompt.0.1"),
        ({}, "prompt"),
    ]:
        found = server.ask("POST", "/v1/completions", body)
        assert (found.status, found.json["error"]["param"]) == (400, param)
        assert b"SECRET" not in found.content
    assert server.ask("POST", "/v1/completions", b'{"a":').error.startswith("the body is no JSON: ")
    for field, value, says in [
        ("stop", list("abcdefghi"), "at most 8 items"),
        ("prompt", ["a"] * 33, "at most 32 items"),
        ("prompt", [], "at least 1 item"),
    ]:
        found = server.ask("POST", "/v1/completions", {"prompt": "a", field: value})
        assert found.status == 400
        assert found.error.startswith(f"{field}: ")
        assert says in found.error
    assert server.ask("POST", "/tokenize", b"{}").error == "give a prompt or messages, one of them"
    for body in (b"", b"{", b"[]", b"null", b'"\\ud800"', b"\xff", b'{"prompt": "\\ud800"}'):
        assert server.ask("POST", "/v1/completions", body).status == 400


def test_an_unknown_route_and_method_are_told_as_errors(server: Running) -> None:
    assert server.ask("GET", "/nosuch").json["error"]["type"] == "not_found_error"
    found = server.ask("GET", "/v1/completions")
    assert (found.status, found.headers["allow"]) == (405, "POST")
    assert json.loads(found.content)["error"]["message"]


def test_an_engine_that_fails_is_told(server: Running) -> None:
    server.engine.failing = True
    try:
        found = server.ask("POST", "/v1/completions", {"prompt": "abc"})
        streamed = server.ask("POST", "/v1/completions", {"prompt": "abc", "stream": True})
    finally:
        server.engine.failing = False
    assert (found.status, found.error) == (503, "the engine failed")
    assert b"could not finish" in streamed.content
    assert b"[DONE]" not in streamed.content


def test_long_texts_hold_up_nobody(
    served_model: ServedModel, make_engine: Any, begin_server: Callable[..., Running]
) -> None:
    """What takes long is not done by the thread that all connections share."""
    threads: list[str] = []

    class Tokenizer:
        def encode(self, text: str, **given: Any) -> Any:
            threads.append(threading.current_thread().name)
            return served_model.tokenizer.encode(text, **given)

        def decode(self, tokens: list[int], **given: Any) -> str:
            threads.append(threading.current_thread().name)
            return served_model.tokenizer.decode(tokens, **given)

    model = dataclasses.replace(served_model, tokenizer=Tokenizer())
    server = begin_server(make_engine(), model=model)
    for path, body in {
        "/v1/embeddings": {"input": "abc"},
        "/tokenize": {"prompt": "abc"},
        "/detokenize": {"tokens": [70]},
        "/v1/completions": {"prompt": "abc", "max_tokens": 1},
    }.items():
        assert server.ask("POST", path, body).status == 200
    assert len(threads) >= 4
    assert all(name.startswith("asyncio_") for name in threads[:4])
