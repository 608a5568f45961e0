"""The decoder itself: a model of transformers, put together from the parts of its config."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn
from transformers import GenerationMixin, PreTrainedModel, initialization
from transformers.cache_utils import Cache, DynamicCache
from transformers.masking_utils import create_causal_mask, create_sliding_window_causal_mask
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.utils import can_return_tuple
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from forge.ml.models.decoder.attention import SelfAttention
from forge.ml.models.decoder.config import DecoderConfig
from forge.ml.models.decoder.layer import DecoderLayer, dropout_of

__all__ = ["DecoderForCausalLM", "DecoderModel", "DecoderPreTrainedModel"]

_MASKS = {"full_attention": create_causal_mask, "sliding_attention": create_sliding_window_causal_mask}


class DecoderPreTrainedModel(PreTrainedModel):
    """What transformers has to know of the decoder, and how its weights begin."""

    config: DecoderConfig
    config_class = DecoderConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules: ClassVar[list[str]] = ["PreNormLayer", "PostNormLayer"]
    _skip_keys_device_placement: ClassVar[list[str]] = ["past_key_values"]
    _supports_flash_attn = True
    _supports_sdpa = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True
    _can_record_outputs: ClassVar[dict[str, Any]] = {"hidden_states": DecoderLayer, "attentions": SelfAttention}

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if self.config.scaled_residual_init and getattr(module, "adds_to_stream", False):
            std = self.config.initializer_range / (2 * self.config.num_hidden_layers) ** 0.5
            initialization.normal_(module.weight, mean=0.0, std=std)


class DecoderModel(DecoderPreTrainedModel):
    """Embeddings, the stack of layers, and the norm at its end."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__(config)
        self.padding_idx = config.pad_token_id
        self.vocab_size = config.vocab_size
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, self.padding_idx)
        self.embed_positions = config.position.embedding(config)
        self.dropout = dropout_of(config.embedding_dropout)
        self.layers = nn.ModuleList([layer.module(config, place) for place, layer in enumerate(config.stack)])
        self.norm = config.last_norm.module(config.hidden_size) if config.last_norm else None
        self.rotary_emb = config.position.rotary(config)
        self.position_bias = config.position.bias(config)
        self.gradient_checkpointing = False
        self.post_init()

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: Any = None,
        position_ids: torch.LongTensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,  # noqa: FBT001 - transformers' own signature
        **settings: Any,
    ) -> BaseModelOutputWithPast:
        """The hidden states after the last layer."""
        hidden_states = self._embedded(input_ids, inputs_embeds)
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        if position_ids is None:
            seen = past_key_values.get_seq_length() if past_key_values is not None else 0
            position_ids = (torch.arange(hidden_states.shape[1], device=hidden_states.device) + seen).unsqueeze(0)
        masks = self._masks(hidden_states, attention_mask, position_ids, past_key_values)
        if self.embed_positions is not None:
            hidden_states = hidden_states + self.embed_positions(position_ids)
        hidden_states = self.dropout(hidden_states)
        rotation = self.rotary_emb(hidden_states, position_ids) if self.rotary_emb is not None else None
        for layer, kind in zip(self.layers, self.config.layer_types, strict=False):
            hidden_states = layer(
                hidden_states,
                attention_mask=masks[kind],
                rotation=rotation,
                position_ids=position_ids,
                past_key_values=past_key_values,
                use_cache=use_cache,
                **settings,
            )
        if self.norm is not None:
            hidden_states = self.norm(hidden_states)
        return BaseModelOutputWithPast(last_hidden_state=hidden_states, past_key_values=past_key_values)

    def _embedded(self, input_ids: torch.Tensor | None, inputs_embeds: torch.Tensor | None) -> torch.Tensor:
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give either input_ids or inputs_embeds")
        return self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds

    def _masks(
        self,
        hidden_states: torch.Tensor,
        attention_mask: Any,
        position_ids: torch.Tensor,
        past_key_values: Cache | None,
    ) -> dict[str, Any]:
        """The mask of each kind of layer; `generate` may have made them already."""
        if self.position_bias is not None:
            self.position_bias.check()
        masks = attention_mask
        if not isinstance(masks, dict):
            given = {
                "config": self.config,
                "inputs_embeds": hidden_states,
                "attention_mask": attention_mask,
                "past_key_values": past_key_values,
                "position_ids": position_ids,
            }
            masks = {kind: _MASKS[kind](**given) for kind in set(self.config.layer_types)}
        if self.position_bias is None:
            return masks
        return {
            kind: self.position_bias(mask, hidden_states, position_ids, past_key_values) for kind, mask in masks.items()
        }


class DecoderForCausalLM(DecoderPreTrainedModel, GenerationMixin):
    """The decoder with its output head."""

    _tied_weights_keys: ClassVar[dict[str, str]] = {"lm_head.weight": "model.embed_tokens.weight"}
    _tp_plan: ClassVar[dict[str, str]] = {"lm_head": "colwise_gather_output"}
    _pp_plan: ClassVar[dict[str, Any]] = {"lm_head": (["hidden_states"], ["logits"])}

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__(config)
        self.model = DecoderModel(config)
        self.vocab_size = config.vocab_size
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: Any = None,
        position_ids: torch.LongTensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.LongTensor | None = None,
        use_cache: bool | None = None,  # noqa: FBT001 - transformers' own signature
        logits_to_keep: int | torch.Tensor = 0,
        **settings: Any,
    ) -> CausalLMOutputWithPast:
        """The logits, of all tokens or of the last `logits_to_keep`, and with `labels` the loss."""
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            **settings,
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(outputs.last_hidden_state[:, kept, :])
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size, **settings)
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )
