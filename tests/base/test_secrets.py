from __future__ import annotations

import json
import pickle

import pytest

from forge.base.secrets import MASK, Secret, is_secret_name, masked_override


def test_no_way_of_printing_shows_a_secret() -> None:
    secret = Secret("hunter2")
    shown = [str(secret), repr(secret), f"{secret}", f"{secret:>20}", f"{secret!r}", str([secret]), str({"k": secret})]
    assert not any("hunter2" in text for text in shown)
    assert all(MASK in text for text in shown)


def test_only_reveal_gives_the_value() -> None:
    assert Secret("hunter2").reveal() == "hunter2"
    assert not hasattr(Secret("hunter2"), "__dict__")


def test_a_secret_does_not_become_json() -> None:
    with pytest.raises(TypeError):
        json.dumps({"k": Secret("hunter2")})


def test_equal_secrets_are_equal_and_hash_alike_without_telling() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert hash(Secret("a")) == hash(Secret("b"))


def test_a_copy_of_a_secret_stays_a_secret() -> None:
    copy = pickle.loads(pickle.dumps(Secret("hunter2")))  # noqa: S301 - our own bytes
    assert str(copy) == MASK


@pytest.mark.parametrize(
    "name",
    ["api_key", "API-KEY", "hf_token", "password", "db.password", "aws_secret_access_key", "credentials", "secret"],
)
def test_names_of_secrets_are_known(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    ["pad_token", "tokenizer", "max_tokens", "eos_token_id", "key", "keyboard", "secretary", "token", 3, None, ""],
)
def test_other_names_stay_readable(name: object) -> None:
    assert not is_secret_name(name)


def test_an_override_is_masked_by_its_key() -> None:
    assert masked_override("tracker.api_key=hunter2") == f"tracker.api_key={MASK}"
    assert masked_override("trainer.max_steps=3") == "trainer.max_steps=3"
    assert masked_override("~api_key") == "~api_key"
    assert masked_override("--hub-token hunter2") == f"--hub-token {MASK}"
    assert masked_override("+tracker={name: x, api_key: hunter2}") == f"+tracker={MASK}"
