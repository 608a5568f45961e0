from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from forge.base.errors import FileError, ModelError
from forge.ml.serve.model_folder import read_served_model, read_tokenizer

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(folder, tmp_path / "copied")


def test_a_folder_says_how_it_is_served(folder: Path) -> None:
    model = read_served_model(str(folder))
    assert (model.name, model.longest, model.vocabulary, model.pooling) == ("small", 512, 261, "")
    assert model.ends == {2, 4}  # the config's, and the one that the tokenizer names
    assert dict(model.special_tokens) == {"bos_token": "<s>", "eos_token": "<|im_end|>", "pad_token": "<pad>"}
    assert "im_start" in (model.template or "")
    assert len(model.tokens("abc")) == 3


def test_texts_may_be_shorter_than_the_model_allows_and_not_longer(copied: Path) -> None:
    assert read_served_model(str(copied), longest=64).longest == 64
    with pytest.raises(ModelError, match=r"(?s)1,000 tokens are asked for, and the model knows 512.*--max-model-len"):
        read_served_model(str(copied), longest=1000)
    (copied / "config.json").write_text('{"vocab_size": 261}')
    assert [read_served_model(str(copied), longest=one).longest for one in (None, 5000)] == [2048, 5000]


def test_what_the_folder_proposes_is_kept(copied: Path) -> None:
    proposed = {"eos_token_id": [3, 4], "do_sample": True, "temperature": 0.6, "top_p": 0.9, "top_k": 20}
    (copied / "generation_config.json").write_text(json.dumps(proposed))
    model = read_served_model(str(copied))
    assert model.ends == {2, 3, 4}
    assert model.usual == {"temperature": 0.6, "top_p": 0.9, "top_k": 20}
    (copied / "generation_config.json").write_text('{"do_sample": false}')
    assert read_served_model(str(copied)).usual == {"temperature": 0.0}


def test_another_template_and_another_name_may_be_given(copied: Path, tmp_path: Path) -> None:
    assert read_served_model(str(copied), template="llama3", name="m").name == "m"
    own = tmp_path / "own.jinja"
    own.write_text("{{ messages }}")
    assert read_served_model(str(copied), template=str(own)).template == "{{ messages }}"
    with pytest.raises(ModelError, match=r"(?s)no chat template nosuch.*chatml"):
        read_served_model(str(copied), template="nosuch")


def test_templates_stand_in_three_places(copied: Path) -> None:
    (copied / "chat_template.jinja").unlink()
    config = copied / "tokenizer_config.json"
    assert read_served_model(str(copied)).template is None
    config.write_text('{"chat_template": "one"}')
    assert read_served_model(str(copied)).template == "one"
    config.write_text('{"chat_template": [{"name": "rag", "template": "x"}, {"name": "default", "template": "two"}]}')
    assert read_served_model(str(copied)).template == "two"


def test_a_model_for_embeddings_says_so(copied: Path) -> None:
    (copied / "1_Pooling").mkdir()
    for name, pooling in [("pooling_mode_mean_tokens", "mean"), ("pooling_mode_lasttoken", "last"), ("other", "")]:
        (copied / "1_Pooling" / "config.json").write_text(json.dumps({name: True}))
        assert read_served_model(str(copied)).pooling == pooling


def test_a_folder_that_cannot_be_served_is_a_mistake(copied: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model folder"):
        read_served_model(str(tmp_path / "nosuch"))
    (copied / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match="cannot be read"):
        read_tokenizer(str(copied))
    (copied / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"no tokenizer\.json"):
        read_served_model(str(copied))
    for content, reason in [("[", "not JSON"), ("[]", "not a JSON object")]:
        (copied / "config.json").write_text(content)
        with pytest.raises(FileError, match=reason):
            read_served_model(str(copied))
    (copied / "config.json").unlink()
    with pytest.raises(ModelError, match=r"no config\.json"):
        read_served_model(str(copied))
