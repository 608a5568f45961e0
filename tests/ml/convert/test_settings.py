from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from forge.base.errors import FileError, ModelError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.torch
transformers = pytest.importorskip("transformers")
settings = pytest.importorskip("forge.ml.convert.settings")
CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"


@pytest.fixture
def tokenizer(model_folder: Callable[..., Path]) -> Any:
    return transformers.AutoTokenizer.from_pretrained(model_folder())


@pytest.mark.parametrize(
    ("template", "end"),
    [
        (None, ("", None)),
        (CHATML, ("<|im_end|>", "<|im_end|>")),
        ("{% for m in messages %}{{ m.content }} {{ eos_token }}{% endfor %}", ("</s>", "</s>")),
        ("{% for m in messages %}{{ m.content }}[/END] {% endfor %}", ("[/END]", None)),
        ("{% for m in messages %}{{ m.content }}{% endfor %}", ("", None)),
    ],
)
def test_the_token_that_ends_a_turn_is_found(tokenizer: Any, template: str | None, end: tuple[str, str | None]) -> None:
    tokenizer.add_tokens(["<|im_start|>", "<|im_end|>"], special_tokens=True)
    tokenizer.chat_template = template
    assert settings.turn_end(tokenizer) == settings.TurnEnd(*end)


@pytest.mark.parametrize(
    "template",
    ["{{ raise_exception('no') }}", "{% for", "{{ ''.__class__.__mro__ }}", "{% for i in range(10**9) %}{% endfor %}"],
)
def test_a_template_that_cannot_be_used_is_an_error(tokenizer: Any, template: str) -> None:
    tokenizer.chat_template = template
    with pytest.raises(ModelError, match="the chat template cannot be used"):
        settings.turn_end(tokenizer)


def test_generation_stops_at_the_end_of_a_turn_first(tokenizer: Any, tmp_path: Path) -> None:
    tokenizer.add_tokens(["<|im_start|>", "<|im_end|>"], special_tokens=True)
    tokenizer.chat_template = CHATML
    stop = tokenizer.convert_tokens_to_ids("<|im_end|>")
    found = settings.generation_config(str(tmp_path), {"bos_token_id": 1, "eos_token_id": 9}, tokenizer)
    assert found == {"bos_token_id": 1, "eos_token_id": [stop, 9, 2]}
    given = {"eos_token_id": [stop], "temperature": 0.6, "_from_model_config": True}
    (tmp_path / "generation_config.json").write_text(json.dumps(given))
    found = settings.generation_config(str(tmp_path), {}, tokenizer)
    assert found == {"eos_token_id": [stop, 2], "temperature": 0.6}
    assert settings.generation_config(str(tmp_path), {}, None) == {"eos_token_id": [stop], "temperature": 0.6}
    (tmp_path / "generation_config.json").write_text("[")
    with pytest.raises(FileError, match=r"generation_config\.json:1: this is not JSON"):
        settings.generation_config(str(tmp_path), {}, None)


def test_the_tokenizer_s_files_are_read_by_older_readers_too(tokenizer: Any) -> None:
    files = settings.tokenizer_files(tokenizer)
    config = json.loads(files["tokenizer_config.json"])
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert "local_files_only" not in config
    changed = settings.with_length(files, 7)
    assert json.loads(changed["tokenizer_config.json"])["model_max_length"] == 7
    assert settings.with_length({"a": b""}, 7) == {"a": b""}


def test_the_config_has_old_names_beside_the_new() -> None:
    rope = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0}
    found = settings.for_other_readers({"dtype": "bfloat16", "rope_parameters": rope})
    assert found["torch_dtype"] == "bfloat16"
    assert found["rope_theta"] == 5e5
    assert found["rope_scaling"] == {"rope_type": "llama3", "factor": 8.0}
    plain = settings.for_other_readers({"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}})
    assert plain["rope_scaling"] is None
    by_layer = {"rope_parameters": {"full_attention": {"rope_theta": 1e4}}}
    assert settings.for_other_readers(by_layer) == by_layer


def test_licence_and_card_go_along(tmp_path: Path) -> None:
    for name in ("LICENSE", "tokenizer.json", "other.txt"):
        (tmp_path / name).write_text(name)
    assert dict(settings.carried_files(str(tmp_path), tokenizer=False)) == {"LICENSE": b"LICENSE"}
    assert set(dict(settings.carried_files(str(tmp_path), tokenizer=True))) == {"LICENSE", "tokenizer.json"}
    assert settings.as_json({"a": "é"}) == '{\n  "a": "é"\n}\n'.encode()


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    cache = tmp_path / "models--me--tiny"
    folder = cache / "snapshots" / ("5" * 40)
    for path in (folder, cache / "blobs"):
        path.mkdir(parents=True)
    (cache / "blobs" / "abc").write_text("free")
    (folder / "LICENSE").symlink_to("../../blobs/abc")  # as the Hub's cache has it
    (folder / "NOTICE").symlink_to("LICENSE")
    assert dict(settings.carried_files(str(folder), tokenizer=True)) == {"LICENSE": b"free", "NOTICE": b"free"}
    saved = folder / "checkpoints" / "checkpoint-20" / "model"
    saved.mkdir(parents=True)
    (saved / "NOTICE").write_text("saved")
    (folder / "NOTICE").unlink()
    (folder / "NOTICE").symlink_to("checkpoints/checkpoint-20/model/NOTICE")  # as a run links its newest checkpoint
    assert dict(settings.carried_files(str(folder), tokenizer=True))["NOTICE"] == b"saved"
    (tmp_path / "id_rsa").write_text("secret")
    (folder / "checkpoints" / "id_rsa").symlink_to(tmp_path / "id_rsa")
    for place in (str(tmp_path / "id_rsa"), "../../../id_rsa", "checkpoints/id_rsa"):
        (folder / "README.md").unlink(missing_ok=True)
        (folder / "README.md").symlink_to(place)
        with pytest.raises(ModelError, match="id_rsa, which is not part of the model"):
            dict(settings.carried_files(str(folder), tokenizer=False))
