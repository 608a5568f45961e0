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


CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": [2, "é"]}}}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}


def test_qwen_names_the_tools_and_shows_calls_and_their_answers_as_it_learned_them(tokenizer: Any) -> None:
    turns = [
        TURNS[1],
        {"role": "assistant", "content": "Adding.", "tool_calls": [CALL, CALL]},
        {"role": "tool", "content": "3"},
        {"role": "tool", "content": "4"},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "content": "5"},
        TURNS[2],
    ]
    text = tokenizer.apply_chat_template(
        turns, tools=[TOOL, TOOL], chat_template=forge_tokenizer.template_text("qwen"), tokenize=False
    )
    tool = '{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}'
    call = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": [2, "é"]}}\n</tool_call>'
    assert text == (
        "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.\n\n# Tools\n\n"
        "You may call one or more functions to assist with the user query.\n\nYou are provided with function signatures "
        f"within <tools></tools> XML tags:\n<tools>\n{tool}\n{tool}\n</tools>\n\nFor each function call, return a json "
        "object with function name and arguments within <tool_call></tool_call> XML tags:\n<tool_call>\n"
        '{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call><|im_end|>\n'
        "<|im_start|>user\nOne?<|im_end|>\n"
        f"<|im_start|>assistant\nAdding.\n{call}\n{call}<|im_end|>\n"
        "<|im_start|>user\n<tool_response>\n3\n</tool_response>\n<tool_response>\n4\n</tool_response><|im_end|>\n"
        f"<|im_start|>assistant\n{call}<|im_end|>\n"
        "<|im_start|>user\n<tool_response>\n5\n</tool_response><|im_end|>\n"
        "<|im_start|>assistant\nTwo.<|im_end|>\n"
    )


@pytest.mark.parametrize(
    ("name", "turn"),
    [
        ("gemma", "<start_of_turn>user\n  Be brief. \n\nOne?<end_of_turn>\n"),
        ("llama2", "[INST] <<SYS>>\n  Be brief. \n<</SYS>>\n\n  One? [/INST]"),
        ("llama3", "system<|end_header_id|>\n\nBe brief.<|eot_id|>"),
        ("mistral", "[INST]   Be brief. \n\n  One? [/INST]"),
        ("chatml", "<|im_start|>user\n  One? <|im_end|>\n"),
    ],
)
def test_white_space_is_trimmed_where_the_models_own_template_does(tokenizer: Any, name: str, turn: str) -> None:
    spaced = [{"role": message["role"], "content": f"  {message['content']} "} for message in TURNS[:3]]
    assert turn in _render(tokenizer, name, spaced, prompt=False)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_what_the_assistant_says_is_marked_for_transformers_too(tokenizer: Any, name: str) -> None:
    text = forge_tokenizer.template_text(name)
    found = tokenizer.apply_chat_template(
        TURNS, chat_template=text, return_dict=True, return_assistant_tokens_mask=True, add_generation_prompt=True
    )
    assert 0 < sum(found["assistant_masks"]) < len(found["input_ids"])


def test_an_unknown_template_names_the_known_ones() -> None:
    with pytest.raises(FileNotFoundError, match="alpaca, chatml, chatml_eos"):
        forge_tokenizer.template_text("nonsense")
