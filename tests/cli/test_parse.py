from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.base.errors import UsageError
from forge.cli.options import JSON, OUTPUT, Option, Positional
from forge.cli.parse import UnknownFlagError, is_override, parse
from forge.cli.registry import Verb
from forge.compose.arguments import Argument

VERB = Verb(
    name="draw",
    summary="draw",
    help="Draw.",
    run=lambda _: 0,
    options=(
        OUTPUT,
        JSON,
        Option(("-e", "--edit"), "edit"),
        Option(("-r",), "recursive"),
        Option(("--format",), "form", "FORM", choices=("svg", "html"), default="svg"),
        Option(("--depth",), "depth", "N", type=int),
    ),
    positionals=(Positional("KEY", "a key", least=0),),
    takes_config=True,
)
ARGUMENTS = (
    Argument("max_steps", "trainer.max_steps", ("-M",), "int"),
    Argument("quiet", "quiet", (), "bool"),
    Argument("output", "trainer.output", (), "path"),
)
TRAINING = (
    Argument("learning_rate", "optimizer.lr", (), "float"),
    Argument("per_device_train_batch_size", "trainer.per_device_train_batch_size", (), "int"),
    Argument("num_train_epochs", "trainer.num_train_epochs", (), "float"),
)


def test_flags_words_and_overrides_mix_in_any_order() -> None:
    parsed = parse(VERB, ["a.b=1", "key", "--format", "html", "+x=2", "-er", "--depth=3", "~y"])
    assert parsed.options == {"output": None, "json": False, "edit": True, "r": True, "format": "html", "depth": 3}
    assert [(item.kind, item.text) for item in parsed.items] == [
        ("override", "a.b=1"),
        ("word", "key"),
        ("override", "+x=2"),
        ("override", "~y"),
    ]


def test_the_configs_own_flags_are_taken_with_their_values() -> None:
    parsed = parse(VERB, ["--max-steps", "5", "-M", "-1", "--quiet", "--no-quiet", "--max-steps=7"], ARGUMENTS)
    assert [(item.flag, item.text) for item in parsed.items] == [
        ("--max-steps", "5"),
        ("-M", "-1"),
        ("--quiet", "true"),
        ("--quiet", "false"),
        ("--max-steps", "7"),
    ]


def test_a_verbs_flag_wins_over_a_configs_flag_of_the_same_name() -> None:
    parsed = parse(VERB, ["--output", "x.svg"], ARGUMENTS)
    assert parsed.options["output"] == "x.svg"
    assert parsed.items == []


def test_nothing_is_abbreviated() -> None:
    with pytest.raises(UnknownFlagError, match="did you mean '--format'"):
        parse(VERB, ["--form", "svg"])


@pytest.mark.parametrize(
    ("flag", "meant"),
    [
        ("--lr", "--learning-rate"),
        ("--learning_rate", "--learning-rate"),
        ("--batch-size", "--per-device-train-batch-size"),
        ("--epochs", "--num-train-epochs"),
        ("--fromat", "--format"),
        ("-m", None),
    ],
)
def test_a_flag_is_known_by_what_it_sets_and_by_its_end(flag: str, meant: str | None) -> None:
    with pytest.raises(UnknownFlagError) as caught:
        parse(VERB, [flag, "1"], TRAINING)
    assert caught.value.hint == (f"did you mean {meant!r}?" if meant else "`forge draw --help` lists its flags")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--format", "png"], "--format cannot be 'png'"),
        (["--format"], "--format needs FORM"),
        (["-o", "--json"], "-o needs FILE, and '--json' follows"),
        (["--depth", "two"], "--depth needs a whole number, not 'two'"),
        (["--json=1"], "--json takes no value"),
        (["a", "b"], "does not know what to do with 'b'"),
        (["-p", "x"], "-p stands before the verb: forge -p PROJECT draw"),
        (["-t", "x"], "-t stands before the verb: forge -t CONFIG draw"),
        (["--debug"], "--debug stands before the verb"),
        (["-ez"], "has no flag '-ez'"),
    ],
)
def test_a_mistake_is_named(words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(VERB, words)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 3


def test_behind_two_dashes_everything_is_a_word() -> None:
    assert parse(VERB, ["--", "--format"]).words == ["--format"]


def test_a_value_may_look_like_an_override() -> None:
    assert parse(VERB, ["-o", "a=b.svg"]).options["output"] == "a=b.svg"


@pytest.mark.parametrize("word", ["a=1", "a.b=1", "+a=1", "++a.b=1", "~a", "~a.b=1", "g@p=c", "a/b=c", "a=b c", "a="])
def test_overrides_are_told_from_words(word: str) -> None:
    assert is_override(word)


@pytest.mark.parametrize("word", ["a", "a.b", "", "a b=c", "=1", "~", "+", "pretrain/tiny"])
def test_words_are_told_from_overrides(word: str) -> None:
    assert not is_override(word)


@given(st.lists(st.text(alphabet="ab-=+~.,/ 1", max_size=6), max_size=6))
def test_every_line_is_understood_or_refused_with_a_short_message(words: list[str]) -> None:
    try:
        parsed = parse(VERB, words, ARGUMENTS)
    except UsageError as error:
        assert 1 <= len(str(error).splitlines()) <= 3  # noqa: PT017 - either outcome is fine, the form counts
    else:
        assert len(parsed.items) <= len(words)
