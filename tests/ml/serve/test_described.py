"""Requests and answers by the server's own description of them, made and compared by a fuzzer that knows nothing else of it."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Running

pytest.importorskip("fastapi")
from forge.ml.serve.described import ERRORS, ChatAnswer, HealthAnswer, answers

FULL = bool(os.environ.get("FORGE_FULL"))
COUNT = 300 if FULL else 8
ROUTES = {
    *("POST /v1/chat/completions", "POST /v1/completions", "POST /v1/embeddings", "POST /tokenize", "POST /detokenize"),
    *("GET /v1/models", "GET /v1/models/{name}", "GET /health", "GET /metrics"),
}


def test_every_answer_is_described(server: Running) -> None:
    paths = server.ask("GET", "/openapi.json").json["paths"]
    routes = {
        f"{method.upper()} {path}": described for path, found in paths.items() for method, described in found.items()
    }
    assert routes.keys() == ROUTES
    for described in routes.values():
        assert set(described["responses"]) == {"200", "4XX", "503"}
    streams = {
        name for name, described in routes.items() if "text/event-stream" in described["responses"]["200"]["content"]
    }
    assert streams == {"POST /v1/chat/completions", "POST /v1/completions"}
    assert set(answers(ChatAnswer, streams=True)[200]["content"]) == {"text/event-stream"}
    assert set(ERRORS) == {"4XX", 503}
    HealthAnswer.model_validate(server.ask("GET", "/health").json)


@pytest.mark.slow
def test_a_fuzzer_finds_no_request_that_is_answered_otherwise(server: Running) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        schemathesis = pytest.importorskip("schemathesis")
        described = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
        statuses = {
            (operation.label, mode.value): _attempted(operation, mode)
            for operation in (result.ok() for result in described.get_all_operations())
            for mode in schemathesis.GenerationMode
            if mode.is_positive or operation.body
        }
    assert {label for label, _ in statuses} == ROUTES
    assert sum(found.count(200) for found in statuses.values()) > COUNT
    assert sum(found.count(400) for found in statuses.values()) > 4 * COUNT


def _attempted(operation: Any, mode: Any) -> list[int]:
    """The statuses of the answers to so many requests, right ones or wrong ones, each compared with the description.

    That a request is right by its description does not mean that it can be done: what tokens there are, for one, is in no schema.
    """
    from hypothesis import HealthCheck, Phase, given, seed, settings
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    found: list[int] = []

    @seed(1)
    @settings(
        max_examples=COUNT,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate],
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def attempt(case: Any) -> None:
        answer = case.call()
        found.append(answer.status_code)
        case.validate_response(answer, excluded_checks=[positive_data_acceptance])

    run: Callable[[], None] = attempt
    run()
    return found
