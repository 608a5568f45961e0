from __future__ import annotations

import itertools
import json
import random
import threading
from typing import TYPE_CHECKING, Any

import pytest

from forge.base.errors import ResumeError
from forge.ml.data.read import file_rows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
loader_module = pytest.importorskip("forge.ml.data.loader")
corpus_module = pytest.importorskip("forge.ml.data.corpus")
prepare_module = pytest.importorskip("forge.ml.data.prepare")

TEXTS = [chr(97 + number % 26) * (number % 11 + 1) for number in range(53)]
CHATS = [
    {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": text[::-1]}]} for text in TEXTS
]


@pytest.fixture
def sequences(byte_tokenizer: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    def make(kind: str, packing: str, texts: list[str] = TEXTS) -> Any:
        shape = {"max_length": 24, "packing": packing}
        if kind == "stream":
            path = tmp_path / "rows.jsonl"
            path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
            corpus = corpus_module.TextCorpus(file_rows([str(path)], streaming=True), **shape)
        elif kind == "chat":
            corpus = corpus_module.ChatCorpus(CHATS, **{**shape, "max_length": 64})
        else:
            corpus = corpus_module.TextCorpus(texts, **shape)
        if kind.startswith("mixture"):
            other = corpus_module.TextCorpus(texts[:7], **shape)
            corpus = corpus_module.Mixture(
                {"one": corpus, "two": other}, {"one": 2, "two": 1} if kind == "mixture weighed" else None
            )
        return prepare_module.prepare(corpus, byte_tokenizer(), workers=0).train

    return make


def _loader(sequences: Any, **changes: Any) -> Any:
    settings = {"batch_size": 2, "accumulation": 1, "seed": 5, "pad_id": 0, "flat": True, **changes}
    return loader_module.Loader(sequences, **settings)


def _same(ours: list[Any], theirs: list[Any]) -> None:
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert (one.ids, one.tokens, one.trained) == (other.ids, other.tokens, other.trained)
        for name in ("input_ids", "targets", "position_ids", "lengths"):
            left, right = getattr(one, name), getattr(other, name)
            assert (left is None and right is None) or torch.equal(left, right)


KINDS = ["text", "mixture", "mixture weighed", "stream"]


@pytest.mark.parametrize("packing", ["none", "greedy", "best_fit"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("flat", [True, False])
def test_it_goes_on_at_every_step_as_if_it_had_not_stopped(
    sequences: Callable[..., Any], kind: str, packing: str, flat: Any
) -> None:
    given = sequences(kind, packing)
    settings = {"flat": flat, "batch_size": 3, "accumulation": 2, "rank": 1, "world": 2}
    with _loader(given, **settings) as whole:
        states, steps = [whole.state()], []
        for _ in range(12):
            steps.append(whole.next())
            states.append(json.loads(json.dumps(whole.state())))
    for step in range(0, 12, 1 if kind != "stream" else 4):
        with _loader(given, **settings) as again:
            again.next()  # what it has done and fetched before does not matter
            again.load(states[step])
            for expected in steps[step:]:
                _same(again.next(), expected)
            assert again.state() == states[12]


def test_random_settings_resume_exactly(sequences: Callable[..., Any]) -> None:
    chance = random.Random(0)
    for _ in range(15):
        given = sequences(chance.choice(["text", "chat", "mixture weighed"]), chance.choice(["none", "best_fit"]))
        world = chance.choice([1, 2, 4])
        settings = {
            "batch_size": chance.randint(1, 5),
            "accumulation": chance.randint(1, 3),
            "seed": chance.randint(0, 2**40),
            "world": world,
            "rank": chance.randrange(world),
            "flat": chance.random() < 0.5,
        }
        stop = chance.randint(0, 15)
        with _loader(given, **settings) as whole, _loader(given, **settings) as again:
            for _ in range(stop):
                whole.next()
            again.load(whole.state())
            for _ in range(5):
                _same(again.next(), whole.next())


@pytest.mark.parametrize("kind", KINDS)
def test_any_number_of_processes_sees_the_same_steps(sequences: Callable[..., Any], kind: str) -> None:
    given = sequences(kind, "best_fit")
    seen = []
    for world, batch_size, accumulation in ((1, 8, 1), (1, 2, 4), (2, 2, 2), (4, 2, 1), (4, 1, 2)):
        loaders = [
            _loader(given, world=world, rank=rank, batch_size=batch_size, accumulation=accumulation)
            for rank in range(world)
        ]
        steps = [[loader.next() for loader in loaders] for _ in range(9)]
        # Position by position: micro-batch after micro-batch, and within one rank after rank.
        seen.append(
            [
                [pair for batches in zip(*ranks, strict=True) for batch in batches for pair in batch.ids]
                for ranks in steps
            ]
        )
        for loader in loaders:
            loader.close()
    assert all(each == seen[0] for each in seen)


@pytest.mark.parametrize("kind", ["text", "mixture", "stream"])
@pytest.mark.parametrize("batch_size", [1, 7, 50, 200])
def test_two_epochs_have_every_example_twice(sequences: Callable[..., Any], kind: str, batch_size: int) -> None:
    given = sequences(kind, "none")
    with _loader(given, batch_size=1) as loader:
        total = 53 + (7 if kind == "mixture" else 0)
        one = [loader.next()[0].ids[0] for _ in range(2 * total)]
        assert len(set(one[:total])) == len(set(one[total:])) == total
        assert loader.epoch == pytest.approx(2.0) or kind == "stream"
    with _loader(given, batch_size=batch_size) as loader:
        many = [pair for _ in range(-(-2 * total // batch_size)) for pair in loader.next()[0].ids]
    assert many[: 2 * total] == one


def test_steps_are_counted_by_the_sequences_of_all_processes(sequences: Callable[..., Any]) -> None:
    with _loader(sequences("text", "none"), batch_size=5, world=2, rank=0) as loader:
        assert (loader.global_batch, loader.steps_per_epoch) == (10, 6)
        assert [loader.steps(epochs) for epochs in (0.01, 2, 3.0, 10)] == [1, 11, 16, 53]
        loader.next()
        assert loader.epoch == pytest.approx(10 / 53)
    with _loader(sequences("stream", "none")) as loader:
        assert loader.steps_per_epoch is None
        assert loader.epoch == 0


def test_accumulation_gives_as_many_batches(sequences: Callable[..., Any]) -> None:
    with _loader(sequences("text", "none"), accumulation=3) as loader:
        assert [len(batch.ids) for batch in loader.next()] == [2, 2, 2]


def test_the_state_speaks_of_what_was_given(sequences: Callable[..., Any]) -> None:
    with _loader(sequences("text", "none")) as loader:
        loader.next()
        for _ in range(3):
            assert (loader.state()["cursor"], loader.state()["taken"]) == (2, 2)


def test_a_state_of_other_data_is_refused_and_says_what_changed(sequences: Callable[..., Any]) -> None:
    with _loader(sequences("text", "none")) as loader:
        state = loader.state()
    for given, changes, changed in (
        (sequences("text", "none", TEXTS[1:]), {}, "rows, sequences"),
        (sequences("text", "greedy"), {}, "packing, sequences"),
        (sequences("text", "none"), {"seed": 6}, "seed"),
    ):
        with _loader(given, **changes) as loader, pytest.raises(ResumeError, match=f"changed: {changed}\n"):
            loader.load(state)
    with _loader(sequences("text", "none"), batch_size=7) as loader:
        loader.load(state)  # the place in the row of sequences does not depend on how many are taken at once


def test_a_loader_that_is_closed_leaves_no_thread(sequences: Callable[..., Any]) -> None:
    before = threading.active_count()
    for kind in KINDS:
        given = sequences(kind, "none")
        loader = _loader(given)
        loader.next()
        loader.close()
        loader.close()
    assert threading.active_count() == before


def test_settings_that_make_no_sense_are_refused(sequences: Callable[..., Any]) -> None:
    given = sequences("text", "none")
    with pytest.raises(ValueError, match="rank is from 0 to 1, not 2"):
        _loader(given, rank=2, world=2)
    with pytest.raises(ValueError, match="at least 1, not 0"):
        _loader(given, batch_size=0)


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("world", [1, 2, 4])
def test_evaluation_sees_each_sequence_once_in_its_own_order(
    sequences: Callable[..., Any], world: int, flat: Any
) -> None:
    split = sequences("text", "none")
    ranks = [
        list(loader_module.evaluation_batches(split, batch_size=10, pad_id=0, flat=flat, rank=rank, world=world))
        for rank in range(world)
    ]
    assert len({len(batches) for batches in ranks}) == 1
    rows = [pair[1] for batches in zip(*ranks, strict=True) for batch in batches for pair in batch.ids]
    assert rows == list(range(53))
    trained = sum(batch.trained for batch in itertools.chain(*ranks))
    assert trained == split.report.trained
    blank = [batch for batch in itertools.chain(*ranks) if not batch.ids]
    assert len(blank) == (2 if world == 4 else 0)
    assert all(bool((batch.targets == -100).all()) and batch.tokens == batch.trained == 0 for batch in blank)
