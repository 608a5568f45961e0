from __future__ import annotations

import math
from collections import Counter

import pytest

torch = pytest.importorskip("torch")
from forge.ml.serve.engine import Sampling  # noqa: E402 - what follows needs torch
from forge.ml.serve.sampler import Choosing, choose_tokens  # noqa: E402

pytestmark = pytest.mark.torch
LOGITS = torch.tensor([[0.0, 1.0, 2.0, 3.0]])


def _choosing(**values: object) -> Choosing:
    return Choosing(Sampling(max_tokens=9, **{"temperature": 0, **values}), prompt=(3,))


def _counts(count: int = 2000, **values: object) -> Counter[int]:
    rows = [_choosing(temperature=1.0, seed=seed, **values) for seed in range(count)]
    return Counter(one.token for one in choose_tokens(LOGITS.expand(count, -1), rows))


def test_without_temperature_the_likeliest_is_chosen() -> None:
    assert choose_tokens(LOGITS, [_choosing()])[0].token == 3


def test_chance_follows_the_probabilities() -> None:
    wanted = torch.softmax(LOGITS[0], -1).tolist()
    counts = _counts()
    assert all(math.isclose(counts[token] / 2000, wanted[token], abs_tol=0.04) for token in range(4))


def test_filters_cut_the_tail_and_never_all() -> None:
    assert set(_counts(top_k=2)) == {2, 3}
    assert set(_counts(top_p=0.7)) == {2, 3}
    assert set(_counts(top_p=1e-9)) == {3}
    assert set(_counts(min_p=0.3)) == {2, 3}
    assert set(_counts(top_k=1 << 20)) == {0, 1, 2, 3}


def test_the_seed_decides_whoever_runs_beside_it() -> None:
    def alone(seed: int) -> list[int]:
        text = _choosing(temperature=1.0, seed=seed, top_p=0.9)
        return [choose_tokens(LOGITS, [text])[0].token for _ in range(20)]

    text = _choosing(temperature=1.0, seed=5, top_p=0.9)
    beside = [
        choose_tokens(LOGITS.expand(3, -1), [_choosing(), text, _choosing(temperature=2.0)])[1].token for _ in range(20)
    ]
    assert beside == alone(5) != alone(6)


def test_penalties_and_biases_change_the_choice() -> None:
    assert choose_tokens(LOGITS, [_choosing(repetition_penalty=4.0)])[0].token == 2  # the prompt has said 3
    text = _choosing(presence_penalty=1.5)
    assert [choose_tokens(LOGITS, [text])[0].token for _ in range(2)] == [3, 2]
    text = _choosing(frequency_penalty=0.6)
    assert [choose_tokens(LOGITS, [text])[0].token for _ in range(3)] == [3, 3, 2]
    assert choose_tokens(LOGITS, [_choosing(logit_bias={0: 100.0})])[0].token == 0
    assert choose_tokens(LOGITS, [_choosing(logit_bias={3: -100.0})])[0].token == 2
    assert LOGITS.tolist() == [[0.0, 1.0, 2.0, 3.0]]


def test_probabilities_are_those_of_the_model() -> None:
    (found,) = choose_tokens(LOGITS, [_choosing(top_logprobs=2, logit_bias={0: 100.0})])
    wanted = torch.log_softmax(LOGITS[0], -1)
    assert found.logprob == pytest.approx(float(wanted[0]))
    assert [token for token, _ in found.top] == [3, 2]
    assert choose_tokens(LOGITS, [_choosing(top_logprobs=0)])[0].top == ()
    assert choose_tokens(LOGITS, [_choosing(top_logprobs=20)])[0].top[-1][0] == 0


def test_a_constraint_leaves_only_what_may_come() -> None:
    class Only:
        def allowed(self) -> bytes:
            return bytes([0b0010])

        def take(self, _token: int) -> bool:
            return True

    text = Choosing(Sampling(max_tokens=1, temperature=1.0), constraint=Only())  # type: ignore[arg-type]
    assert {choose_tokens(LOGITS, [text])[0].token for _ in range(20)} == {1}
