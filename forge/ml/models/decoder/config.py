"""What an assembled decoder is made of, as a config of transformers: it goes into config.json and comes back from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformers import PretrainedConfig

from forge.ml.models.decoder.parts import Part, part_from
from forge.ml.models.decoder.position import Alibi, Rotary

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from forge.ml.models.decoder.attention import Attention
    from forge.ml.models.decoder.layer import LayerPart
    from forge.ml.models.decoder.norm import Norm
    from forge.ml.models.decoder.position import Position

__all__ = ["CODE_MODULE", "DecoderConfig"]

# The module beside config.json that holds these classes, for those who have no forge.
CODE_MODULE = "modeling_forge_decoder"


class DecoderConfig(PretrainedConfig):
    """A decoder from parts.

    `layers` is the pattern of the stack: it repeats until there are `num_hidden_layers`; `replaced` puts other layers at
    single places, by number. `norm` is the one at the end of the stack, where its last layer has not normalised already;
    null for none.
    """

    model_type = "forge_decoder"
    keys_to_ignore_at_inference = ("past_key_values",)
    base_model_tp_plan = {  # noqa: RUF012 - transformers declares it
        "layers.*.self_attn.q_proj": "colwise",
        "layers.*.self_attn.k_proj": "colwise",
        "layers.*.self_attn.v_proj": "colwise",
        "layers.*.self_attn.q_norm": "replicated_with_grad_allreduce",
        "layers.*.self_attn.k_norm": "replicated_with_grad_allreduce",
        "layers.*.self_attn.o_proj": "rowwise",
        "layers.*.mlp.gate_proj": "colwise",
        "layers.*.mlp.up_proj": "colwise",
        "layers.*.mlp.down_proj": "rowwise",
    }
    base_model_pp_plan = {  # noqa: RUF012 - as above
        "embed_tokens": (["input_ids"], ["inputs_embeds"]),
        "layers": (["hidden_states", "attention_mask"], ["hidden_states"]),
        "norm": (["hidden_states"], ["hidden_states"]),
    }

    vocab_size: int = 32000
    hidden_size: int = 512
    num_hidden_layers: int = 8
    max_position_embeddings: int = 1024
    layers: Sequence[LayerPart] = ()
    replaced: Mapping[int, LayerPart] | None = None
    position: Position | None = None
    norm: Norm | None = None
    embedding_dropout: float = 0.0
    initializer_range: float = 0.02
    # GPT-2's rule: what is added to the stream starts smaller, the more layers add to it.
    scaled_residual_init: bool = False
    tie_word_embeddings: bool = False
    use_cache: bool = True
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None

    def __post_init__(self, **settings: Any) -> None:
        self.layers = [part_from(layer) for layer in self.layers]
        self.replaced = {int(place): part_from(layer) for place, layer in (self.replaced or {}).items()}
        self.position, self.norm = part_from(self.position), part_from(self.norm)
        self._check()
        settings.pop("rope_parameters", None)  # config.json has them for other readers; the part is what counts
        if isinstance(self.position, Rotary):
            self.rope_parameters = self.position.parameters()
        self.auto_map = {
            "AutoConfig": f"{CODE_MODULE}.DecoderConfig",
            "AutoModelForCausalLM": f"{CODE_MODULE}.DecoderForCausalLM",
        }
        super().__post_init__(**settings)

    def _check(self) -> None:
        if not self.layers:
            raise ValueError("layers is a list of at least one layer")
        if self.position is None:
            raise ValueError("position is one of the parts for positions; a decoder without any has NoPositions")
        if misplaced := [place for place in self.replaced if not 0 <= place < self.num_hidden_layers]:
            raise ValueError(f"replaced names layers from 0 to {self.num_hidden_layers - 1}, not {misplaced[0]}")
        self._check_agreement()

    def _check_agreement(self) -> None:
        """What layers may not differ in: masks, rotations and biases are computed once for all of them."""
        if len(self._windows) > 1:
            raise ValueError(f"sliding_window is the same wherever it is set, not {sorted(self._windows)}")
        sizes = {part.size_of_head(self.hidden_size) for part in self._attentions}
        if isinstance(self.position, Rotary) and len(sizes) > 1:
            raise ValueError(f"head_dim is the same in each layer when positions are rotated, not {sorted(sizes)}")
        if isinstance(self.position, Rotary) and min(sizes) % 2:
            raise ValueError(f"head_dim is even when positions are rotated, not {min(sizes)}")
        if isinstance(self.position, Alibi) and len({part.num_heads for part in self._attentions}) > 1:
            raise ValueError("num_heads is the same in each layer when position is alibi")
        if isinstance(self.position, Alibi) and self._windows:
            raise ValueError("sliding_window and position alibi exclude each other: set sliding_window to null")

    def layer_at(self, place: int) -> LayerPart:
        """The layer at a place of the stack."""
        return self.replaced.get(place) or self.layers[place % len(self.layers)]

    @property
    def stack(self) -> Sequence[LayerPart]:
        """The layers, first to last."""
        return [self.layer_at(place) for place in range(self.num_hidden_layers)]

    @property
    def last_norm(self) -> Norm | None:
        """The norm at the end of the stack."""
        return None if self.layer_at(self.num_hidden_layers - 1).normalises_stream else self.norm

    @property
    def _attentions(self) -> Sequence[Attention]:
        return [layer.attention for layer in self.stack]

    @property
    def _windows(self) -> set[int]:
        return {part.sliding_window for part in self._attentions if part.sliding_window is not None}

    @property
    def layer_types(self) -> list[str]:
        """Which layers see all tokens before and which a window of them; caches and masks go by it."""
        return ["full_attention" if part.sliding_window is None else "sliding_attention" for part in self._attentions]

    @property
    def sliding_window(self) -> int | None:
        """The window of the layers that have one."""
        return next(iter(self._windows), None)

    @property
    def num_attention_heads(self) -> int:
        """The heads of the first layer."""
        return self.layer_at(0).attention.num_heads

    @property
    def num_key_value_heads(self) -> int:
        """The heads with keys and values of the first layer."""
        return self.layer_at(0).attention.key_value_heads

    @property
    def head_dim(self) -> int:
        """The size of a head of the first layer."""
        return self.layer_at(0).attention.size_of_head(self.hidden_size)

    @property
    def intermediate_size(self) -> int:
        """The width of the feed-forward network of the first layer."""
        return self.layer_at(0).feed_forward.intermediate_size

    def to_dict(self) -> dict[str, Any]:
        """Plain data; the parts say what they are."""
        plain = super().to_dict()
        plain["layers"] = [layer.to_dict() for layer in self.layers]
        plain["replaced"] = {str(place): layer.to_dict() for place, layer in self.replaced.items()}
        for name in ("position", "norm"):
            part = getattr(self, name)
            plain[name] = part.to_dict() if isinstance(part, Part) else None
        return plain
