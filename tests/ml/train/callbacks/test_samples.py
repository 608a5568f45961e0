"""Samples of what a model writes, taken without disturbing its run."""

from __future__ import annotations

import contextlib
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from forge.base.errors import RunError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
samples = pytest.importorskip("forge.ml.train.callbacks.samples")

from forge.ml.parallel.world import World  # noqa: E402 - torch may be missing
from forge.plan.layout import Layout  # noqa: E402 - as above

TEXT = "the cat sat on the mat and the dog sat on the log "
CHAT = [{"role": "system", "content": "the cat"}, {"role": "user", "content": "sat on"}]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from forge.ml.data.tokenizer import train_bpe

    return train_bpe(SimpleNamespace(texts=lambda: iter([TEXT * 20])), 275)


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=275,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        attention_dropout=0.5,
        use_cache=False,
        pad_token_id=0,
    )
    return transformers.LlamaForCausalLM(config)


@pytest.fixture
def run(tmp_path: Path, model: Any, tokenizer: Any) -> Any:
    said: list[str] = []
    logged: list[Any] = []
    model.train()
    return SimpleNamespace(
        folder=str(tmp_path),
        device=torch.device("cpu"),
        model=model,
        tokenizer=tokenizer,
        world=World(torch.device("cpu")),
        step=0,
        finished=False,
        precision=SimpleNamespace(autocast=contextlib.nullcontext),
        said=said,
        logged=logged,
        progress=SimpleNamespace(say=said.append),
        metrics=SimpleNamespace(text=lambda *given: logged.append(given)),
    )


def lines(run: Any) -> list[dict[str, Any]]:
    with open(f"{run.folder}/samples.jsonl", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def go_on(model: Any, ids: list[int], count: int) -> list[int]:
    """The likeliest tokens, each found by a whole forward pass."""
    model.eval()
    with torch.no_grad():
        for _ in range(count):
            ids = [*ids, int(model(torch.tensor([ids])).logits[0, -1].argmax())]
    model.train()
    return ids


def take(callback: Any, run: Any, steps: int) -> None:
    callback.begin(run)
    for _ in range(steps):
        run.step += 1
        callback.after_step(run, {})
    run.finished = True
    callback.end(run)


def test_the_likeliest_tokens_follow_a_text(run: Any) -> None:
    take(samples.TextSamples(["the cat"], every_steps=2, max_new_tokens=5), run, 3)
    ids = run.tokenizer("the cat")["input_ids"]
    expected = run.tokenizer.decode(go_on(run.model, ids, 5)[len(ids) :], skip_special_tokens=True)
    assert lines(run) == [{"step": step, "prompt": "the cat", "text": expected, "tokens": 5} for step in (2, 3)]
    assert run.said == [f"sample at step {step}: the cat>>>{expected}" for step in (2, 3)]
    assert run.logged == [("samples", f"the cat>>>{expected}", step) for step in (2, 3)]


def test_a_conversation_is_answered_by_the_chat_template(run: Any) -> None:
    callback = samples.TextSamples([CHAT], max_new_tokens=3)
    callback.begin(run)
    wanted = run.tokenizer.apply_chat_template(CHAT, add_generation_prompt=True, tokenize=True, return_dict=False)
    assert callback._ids == [wanted]
    run.step, run.finished = 1, True
    callback.end(run)
    assert lines(run)[0]["prompt"] == CHAT
    assert run.said[0].startswith("sample at step 1: sat on>>>")


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_run_takes_no_notice(run: Any, temperature: float) -> None:
    layer = run.model.model.layers[1]
    layer.eval()  # a frozen part of a model
    before = [module.training for module in run.model.modules()]
    state = torch.get_rng_state()
    callback = samples.TextSamples(["the cat", "dog"], every_steps=1, temperature=temperature, max_new_tokens=4)
    take(callback, run, 2)
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in run.model.modules()] == before
    assert all(weight.grad is None for weight in run.model.parameters())
    assert run.model.config.use_cache is False
    layer.train()


def test_drawn_samples_are_the_same_for_the_same_seed(run: Any) -> None:
    torch.manual_seed(1)
    take(samples.TextSamples(["the cat"], every_steps=1, max_new_tokens=8, temperature=1.5), run, 2)
    first, second = lines(run)[:2]
    assert first["text"] == second["text"]
    torch.manual_seed(2)
    take(samples.TextSamples(["the cat"], max_new_tokens=8, temperature=1.5, seed=43), run, 1)
    assert lines(run)[-1]["text"] != first["text"]


def test_a_text_ends_at_the_token_that_ends_texts(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = run.tokenizer("the cat")["input_ids"]
    second = go_on(run.model, ids, 2)[-1]
    monkeypatch.setattr(run.model.generation_config, "eos_token_id", [second])
    take(samples.TextSamples(["the cat"], max_new_tokens=6), run, 1)
    assert lines(run)[0]["tokens"] <= 2


def test_there_is_one_sample_at_the_end_and_none_of_a_run_that_failed(run: Any) -> None:
    take(samples.TextSamples(["the"], every_steps=2, max_new_tokens=2), run, 2)
    assert [line["step"] for line in lines(run)] == [2]
    callback = samples.TextSamples(["the"], max_new_tokens=2)
    callback.begin(run)
    run.step, run.finished = 3, False
    callback.end(run)
    assert len(lines(run)) == 1


def test_a_failure_ends_the_samples_and_not_the_run(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_given: Any) -> None:
        raise torch.OutOfMemoryError("too little memory\nand more")

    monkeypatch.setattr(run.model, "generate", fail)
    take(samples.TextSamples(["the"], every_steps=1, max_new_tokens=2), run, 3)
    assert run.said == ["no more samples: OutOfMemoryError: too little memory"]
    assert run.model.training


def test_few_positions_left_shorten_a_sample(run: Any) -> None:
    take(samples.TextSamples(["the cat"], max_new_tokens=1000), run, 1)
    ids = run.tokenizer("the cat")["input_ids"]
    assert lines(run)[0]["tokens"] <= 64 - len(ids)


def test_a_sample_is_shown_in_one_line(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run.tokenizer, "decode", lambda *_, **__: "a\nb" * 200)
    take(samples.TextSamples(["the"], max_new_tokens=1), run, 1)
    assert run.said[0].startswith("sample at step 1: the>>>a\\nba\\nb")
    assert len(run.said[0]) < 430
    assert lines(run)[0]["text"] == "a\nb" * 200


@pytest.mark.parametrize(
    ("prompt", "change", "message"),
    [
        ("", {}, "has no tokens"),
        ("sat " * 80, {}, "the model knows 64 positions"),
        (CHAT, {"chat_template": None}, "has no chat template"),
        (CHAT, {"chat_template": "{{ raise_exception('no system') }}"}, "no system"),
        (CHAT, {"chat_template": "{% if %}"}, "does not parse"),
    ],
)
def test_a_wrong_prompt_shows_before_the_first_step(
    run: Any, monkeypatch: pytest.MonkeyPatch, prompt: Any, change: dict[str, Any], message: str
) -> None:
    for name, value in change.items():
        monkeypatch.setattr(run.tokenizer, name, value)
    with pytest.raises(RunError, match=message):
        samples.TextSamples([prompt]).begin(run)


def test_a_model_that_cannot_generate_is_refused(run: Any) -> None:
    run.model = torch.nn.Linear(2, 2)
    with pytest.raises(RunError, match="can generate"):
        samples.TextSamples(["the"]).begin(run)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"prompts": []}, "prompts is a list"),
        ({"prompts": "the cat"}, "prompts is a list"),
        ({"every_steps": 0}, "every_steps is"),
        ({"max_new_tokens": 0}, "max_new_tokens is"),
        ({"temperature": -1.0}, "temperature is"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        samples.TextSamples(**{"prompts": ["the"], **wrong})


def test_where_rows_are_cut_each_token_is_found_by_a_whole_pass(run: Any, model: Any) -> None:
    run.world = World(torch.device("cpu"), Layout(tp=2, sequence_parallel=True))
    taken = samples.TextSamples(["the cat sat"], max_new_tokens=7)
    taken.begin(run)
    taken._take(run)
    (line,) = lines(run)
    ids = taken._ids[0]
    wanted = go_on(model, ids, 7)[len(ids) :]
    assert line["text"] == run.tokenizer.decode(wanted, skip_special_tokens=True)


def test_in_a_pipeline_each_token_is_one_pass_through_all_stages(run: Any, model: Any) -> None:
    asked: list[int] = []

    def next_token(row: torch.Tensor, place: int, choose: Any) -> int:
        asked.append(place)
        return int(choose(model(input_ids=row, use_cache=False).logits[0, place].float()))

    run.world = World(torch.device("cpu"), Layout(pp=2, pp_schedule="1f1b", microbatches=2))
    run.loss = SimpleNamespace(next_token=next_token)
    taken = samples.TextSamples(["the cat sat"], max_new_tokens=7)
    taken.begin(run)
    taken._take(run)
    (line,) = lines(run)
    ids = taken._ids[0]
    assert line["text"] == run.tokenizer.decode(go_on(model, ids, 7)[len(ids) :], skip_special_tokens=True)
    assert asked == [len(ids) - 1 + number for number in range(line["tokens"])]
