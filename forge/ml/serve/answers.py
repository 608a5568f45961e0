"""What clients read: answers, and the pieces of streams, in the form that OpenAI's API has."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tokenizers import Tokenizer

    from forge.ml.serve.engine import Sampled

__all__ = ["AnswerHead", "chat_logprobs", "completion_logprobs", "token_counts"]


class AnswerHead:
    """What all pieces of one answer have in common."""

    def __init__(self, kind: str, model: str, prefix: str) -> None:
        self._common = {
            "id": f"{prefix}-{secrets.token_hex(12)}",
            "object": kind,
            "created": int(time.time()),
            "model": model,
        }

    def __call__(self, choices: Sequence[dict[str, Any]], usage: dict[str, Any] | None = None) -> dict[str, Any]:
        """An answer, or a piece of one, with these choices."""
        found = {**self._common, "choices": list(choices)}
        return found | ({"usage": usage} if usage is not None else {})


def token_counts(prompt: int, generated: int) -> dict[str, Any]:
    """How many tokens a request had."""
    return {"prompt_tokens": prompt, "completion_tokens": generated, "total_tokens": prompt + generated}


def chat_logprobs(tokenizer: Tokenizer, tokens: Sequence[Sampled]) -> dict[str, Any]:
    """Probabilities as chats have them."""
    return {
        "content": [
            {
                **_likelihood(tokenizer, sampled.token, sampled.logprob or 0.0),
                "top_logprobs": [_likelihood(tokenizer, token, logprob) for token, logprob in sampled.top],
            }
            for sampled in tokens
        ],
        "refusal": None,
    }


def completion_logprobs(tokenizer: Tokenizer, tokens: Sequence[Sampled], offset: int) -> dict[str, Any]:
    """Probabilities as completions have them; ``offset`` is where the text of the first token begins."""
    texts = [_shown(tokenizer, sampled.token) for sampled in tokens]
    offsets = []
    for text in texts:
        offsets.append(offset)
        offset += len(text)
    return {
        "tokens": texts,
        "token_logprobs": [_finite(sampled.logprob or 0.0) for sampled in tokens],
        "top_logprobs": [
            {_shown(tokenizer, token): _finite(logprob) for token, logprob in sampled.top} for sampled in tokens
        ],
        "text_offset": offsets,
    }


def _likelihood(tokenizer: Tokenizer, token: int, logprob: float) -> dict[str, Any]:
    text = _shown(tokenizer, token)
    return {"token": text, "logprob": _finite(logprob), "bytes": list(text.encode())}


def _shown(tokenizer: Tokenizer, token: int) -> str:
    return tokenizer.decode([token], skip_special_tokens=False)


def _finite(logprob: float) -> float:
    """JSON has no infinity."""
    return max(logprob, -9999.0)
