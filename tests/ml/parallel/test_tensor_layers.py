"""How single layers are divided, and what of them is refused. That they compute the same: see `test_tensor.py`."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.torch


def cuts_of(size: int) -> Any:
    from forge.ml.parallel.tensor_collectives import Peers
    from forge.ml.parallel.tensor_layers import Cuts

    return Cuts(Peers("nobody", size, 0), None)


def styled(style: str, module: Any, leaf: str | None = None) -> Any:
    from forge.ml.parallel.tensor_plan import Styled

    return Styled("part", style, module, leaf)


def placements(style: str, module: Any) -> dict[str, str]:
    from forge.ml.parallel.tensor_layers import apply_style

    cuts = cuts_of(2)
    apply_style(styled(style, module), cuts)
    partial = {name for name, each in module.named_parameters() if id(each) in cuts.partial}
    return {
        name: f"{cuts.placement(each)}{' partial' if name in partial else ''}"
        for name, each in module.named_parameters()
    }


def test_linear_layers_are_cut_by_columns_or_rows() -> None:
    from torch import nn

    assert placements("colwise", nn.Linear(4, 6)) == {"weight": "S(0)", "bias": "S(0)"}
    assert placements("rowwise", nn.Linear(4, 6)) == {"weight": "S(1)", "bias": "R"}
    assert placements("packed_colwise", nn.Linear(4, 8)) == {"weight": "_S(0, 2)", "bias": "_S(0, 2)"}
    assert placements("embedding_rowwise", nn.Embedding(4, 6)) == {"weight": "S(0)"}
    assert placements("gradient_summed", nn.LayerNorm(4)) == {"weight": "R partial", "bias": "R partial"}


def test_an_adapter_is_cut_as_its_layer_is() -> None:
    from peft import LoraConfig, inject_adapter_in_model
    from torch import nn

    model = inject_adapter_in_model(LoraConfig(r=2, target_modules=["0"]), nn.Sequential(nn.Linear(4, 6)))
    down, up = "lora_A.default.weight", "lora_B.default.weight"
    by_columns, by_rows = placements("colwise", model[0]), placements("rowwise", model[0])
    assert (by_columns[down], by_columns[up]) == ("R partial", "S(0)")
    assert (by_rows[down], by_rows[up]) == ("S(1)", "R partial")


def test_experts_are_cut_inside_and_keep_their_number() -> None:
    import torch
    from torch import nn

    from forge.ml.parallel.tensor_layers import apply_style

    experts = nn.Module()
    experts.up = nn.Parameter(torch.empty(3, 8, 4))
    experts.down = nn.Parameter(torch.empty(3, 4, 4))
    cuts = cuts_of(2)
    apply_style(styled("packed_colwise", experts, "up"), cuts)
    apply_style(styled("rowwise", experts, "down"), cuts)
    assert str(cuts.placement(experts.up)) == "_S(1, 2)"
    assert str(cuts.placement(experts.down)) == "S(2)"


def test_what_cannot_be_divided_is_named() -> None:
    import torch
    from torch import nn

    from forge.base.errors import ModelError
    from forge.ml.parallel.tensor_layers import apply_style

    with pytest.raises(ModelError, match=r"part.weight has a side of 5, which does not divide into 2 equal pieces"):
        apply_style(styled("colwise", nn.Linear(4, 5)), cuts_of(2))
    with pytest.raises(ModelError, match="part is a Conv1d, and only linear layers"):
        apply_style(styled("colwise", nn.Conv1d(2, 2, 1)), cuts_of(2))
    with pytest.raises(ModelError, match="part is a Linear, and no embedding with an adapter"):
        apply_style(styled("embedding_rowwise", nn.Linear(2, 2)), cuts_of(2))
    holder = nn.Module()
    holder.weight = nn.Parameter(torch.empty(2, 2))
    with pytest.raises(ModelError, match="part has 2 dimensions, for which the style 'rowwise' is not understood"):
        apply_style(styled("rowwise", holder, "weight"), cuts_of(2))


def test_what_is_tied_is_cut_in_one_way() -> None:
    from torch import nn

    from forge.base.errors import ModelError
    from forge.ml.parallel.tensor_layers import apply_style

    head, embedding = nn.Linear(4, 6, bias=False), nn.Embedding(6, 4)
    head.weight = embedding.weight
    cuts = cuts_of(2)
    apply_style(styled("colwise_gather_output", head), cuts)
    apply_style(styled("embedding_rowwise", embedding), cuts)
    with pytest.raises(ModelError, match="tied to a parameter that is divided in another way"):
        apply_style(styled("embedding_colwise", embedding), cuts)


def test_padding_is_known_where_its_row_is() -> None:
    from torch import nn

    from forge.ml.parallel.tensor_collectives import Peers
    from forge.ml.parallel.tensor_layers import Cuts, apply_style

    found = []
    for rank in range(2):
        embedding = nn.Embedding(6, 4, padding_idx=4)
        apply_style(styled("embedding_rowwise", embedding), Cuts(Peers("nobody", 2, rank), None))
        found.append(embedding.padding_idx)
    assert found == [None, 1]


def test_parameters_without_a_module_of_their_own_are_refused() -> None:
    import torch
    from torch import nn

    from forge.base.errors import ModelError
    from forge.ml.parallel.tensor_layers import finish_module

    with pytest.raises(ModelError, match="such as those of an adapter on an embedding"):
        finish_module(nn.ParameterDict({"a": nn.Parameter(torch.empty(2))}), cuts_of(2))
