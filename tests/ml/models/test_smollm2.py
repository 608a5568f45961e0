"""A real pretrained model: read as transformers reads it, and it answers; see smollm2.py for where it comes from."""

from __future__ import annotations

import pytest
from smollm2 import smollm2_folder

pytestmark = [pytest.mark.torch, pytest.mark.slow, pytest.mark.timeout(900)]
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
causal = pytest.importorskip("forge.ml.models.causal")
tokenizers = pytest.importorskip("forge.ml.data.tokenizer")
vocabulary = pytest.importorskip("forge.ml.models.vocabulary")


def test_a_real_model_is_read_bit_for_bit_and_answers_in_its_chat_format() -> None:
    folder = smollm2_folder()
    model = causal.causal_lm(path=folder, dtype=torch.bfloat16)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    expected = theirs.state_dict()
    assert [name for name, tensor in model.state_dict().items() if not torch.equal(tensor, expected[name])] == []
    tokenizer = tokenizers.pretrained(folder)
    vocabulary.check_vocabulary(model, tokenizer)
    question = [{"role": "user", "content": "What is the capital of France?"}]
    asked = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    answer = model.float().generate(**asked, max_new_tokens=20, do_sample=False)[0, asked["input_ids"].shape[1] :]
    assert tokenizer.decode(answer) == "The capital of France is Paris.<|im_end|>"
