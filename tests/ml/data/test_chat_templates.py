"""Every shipped chat template, rendered by transformers on a conversation of three turns."""

from __future__ import annotations

import os
from typing import Any

import pytest

from forge.base.places import chat_templates

pytestmark = pytest.mark.torch
tokenizers = pytest.importorskip("tokenizers")
transformers = pytest.importorskip("transformers")
forge_tokenizer = pytest.importorskip("forge.ml.data.tokenizer")

TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "One?"},
    {"role": "assistant", "content": "Two."},
    {"role": "user", "content": "Three?"},
]

EXPECTED = {
    "chatml": (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nOne?<|im_end|>\n<|im_start|>assistant\nTwo.<|im_end|>\n"
        "<|im_start|>user\nThree?<|im_end|>\n<|im_start|>assistant\n"
    ),
    "chatml_eos": (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nOne?<|im_end|>\n<|im_start|>assistant\nTwo.</s>\n"
        "<|im_start|>user\nThree?<|im_end|>\n<|im_start|>assistant\n"
    ),
    "llama2": "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nOne? [/INST] Two. </s><s>[INST] Three? [/INST]",
    "llama3": (
        "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nOne?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nTwo.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nThree?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    ),
    "mistral": "<s>[INST] Be brief.\n\nOne?[/INST] Two.</s>[INST] Three?[/INST]",
    "qwen": (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nOne?<|im_end|>\n<|im_start|>assistant\nTwo.<|im_end|>\n"
        "<|im_start|>user\nThree?<|im_end|>\n<|im_start|>assistant\n"
    ),
    "gemma": (
        "<s><start_of_turn>user\nBe brief.\n\nOne?<end_of_turn>\n<start_of_turn>model\nTwo.<end_of_turn>\n"
        "<start_of_turn>user\nThree?<end_of_turn>\n<start_of_turn>model\n"
    ),
    "alpaca": (
        "Be brief.\n\n### Instruction:\nOne?\n\n### Response:\nTwo.</s>\n\n### Instruction:\nThree?\n\n### Response:\n"
    ),
}


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel({"<s>": 0, "</s>": 1, "?": 2}, "?"))
    tokens = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "?"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=inner, **tokens)


def _render(tokenizer: Any, name: str, turns: list[dict[str, str]], *, prompt: bool = True) -> str:
    return tokenizer.apply_chat_template(
        turns, chat_template=forge_tokenizer.template_text(name), tokenize=False, add_generation_prompt=prompt
    )


def test_every_shipped_template_has_an_expected_rendering() -> None:
    shipped = {entry.removesuffix(".jinja") for entry in os.listdir(chat_templates())}
    assert shipped == set(EXPECTED)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_conversation_renders_as_the_format_says(tokenizer: Any, name: str) -> None:
    assert _render(tokenizer, name, TURNS) == EXPECTED[name]


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_longer_conversation_begins_with_the_shorter_one(tokenizer: Any, name: str) -> None:
    longer = [*TURNS, {"role": "assistant", "content": "Four."}]
    assert _render(tokenizer, name, longer, prompt=False).startswith(EXPECTED[name])


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_an_answer_ends_with_a_mark_that_can_be_learned(tokenizer: Any, name: str) -> None:
    longer = [*TURNS, {"role": "assistant", "content": "Four."}]
    end = _render(tokenizer, name, longer, prompt=False).removeprefix(EXPECTED[name]).strip()
    assert end.startswith("Four.")
    assert end.removeprefix("Four.").strip() in {"<|im_end|>", "</s>", "<|eot_id|>", "<end_of_turn>"}


@pytest.mark.parametrize("name", ["llama2", "mistral", "gemma"])
def test_two_user_turns_in_a_row_are_refused(tokenizer: Any, name: str) -> None:
    with pytest.raises(Exception, match="takes turns of user and assistant"):
        _render(tokenizer, name, [TURNS[1], TURNS[1]])


def test_qwen_speaks_for_itself_when_there_is_no_system_message(tokenizer: Any) -> None:
    assert _render(tokenizer, "qwen", TURNS[1:2]).startswith("<|im_start|>system\nYou are Qwen")


def test_an_unknown_template_names_the_known_ones() -> None:
    with pytest.raises(FileNotFoundError, match="alpaca, chatml, chatml_eos"):
        forge_tokenizer.template_text("nonsense")
