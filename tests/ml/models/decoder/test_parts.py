from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

pytestmark = pytest.mark.torch
decoder = pytest.importorskip("forge.ml.models.decoder")
parts = pytest.importorskip("forge.ml.models.decoder.parts")


@dataclass(frozen=True)
class OfOurOwn(parts.Part):
    size: int
    inner: parts.Part | None = None


def test_a_part_goes_through_json_and_comes_back() -> None:
    layer = decoder.PreNorm(
        attention=decoder.GroupedQueryAttention(num_heads=4, num_key_value_heads=2, qk_norm=decoder.RMSNorm(1e-5)),
        feed_forward=decoder.Mlp(intermediate_size=8),
        norm=decoder.LayerNorm(bias=False),
    )
    assert parts.part_from(json.loads(json.dumps(layer.to_dict()))) == layer


def test_a_part_of_a_projects_own_is_known_once_its_class_is_there() -> None:
    part = OfOurOwn(3, OfOurOwn(4))
    assert part.to_dict() == {"part": "OfOurOwn", "size": 3, "inner": {"part": "OfOurOwn", "size": 4, "inner": None}}
    assert parts.part_from(part.to_dict()) == part


def test_what_is_no_part_stays_as_it_is() -> None:
    assert parts.part_from({"size": 3}) == {"size": 3}
    assert parts.part_from(None) is None


def test_a_part_whose_class_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match=r"a part 'Nowhere', whose class is not imported; imported are .*Rotary"):
        parts.part_from({"part": "Nowhere"})
