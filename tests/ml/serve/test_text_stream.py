from __future__ import annotations

import random
from typing import TYPE_CHECKING

from forge.ml.serve.text_stream import TextStream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forge.ml.serve.model_folder import ServedModel

TEXT = "Grüße, 日本 🙂 and plain words; STOP here"


def _pieces(model: ServedModel, text: str, stops: Sequence[str] = ()) -> tuple[list[str], bool]:
    stream = TextStream(model.tokenizer, stops)
    found = []
    for token in model.tokens(text):
        found.append(stream.add(token))
        if stream.stopped:
            break
    return [*found, stream.finish()], stream.stopped


def test_only_whole_characters_come(served_model: ServedModel) -> None:
    pieces, stopped = _pieces(served_model, TEXT)
    assert "".join(pieces) == TEXT
    assert not stopped
    assert "\ufffd" not in "".join(pieces)
    assert pieces[pieces.index("🙂") - 1] == ""


def test_nothing_of_a_stop_string_comes(served_model: ServedModel) -> None:
    for stops, said in [
        (["STOP"], "Grüße, 日本 🙂 and plain words; "),
        (["🙂"], "Grüße, 日本 "),
        (["STOP here", "words"], "Grüße, 日本 🙂 and plain "),
        (["G"], ""),
    ]:
        pieces, stopped = _pieces(served_model, TEXT, stops)
        assert ("".join(pieces), stopped) == (said, True)
    pieces, stopped = _pieces(served_model, "abababac", ["abac"])
    assert ("".join(pieces), stopped) == ("abab", True)


def test_what_only_began_like_a_stop_string_comes_at_the_end(served_model: ServedModel) -> None:
    pieces, stopped = _pieces(served_model, "one two thr", ["three"])
    assert ("".join(pieces), stopped) == ("one two thr", False)
    assert pieces[-1] == "thr"


def test_bytes_that_are_no_characters_do_not_hold_a_text_for_ever(served_model: ServedModel) -> None:
    byte = served_model.tokens("é")[1]
    stream = TextStream(served_model.tokenizer)
    said = "".join(stream.add(byte) for _ in range(20))
    assert said
    assert len(said + stream.finish()) == 20


def test_a_text_in_pieces_is_the_text_of_all_tokens(served_model: ServedModel) -> None:
    chance = random.Random(3)
    for _ in range(200):
        text = "".join(chance.choices("aé日🙂 \n\x00z", k=chance.randrange(30)))
        assert "".join(_pieces(served_model, text, ["nosuch"])[0]) == text
