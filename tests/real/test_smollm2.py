"""A real model, tuned by the real command line on the questions of pydoc: it learns, stays a model for others, and still answers."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "ml", "models"))

pytestmark = [pytest.mark.torch, pytest.mark.slow, pytest.mark.smollm2, pytest.mark.timeout(1200)]
pytest.importorskip("torch")
pytest.importorskip("peft")

from smollm2 import smollm2_folder  # noqa: E402 - torch may be missing

if TYPE_CHECKING:
    from pathlib import Path

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
FULL = bool(os.environ.get("FORGE_FULL"))
STEPS = 100 if FULL else 4
SMALL = ("--per-device-train-batch-size", "2", "--gradient-accumulation-steps", "1", "dataset.max_length=256")
FEW, SOME = (6, 30) if FULL else (3, 10)
ASKED_ABOUT = ("len", "abs", "os.path.exists") if FULL else ("len",)
QUESTIONS = ("What is the capital of France?", *(f"What does {name} do?" for name in ASKED_ABOUT))

# A process in which forge cannot be imported, as on a machine that has never had it.
OTHERS = """
import json, sys
sys.modules["forge"] = None
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base, adapter, rows, questions = json.loads(sys.argv[1])
tokenizer = AutoTokenizer.from_pretrained(adapter)
plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
before = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
model = PeftModel.from_pretrained(plain, adapter).eval()


def ids_of(messages, **settings):
    return tokenizer.apply_chat_template(messages, return_dict=True, **settings)["input_ids"]


def loss_of_rows():
    total, count, ends = 0.0, 0, []
    for messages in rows:
        asked, whole = ids_of(messages[:1], add_generation_prompt=True), ids_of(messages)
        assert whole[: len(asked)] == asked
        end = len(whole) - whole[::-1].index(tokenizer.eos_token_id)  # what follows it is the template's
        learned = torch.tensor(whole[len(asked) : end])
        logits = model(torch.tensor([whole])).logits[0, len(asked) - 1 : end - 1].float()
        total += torch.nn.functional.cross_entropy(logits, learned, reduction="sum").item()
        count += len(learned)
        ends.append(logits[-1].softmax(-1)[tokenizer.eos_token_id].item())
    return {"eval_loss": total / count, "tokens": count, "ends": ends}


def answer(question):
    asked = torch.tensor([ids_of([{"role": "user", "content": question}], add_generation_prompt=True)])
    made = model.generate(input_ids=asked, attention_mask=torch.ones_like(asked), max_new_tokens=40, do_sample=False)
    return tokenizer.decode(made[0, asked.shape[1] :])


with torch.no_grad():
    tuned = loss_of_rows()
    with model.disable_adapter():
        untuned = loss_of_rows()
    answers = [answer(question) for question in questions]
    model = model.merge_and_unload()
    merged = loss_of_rows()
changed = [name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])]
found = {"tuned": tuned, "untuned": untuned, "merged": merged, "answers": answers, "changed": changed}
print(json.dumps(found | {"names": list(before)}))
"""


class Tuned(NamedTuple):
    base: str
    output: Path
    said: str
    before: dict[str, Any]
    after: dict[str, Any]
    others: dict[str, Any]


def _run(arguments: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    # More threads than free cores wait for each other most of the time: the tests beside this one have the others.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=cwd, capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done


def _forge(config: str, verb: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    line = ["-m", "forge", "-p", os.path.join(ROOT, "projects", "pydoc"), "-t", config, verb]
    return _run([*line, *arguments], cwd)


def _losses(records: list[dict[str, Any]]) -> dict[str, Any]:
    return {record["dataset"]: record for record in records}


def _records(output: Path) -> list[dict[str, Any]]:
    (log,) = (output / "runs").glob("*/metrics.jsonl")
    return [json.loads(line) for line in log.read_text().splitlines()]


def _evaluations(output: Path) -> list[dict[str, Any]]:
    """What a run has measured on held-out rows before its first step."""
    return [record for record in _records(output) if "eval_loss" in record and record["step"] == 0]


def _held_out_rows(number: int) -> list[dict[str, Any]]:
    program = "import json; from pydoc_text import question_answers; print(json.dumps(question_answers('held_out')))"
    sources = os.path.join(ROOT, "projects", "pydoc", "src")
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": sources},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    # The short ones, none of which is cut.
    return sorted(json.loads(done.stdout), key=lambda row: len(json.dumps(row)))[20 : 20 + number]


def _as_set(path: Path, rows: list[dict[str, Any]]) -> str:
    """Rows as a dataset of a config."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"{{_target_: forge.ml.data.read.file_rows, paths: [{path}]}}"


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    """The loss of held-out rows (of all of them at full size) and of a few, before and after some steps, by forge and by others."""
    base, folder = smollm2_folder(), tmp_path_factory.mktemp("tuned")
    some = _held_out_rows(SOME)
    rows = some[:FEW]
    everything = (
        "{_target_: pydoc_text.question_answers, split: held_out}" if FULL else _as_set(folder / "some.jsonl", some)
    )
    sets = f"+dataset.held_out={{all: {everything}, few: {_as_set(folder / 'few.jsonl', rows)}}}"
    data = ("-M", base, "--output-dir", str(folder / "out"), *SMALL, "~dataset.held_out", sets)
    learning = ("--max-steps", str(STEPS), "--learning-rate", "5e-4" if FULL else "1e-3")
    evaluating = ("--eval-strategy", "no", "trainer.eval_on_start=true")
    trained = _forge("chat/lora", "train", *data, *learning, *evaluating, cwd=folder)
    before = _losses(_evaluations(folder / "out"))
    after = _losses(json.loads(_forge("chat/lora", "eval", *data, "--json", cwd=folder).stdout)["datasets"])
    checkpoint = folder / "out" / "checkpoints" / f"checkpoint-{STEPS}"
    asked = json.dumps([base, str(checkpoint), [row["messages"] for row in rows], QUESTIONS])
    others = json.loads(_run(["-c", OTHERS, asked], folder).stdout.splitlines()[-1])
    return Tuned(base, folder / "out", trained.stdout + trained.stderr, before, after, others)


def test_the_held_out_loss_falls_below_that_of_the_base(tuned: Tuned) -> None:
    assert tuned.before["all"]["tokens"] == tuned.after["all"]["tokens"] > (5000 if FULL else 100)
    assert tuned.after["all"]["eval_loss"] < tuned.before["all"]["eval_loss"] - 0.1
    assert "attention forge_documents" in tuned.said, "packed documents are kept apart"


def test_others_load_the_adapter_and_measure_the_same_loss(tuned: Tuned) -> None:
    for mine, theirs in ((tuned.before, tuned.others["untuned"]), (tuned.after, tuned.others["tuned"])):
        assert mine["few"]["tokens"] == theirs["tokens"] > 30
        # Both compute in bfloat16, packed here and one by one there.
        assert math.isclose(mine["few"]["eval_loss"], theirs["eval_loss"], abs_tol=0.02)
    assert abs(tuned.after["few"]["eval_loss"] - tuned.before["few"]["eval_loss"]) > 0.04, "else it would show nothing"


def test_it_still_answers_in_its_chat_format(tuned: Tuned) -> None:
    answers = [answer.partition("<|im_end|>") for answer in tuned.others["answers"]]
    for text, _, rest in answers:
        assert text.strip()
        assert "<|" not in text + rest
        assert rest == "", "nothing follows the end of a turn"
        assert not text.startswith(("user", "assistant", "system"))
    # So small a model may repeat itself without end now and then.
    ended = [text for text, end, _ in answers if end]
    assert len(ended) >= len(answers) - 1, tuned.others["answers"]
    assert sum(tuned.others["tuned"]["ends"]) > sum(tuned.others["untuned"]["ends"]), "it has learned where answers end"


def test_the_merged_model_is_another_in_every_layer_and_as_good(tuned: Tuned) -> None:
    linear = [name for name in tuned.others["names"] if name.endswith("_proj.weight")]
    assert len(linear) == 7 * 30
    assert tuned.others["changed"] == linear, "all linear layers, and nothing else"
    assert math.isclose(tuned.others["merged"]["eval_loss"], tuned.others["tuned"]["eval_loss"], abs_tol=0.05)


@pytest.mark.skipif(not FULL, reason="half a minute for two steps: FORGE_FULL=1 takes them")
def test_all_its_weights_can_be_tuned_in_mixed_precision(tmp_path: Path) -> None:
    base = smollm2_folder()
    learned = (
        *("-M", base, "--output-dir", "out", "--max-steps", "2", "--eval-strategy", "no", *SMALL),
        *("model.dtype={_symbol_: torch.float32}", "trainer.logging_steps=1"),
    )
    done = _forge("chat/full", "train", *learned, cwd=tmp_path)
    assert "mixed precision" in done.stdout + done.stderr
    records = _records(tmp_path / "out")
    assert [record["step"] for record in records] == [1, 2]
    assert all(0 < record["loss"] < math.log(49152) for record in records)
    checkpoint = tmp_path / "out" / "checkpoints" / "checkpoint-2"
    _forge("chat/full", "ckpt", "verify", str(checkpoint), cwd=tmp_path)
    assert (checkpoint / "model.safetensors").stat().st_size > 4 * 134_000_000
