from __future__ import annotations

import json
from typing import TYPE_CHECKING

from forge.ml.serve.answers import AnswerHead, chat_logprobs, completion_logprobs, token_counts
from forge.ml.serve.engine import Sampled

if TYPE_CHECKING:
    from forge.ml.serve.model_folder import ServedModel


def test_all_pieces_of_an_answer_have_one_head() -> None:
    head = AnswerHead("chat.completion.chunk", "m", "chatcmpl")
    first, second = head([{"index": 0}]), head([], token_counts(2, 3))
    assert first["id"] == second["id"]
    assert "usage" not in first
    assert second["usage"] == {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
    assert AnswerHead("x", "m", "p")([])["id"] != first["id"]


def test_probabilities_are_json_whatever_they_are(served_model: ServedModel) -> None:
    token, end = served_model.tokens("a<|im_end|>")
    tokens = [Sampled(token, -0.25, ((token, -0.25), (end, float("-inf")))), Sampled(end, float("-inf"))]
    chat = chat_logprobs(served_model.tokenizer, tokens)
    assert chat["content"][0]["top_logprobs"][1] == {
        "token": "<|im_end|>",
        "logprob": -9999.0,
        "bytes": list(b"<|im_end|>"),
    }
    text = completion_logprobs(served_model.tokenizer, tokens, 5)
    assert (text["text_offset"], text["token_logprobs"]) == ([5, 6], [-0.25, -9999.0])
    json.dumps([chat, text], allow_nan=False)
