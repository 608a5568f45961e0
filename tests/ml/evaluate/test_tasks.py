"""Tasks of lm-eval, asked of a tiny model; the tasks are made here, so nothing is downloaded."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from forge.base.errors import ToolError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from forge.ml.evaluate.tasks import run_tasks  # noqa: E402 - behind the question whether torch is there

TASK = """\
task: tiny_choice
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
output_type: multiple_choice
test_split: test
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{[good, bad]}}}}"
doc_to_target: 0
target_delimiter: ""
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
"""
TEXT = "the cat sat on the mat and the dog sat on the log "


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from forge.ml.data.tokenizer import train_bpe

    return train_bpe(SimpleNamespace(texts=lambda: iter([TEXT * 20])), 275)


def _learn(tokenizer: Any) -> Any:
    """A model that knows the text by heart."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=275, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2, pad_token_id=0
    )
    model = transformers.LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    ids = torch.tensor([tokenizer(TEXT * 2)["input_ids"]])
    for _ in range(60):
        model(ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_task_of_ones_own_is_asked(tmp_path: Path, tokenizer: Any) -> None:
    pytest.importorskip("lm_eval")
    data = tmp_path / "data.jsonl"
    rows = [
        {"question": "the cat sat", "good": " on the mat", "bad": " dog dog dog"},
        {"question": "the dog sat", "good": " on the log", "bad": " cat cat cat"},
        {"question": "the cat sat", "good": " dog dog dog", "bad": " on the mat"},
    ]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "tiny_choice.yaml").write_text(TASK.format(data=data))
    model = _learn(tokenizer)
    found = run_tasks(model, tokenizer, ["tiny_choice"], batch_size=2, folder=str(tmp_path))
    assert found == {"tiny_choice": {"acc": pytest.approx(2 / 3)}}
    found = run_tasks(model, tokenizer, ["tiny_choice"], batch_size=2, folder=str(tmp_path), limit=2)
    assert found["tiny_choice"]["acc"] == 1.0
    with pytest.raises(UsageError, match="no task 'tiny_choise'"):
        run_tasks(model, tokenizer, ["tiny_choise"], batch_size=2, folder=str(tmp_path))


def test_without_lm_eval_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(ToolError) as caught:
        run_tasks(None, None, ["hellaswag"], batch_size=1)
    assert "pip install 'forge[eval]'" in str(caught.value)
