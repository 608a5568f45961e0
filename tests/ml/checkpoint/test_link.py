from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from forge.base.errors import CheckpointError, ResumeError
from forge.ml.checkpoint.link import BEFORE, link
from forge.ml.checkpoint.tensors import Raw

if TYPE_CHECKING:
    from collections.abc import Callable

    from forge.ml.checkpoint.store import Store


def root(store: Store) -> Path:
    return Path(store.folder).parent


def shown(store: Store) -> dict[str, bytes]:
    """What a program that opens the files of the model folder reads."""
    return {path.name: path.read_bytes() for path in sorted(root(store).iterdir()) if path.is_file()}


def sharded(store: Store, step: int) -> str:
    with store.begin(step) as stage:
        stage.write_bytes("config.json", f'{{"step": {step}}}'.encode())
        stage.write_json("model.safetensors.index.json", {"step": step})
        for number in (1, 2):
            stage.write_tensors(f"model-0000{number}-of-00002.safetensors", {"w": Raw("U8", (1,), bytes([step]))})
        return stage.commit()


def test_the_folder_shows_the_newest_checkpoint_without_the_state_of_the_run(
    store: Store, add: Callable[..., str]
) -> None:
    add(1)
    add(2)
    assert link(store).step == 2
    assert sorted(shown(store)) == ["config.json", "model.safetensors"]
    assert shown(store)["config.json"] == b'{"step": 2}'
    assert os.readlink(root(store) / "config.json") == "checkpoints/linked/config.json"
    assert [found.linked for found in store.list()] == [False, True]
    assert link(store, os.path.join(store.folder, "checkpoint-1")).step == 1
    assert shown(store)["config.json"] == b'{"step": 1}'


def test_the_folder_can_be_moved(store: Store, add: Callable[..., str], tmp_path: Path) -> None:
    add(1)
    link(store)
    os.rename(root(store), tmp_path / "elsewhere")
    assert (tmp_path / "elsewhere" / "config.json").read_bytes() == b'{"step": 1}'
    os.mkdir(root(store))


def test_files_that_only_the_old_one_has_are_not_shown_any_more(store: Store, add: Callable[..., str]) -> None:
    sharded(store, 1)
    link(store)
    assert len(shown(store)) == 4
    add(2)
    link(store)
    assert sorted(os.listdir(root(store))) == ["checkpoints", "config.json", "model.safetensors"]
    sharded(store, 3)
    link(store)
    assert sorted(shown(store)) == [
        "config.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
    ]


def test_weights_of_the_folders_own_are_replaced_by_force_only_and_kept(store: Store, add: Callable[..., str]) -> None:
    add(1)
    own = {
        "config.json": b"own",
        "pytorch_model.bin": b"own",
        "README.md": b"own",
        "model-00001-of-00002.safetensors": b"own",
    }
    for name, content in own.items():
        (root(store) / name).write_bytes(content)
    with pytest.raises(
        CheckpointError, match=r"has files of its own that checkpoint-1 would replace: config\.json, model-0"
    ):
        link(store)
    assert shown(store) == own
    link(store, force=True)
    assert shown(store)["config.json"] == b'{"step": 1}'
    assert sorted(shown(store)) == ["README.md", "config.json", "model.safetensors"]
    kept = Path(store.folder) / BEFORE
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == {
        name: b"own" for name in own if name != "README.md"
    }
    add(2)
    assert link(store).step == 2  # nothing of its own is left


def test_a_file_that_is_the_same_is_no_reason_to_refuse(store: Store, add: Callable[..., str]) -> None:
    add(1)
    (root(store) / "config.json").write_bytes(b'{"step": 1}')
    link(store)
    assert sorted(shown(store)) == ["config.json", "model.safetensors"]


def test_a_file_written_over_a_link_is_kept_beside_what_was_kept_before(store: Store, add: Callable[..., str]) -> None:
    add(1)
    for content in (b"first", b"second", b"third"):
        path = root(store) / "config.json"
        path.unlink(missing_ok=True)
        path.write_bytes(content)
        link(store, force=True)
        assert shown(store)["config.json"] == b'{"step": 1}'
    kept = Path(store.folder) / BEFORE
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == {
        "config.json": b"first",
        "config.json.2": b"second",
        "config.json.3": b"third",
    }


def test_a_link_of_the_users_own_is_kept_as_a_link(store: Store, add: Callable[..., str], tmp_path: Path) -> None:
    add(1)
    (tmp_path / "blob").write_bytes(b"weights")
    (root(store) / "model.safetensors").symlink_to("../blob")
    with pytest.raises(CheckpointError, match="files of its own"):
        link(store)
    link(store, force=True)
    kept = Path(store.folder) / BEFORE / "model.safetensors"
    assert kept.is_symlink()
    assert kept.read_bytes() == b"weights"


def test_an_adapter_leaves_the_weights_it_is_for(store: Store) -> None:
    with store.begin(1) as stage:
        stage.write_bytes("adapter_config.json", b"{}")
        stage.write_tensors("adapter_model.safetensors", {})
        stage.commit()
    (root(store) / "model.safetensors").write_bytes(b"base")
    link(store)
    assert sorted(shown(store)) == ["adapter_config.json", "adapter_model.safetensors", "model.safetensors"]


def test_a_folder_in_the_way_is_named(store: Store, add: Callable[..., str]) -> None:
    add(1)
    os.mkdir(root(store) / "config.json")
    with pytest.raises(CheckpointError, match=r"config\.json is a folder: move it away first"):
        link(store, force=True)


def test_only_a_whole_checkpoint_of_this_folder_is_linked(
    store: Store, add: Callable[..., str], tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="No such file"):
        link(store)
    path = add(1)
    os.truncate(os.path.join(path, "model.safetensors"), 3)
    with pytest.raises(ResumeError):
        link(store)
    with pytest.raises(CheckpointError, match="cannot be used"):
        link(store, path)
    os.rename(add(2), tmp_path / "checkpoint-2")
    with pytest.raises(CheckpointError, match="is not a checkpoint of"):
        link(store, str(tmp_path / "checkpoint-2"))


@pytest.mark.torch
def test_the_folder_loads_as_the_old_model_or_the_new_one_wherever_the_change_is_cut_off(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=16,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
    )
    for step, size in ((1, "5GB"), (2, "1KB")):
        model = LlamaForCausalLM(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(step)
        with store.begin(step) as stage:
            model.save_pretrained(stage.path, max_shard_size=size)
            for name in os.listdir(stage.path):
                stage.adopt(name)
            stage.commit()

    def value() -> float:
        loaded = AutoModelForCausalLM.from_pretrained(root(store))
        values = {float(parameter.detach().flatten()[0]) for parameter in loaded.parameters()}
        assert len(values) == 1
        return values.pop()

    link(store, os.path.join(store.folder, "checkpoint-1"))
    assert value() == 1.0
    seen = []
    replace = os.replace

    def look_before(source: str, target: str) -> None:
        seen.append(value())
        replace(source, target)
        seen.append(value())

    monkeypatch.setattr(os, "replace", look_before)
    link(store)
    assert seen == sorted(seen)
    assert set(seen) == {1.0, 2.0}
    assert value() == 2.0
