"""Whole conversions: what goes in comes out again, bit by bit, and what cannot be converted is said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from forge.base.errors import ForgeError, ModelError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TOKENS = """
pad_token: {token: <|pad|>, init: zero, if_missing: true}
special_tokens:
  - <|im_start|>
  - {token: <|im_end|>, init: </s>}
regular_tokens:
  - {token: hello, init: [a, b]}
"""


def _loaded(folder: Path) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(folder).eval()


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype and torch.equal(one[name], other[name]) for name in one
    )


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("llama", {}),
        ("llama", {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True}),
        ("mistral", {"sliding_window": 8}),
        ("qwen2", {}),
        ("qwen3", {"tie_word_embeddings": True}),
        ("gpt2", {}),
    ],
)
def test_into_the_assembled_decoder_and_back_every_bit_is_the_same(
    model_folder: Callable[..., Path],
    converted: Callable[..., Path],
    tensors_of: Callable[[Any], dict[str, Any]],
    tmp_path: Path,
    family: str,
    changes: dict[str, Any],
) -> None:
    source = model_folder(family, **changes)
    there = converted(source, tmp_path / "there", to="assembled", max_shard_size=20_000)
    assert json.loads((there / "config.json").read_text())["model_type"] == "forge_decoder"
    assert (there / "modeling_forge_decoder.py").is_file()
    assert len([name for name in os.listdir(there) if name.endswith(".safetensors")]) > 1
    back = converted(there, tmp_path / "back")
    assert _same(tensors_of(source), tensors_of(back))
    assert not (back / "modeling_forge_decoder.py").exists()
    before, after = (transformers.AutoConfig.from_pretrained(folder).to_dict() for folder in (source, back))
    for config in (before, after):
        for name in ("_name_or_path", "transformers_version", "n_inner"):
            config.pop(name, None)
    assert before == after
    ids = torch.arange(3, 23)[None]
    with torch.no_grad():
        assert torch.equal(_loaded(source)(ids).logits, _loaded(back)(ids).logits)
        assert torch.allclose(_loaded(source)(ids).logits, _loaded(there)(ids).logits, atol=1e-5)


def test_what_the_assembly_has_no_part_for_is_refused(
    model_folder: Callable[..., Path], converted: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=r"no assembly for the architecture gpt_neox(?s:.*)there is one for llama"):
        converted(model_folder("gpt_neox"), tmp_path / "new", to="assembled")
    scaled = model_folder("gpt2", scale_attn_by_inverse_layer_idx=True)
    with pytest.raises(ModelError, match="no part for this of the gpt2: scale_attn_by_inverse_layer_idx=True"):
        converted(scaled, tmp_path / "new", to="assembled")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("parts", [1, 2])
def test_what_meta_publishes_becomes_the_llama_that_it_is(
    model_folder: Callable[..., Path],
    converted: Callable[..., Path],
    tensors_of: Callable[[Any], dict[str, Any]],
    as_meta: Callable[..., Path],
    tmp_path: Path,
    parts: int,
) -> None:
    source = model_folder("llama", head_dim=None, rms_norm_eps=1e-5)
    new = converted(as_meta(source, tmp_path / "meta", parts), tmp_path / "new", max_length=64)
    assert _same(tensors_of(source), tensors_of(new))
    before, after = (transformers.AutoConfig.from_pretrained(folder) for folder in (source, new))
    for name in (
        "vocab_size",
        "intermediate_size",
        "num_key_value_heads",
        "rope_parameters",
        "max_position_embeddings",
    ):
        assert getattr(before, name) == getattr(after, name)
    ids = torch.arange(3, 23)[None]
    with torch.no_grad():
        assert torch.equal(_loaded(source)(ids).logits, _loaded(new)(ids).logits)


def test_a_part_of_meta_s_that_is_not_there_is_missed(
    model_folder: Callable[..., Path], converted: Callable[..., Path], as_meta: Callable[..., Path], tmp_path: Path
) -> None:
    meta = as_meta(model_folder(), tmp_path / "meta", 2)
    (meta / "consolidated.01.pth").unlink()
    with pytest.raises(ModelError):
        converted(meta, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_pickled_weights_become_safetensors(
    model_folder: Callable[..., Path],
    converted: Callable[..., Path],
    tensors_of: Callable[[Any], dict[str, Any]],
    tmp_path: Path,
) -> None:
    source = model_folder("llama", tie_word_embeddings=True)
    kept = tensors_of(source)
    (source / "model.safetensors").unlink()
    # As such files were written: what is tied stands there twice.
    torch.save({**kept, "lm_head.weight": kept["model.embed_tokens.weight"]}, source / "pytorch_model.bin")
    new = converted(source, tmp_path / "new")
    assert _same(kept, tensors_of(new))
    assert not (new / "pytorch_model.bin").exists()


def test_tokens_a_template_and_the_token_it_stops_at_go_in(
    model_folder: Callable[..., Path],
    converted: Callable[..., Path],
    tensors_of: Callable[[Any], dict[str, Any]],
    tmp_path: Path,
) -> None:
    source = model_folder()
    (tmp_path / "tokens.yaml").write_text(TOKENS)
    new = converted(source, tmp_path / "new", template="chatml", add_tokens=str(tmp_path / "tokens.yaml"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(new)
    talk = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
    assert tokenizer.apply_chat_template(talk, tokenize=False).startswith("<|im_start|>user\nhi<|im_end|>")
    assert list(tokenizer.special_tokens_map.values())[-1:] == ["<|pad|>"]
    stop = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert json.loads((new / "generation_config.json").read_text())["eos_token_id"] == [stop, 2]
    assert _loaded(new).generation_config.eos_token_id == [stop, 2]
    before, after = tensors_of(source)["model.embed_tokens.weight"], tensors_of(new)["model.embed_tokens.weight"]
    rows = {
        name: after[tokenizer.convert_tokens_to_ids(name)]
        for name in ("<|pad|>", "<|im_start|>", "<|im_end|>", "hello")
    }
    assert torch.equal(rows["<|pad|>"], torch.zeros(32))
    assert torch.allclose(rows["<|im_start|>"], before[:259].mean(0), atol=1e-7)
    assert torch.equal(rows["<|im_end|>"], before[2])
    a, b = tokenizer.convert_tokens_to_ids(["a", "b"])
    assert torch.allclose(rows["hello"], before[[a, b]].mean(0))
    # The model has rows for more tokens than there were: the new ones take these.
    assert len(after) == len(before) == 264
    assert tokenizer.decode(tokenizer("x<|im_end|>hello").input_ids, skip_special_tokens=True) == "xhello"


def test_embeddings_grow_where_there_are_none_left(
    model_folder: Callable[..., Path],
    converted: Callable[..., Path],
    tensors_of: Callable[[Any], dict[str, Any]],
    tmp_path: Path,
) -> None:
    (tmp_path / "tokens.yaml").write_text(TOKENS)
    source = model_folder(vocab_size=259)
    new = converted(source, tmp_path / "new", add_tokens=str(tmp_path / "tokens.yaml"))
    tensors = tensors_of(new)
    assert len(tensors["model.embed_tokens.weight"]) == len(tensors["lm_head.weight"]) == 263
    config = json.loads((new / "config.json").read_text())
    assert (config["vocab_size"], config["pad_token_id"]) == (263, 259)
    assert torch.equal(tensors["lm_head.weight"][:259], tensors_of(source)["lm_head.weight"])
    assert _loaded(new).get_output_embeddings().weight.shape[0] == 263


def test_type_length_and_shards_change_and_nothing_else(
    model_folder: Callable[..., Path],
    converted: Callable[..., Path],
    tensors_of: Callable[[Any], dict[str, Any]],
    tmp_path: Path,
) -> None:
    source = model_folder()
    new = converted(source, tmp_path / "new", dtype="bfloat16", max_length=48, max_shard_size=10_000)
    before, after = tensors_of(source), tensors_of(new)
    assert all(torch.equal(before[name].bfloat16(), after[name]) for name in before)
    config = json.loads((new / "config.json").read_text())
    assert (config["dtype"], config["torch_dtype"], config["max_position_embeddings"]) == ("bfloat16", "bfloat16", 48)
    assert json.loads((new / "tokenizer_config.json").read_text())["model_max_length"] == 48
    assert all(
        os.path.getsize(new / name) < 10_000 + 264 * 32 * 2 for name in os.listdir(new) if name.endswith(".safetensors")
    )
    index = json.loads((new / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in after.values())
    assert _loaded(new).dtype == torch.bfloat16


def test_a_table_of_positions_cannot_be_made_longer(
    model_folder: Callable[..., Path], converted: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="a learned vector for each position"):
        converted(model_folder("gpt2"), tmp_path / "new", max_length=128)


def test_nothing_is_ever_written_over(
    model_folder: Callable[..., Path], converted: Callable[..., Path], tmp_path: Path
) -> None:
    source = model_folder()
    with pytest.raises(ModelError, match="SRC and DST are the same folder"):
        converted(source, source)
    (tmp_path / "link").symlink_to(source)
    with pytest.raises(ModelError, match="SRC and DST are the same folder"):
        converted(source, tmp_path / "link")
    (tmp_path / "there").mkdir()
    with pytest.raises(ModelError, match="is there already"):
        converted(source, tmp_path / "there")
    assert os.listdir(tmp_path / "there") == []


def _short(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def _no_shard(folder: Path) -> None:
    index = {"metadata": {}, "weight_map": {"model.norm.weight": "model-00001-of-00002.safetensors"}}
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _other_config(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))


def _no_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def _no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _wrong_vocabulary(folder: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([f"word{number}" for number in range(50)])
    tokenizer.save_pretrained(folder)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_short, "model.safetensors is damaged"),
        (_no_shard, "model-00001-of-00002.safetensors' of model.norm.weight is not in the folder"),
        (_other_config, "9 weights of the model are not in its files"),
        (_no_config, r"config\.json:1: this is not JSON"),
        (_no_weights, "has no weights"),
        (_wrong_vocabulary, "vocabulary mismatch: its tokenizer has 309 tokens, and its model embeddings for 264"),
    ],
)
def test_a_damaged_source_is_named_and_nothing_is_left(
    model_folder: Callable[..., Path],
    converted: Callable[..., Path],
    tmp_path: Path,
    damage: Callable[[Path], None],
    message: str,
) -> None:
    source = model_folder()
    damage(source)
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(ForgeError, match=message) as caught:
        converted(source, tmp_path / "new", template="chatml")
    assert len(str(caught.value).splitlines()) <= 3
    assert sorted(os.listdir(tmp_path)) == before


def test_a_check_that_fails_keeps_nothing(
    model_folder: Callable[..., Path], converted: Callable[..., Path], tmp_path: Path
) -> None:
    def refuse(_source: Any, _made: Any, folder: str) -> None:
        assert os.path.isfile(os.path.join(folder, "config.json"))
        raise ModelError("no")

    source = model_folder()
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(ModelError, match="no"):
        converted(source, tmp_path / "new", check=refuse)
    assert sorted(os.listdir(tmp_path)) == before


KILLED_AGAIN_AND_AGAIN = """
import os, signal, sys, time
from forge.ml.convert.convert import Changes, convert_folder
source, target, *moments = sys.argv[1:]
def begin(source, made):
    os.write(1, b"b")
    return lambda size: time.sleep(0.08)
for moment in moments:
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(writer, 1)
        convert_folder(source, target, Changes(max_shard_size=10_000), begin=begin)
        os._exit(0)
    os.read(reader, 1)
    time.sleep(float(moment))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    print(moment, *sorted(os.listdir(os.path.dirname(target))), flush=True)
"""


@pytest.mark.slow
def test_a_conversion_that_is_killed_leaves_nothing_that_looks_whole(
    model_folder: Callable[..., Path], converted: Callable[..., Path], tmp_path: Path
) -> None:
    source, target = model_folder(name="here/llama"), tmp_path / "new" / "model"
    target.parent.mkdir()
    count = 60 if os.environ.get("FORGE_FULL") else 4
    moments = [f"{number * 0.5 / count:.3f}" for number in range(count)]
    done = subprocess.run(
        [sys.executable, "-c", KILLED_AGAIN_AND_AGAIN, str(source), str(target), *moments],
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
    )
    found = [line.split()[1:] for line in done.stdout.splitlines()]
    assert len(found) == count
    # The next one clears away what the killed one has left, so that there is never more than one.
    assert all(len(names) <= 1 and all(name.startswith(".forge-new-") for name in names) for names in found)
    assert any(found)
    converted(source, target)
    assert os.listdir(target.parent) == ["model"]


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_model_that_somebody_writes_to_meanwhile_is_not_taken_for_one(
    model_folder: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    from forge.ml.convert.convert import Changes, convert_folder

    source = model_folder()
    content = (source / name).read_bytes()

    def begin(*_: Any) -> Callable[[int], None]:
        with (source / name).open("r+b") as file:  # in place, as rsync --inplace does, and of the same size
            file.seek(-4, os.SEEK_END)
            file.write(b"\0\0\0\0")
        return lambda _size: None

    with pytest.raises(ModelError, match=rf"(?s){name} has changed while it was read.*nothing writes to it"):
        convert_folder(str(source), str(tmp_path / "new"), Changes(), begin=begin)
    assert len((source / name).read_bytes()) == len(content)
    assert [entry for entry in os.listdir(tmp_path) if entry.startswith((".", "new"))] == []


def test_a_source_that_is_removed_meanwhile_is_read_to_its_end(
    model_folder: Callable[..., Path], tensors_of: Callable[[Any], dict[str, Any]], tmp_path: Path
) -> None:
    from forge.ml.convert.convert import Changes, convert_folder

    source = model_folder()
    before = tensors_of(source)

    def begin(*_: Any) -> Callable[[int], None]:
        (source / "model.safetensors").unlink()
        return lambda _size: None

    convert_folder(str(source), str(tmp_path / "new"), Changes(), begin=begin)
    assert _same(before, tensors_of(tmp_path / "new"))
