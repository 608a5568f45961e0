from __future__ import annotations

import dataclasses

import pytest

from forge.ml.serve.engine import Ended, EngineBusy, EngineLoad, RequestRefused, Sampled, Sampling, Work


def test_what_passes_between_server_and_engine_is_plain_and_fixed() -> None:
    work = Work((1, 2), Sampling(max_tokens=3))
    assert work.sampling.stop_tokens == frozenset()
    assert Sampled(4).logprob is None
    assert Ended("stop").detail == ""
    assert EngineLoad(1, 2).alive
    with pytest.raises(dataclasses.FrozenInstanceError):
        work.prompt = ()  # type: ignore[misc]


def test_refusals_say_when_to_come_back_and_what_is_wrong() -> None:
    assert (EngineBusy("full").later, EngineBusy("full").stopping) == (1, False)
    assert RequestRefused("no", "n").param == "n"
