"""An attention processor of diffusers whose two products are of quantized numbers.

Fused attention keeps its probabilities to itself, hence would multiply them unquantized. QuEST
(Wang et al. 2025, arXiv 2402.03666, Sec. 2.2) quantizes all four operands.
"""

from typing import Any

import torch
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch import Tensor, nn

from vismodels.methods.quest.config import ActivationQuantConfig
from vismodels.methods.quest.quantizers import ActivationQuantizer


class QuantizedAttnProcessor(nn.Module):
    """Self- or cross-attention with queries, keys, values and probabilities quantized.

    With all quantizers off it is the processor it stands for, to the bit.

    Args:
        operands: how queries, keys and values are quantized, with one scale each.
        probabilities: how the output of the softmax is.
        time_groups: sets of scales.
    """

    def __init__(
        self,
        operands: ActivationQuantConfig,
        probabilities: ActivationQuantConfig,
        time_groups: int = 1,
    ) -> None:
        super().__init__()
        for config in (operands, probabilities):
            if config.granularity != "tensor":
                raise ValueError(
                    "attention is summed over the channels of queries and keys, and over the keys "
                    "of probabilities, whose scales cannot go into a weight: granularity is tensor,"
                    f" got {config.granularity}"
                )
        self.float_processor = AttnProcessor2_0()  # type: ignore[no-untyped-call]
        self.query = ActivationQuantizer(operands, time_groups=time_groups)
        self.key = ActivationQuantizer(operands, time_groups=time_groups)
        self.value = ActivationQuantizer(operands, time_groups=time_groups)
        self.probabilities = ActivationQuantizer(probabilities, time_groups=time_groups)

    @property
    def quantizers(self) -> tuple[ActivationQuantizer, ...]:
        """Of queries, keys, values and probabilities."""
        return self.query, self.key, self.value, self.probabilities

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        **unused: Any,
    ) -> Tensor:
        """Return `forward`: diffusers drops arguments that the signature does not name."""
        output: Tensor = super().__call__(
            attn, hidden_states, encoder_hidden_states, attention_mask, temb, **unused
        )
        return output

    def forward(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        **unused: Any,
    ) -> Tensor:
        """Return what `attn` puts out.

        Args:
            attn: holds the projections and norms.
            hidden_states: (B, N, C), or a feature map (B, C, H, W).
            encoder_hidden_states: (B, M, C'), of cross-attention; None for self-attention.
            attention_mask: added to the scores; as `Attention.prepare_attention_mask` takes it.
            temb: of a spatial norm.
            unused: arguments that the float processor takes and ignores as well.
        """
        if not any(each.is_active for each in self.quantizers):
            result: Tensor = self.float_processor(
                attn, hidden_states, encoder_hidden_states, attention_mask, temb
            )
            return result
        x = hidden_states
        if attn.spatial_norm is not None:
            x = attn.spatial_norm(x, temb)
        if x.ndim == 4:
            x = x.flatten(2).transpose(1, 2)
        if attn.group_norm is not None:
            x = attn.group_norm(x.transpose(1, 2)).transpose(1, 2)
        context = x if encoder_hidden_states is None else encoder_hidden_states
        if encoder_hidden_states is not None and attn.norm_cross:
            context = attn.norm_encoder_hidden_states(context)
        query, key, value = (
            _heads(project(source), attn.heads)
            for project, source in ((attn.to_q, x), (attn.to_k, context), (attn.to_v, context))
        )
        if attn.norm_q is not None:
            query = attn.norm_q(query)
        if attn.norm_k is not None:
            key = attn.norm_k(key)
        mask = self._mask(attn, attention_mask, context)
        attended = self._attend(query, key, value, mask).transpose(1, 2).flatten(2)
        output: Tensor = attn.to_out[1](attn.to_out[0](attended.to(query.dtype)))
        if hidden_states.ndim == 4:
            output = output.transpose(1, 2).reshape(hidden_states.shape)
        if attn.residual_connection:
            output = output + hidden_states
        return output / attn.rescale_output_factor

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """Return (B, heads, N, d) of queries like it, and keys and values of M tokens."""
        query, key, value = self.query(query), self.key(key), self.value(value)
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
        if mask is not None:
            scores = scores + mask
        # In float32 at least, as the fused kernels do.
        kind = torch.promote_types(scores.dtype, torch.float32)
        probabilities = scores.softmax(dim=-1, dtype=kind).to(value.dtype)
        attended: Tensor = self.probabilities(probabilities) @ value
        return attended

    @staticmethod
    def _mask(attn: Attention, mask: Tensor | None, context: Tensor) -> Tensor | None:
        if mask is None:
            return None
        count, tokens = context.shape[:2]
        prepared: Tensor = attn.prepare_attention_mask(mask, tokens, count)
        if prepared.dtype == torch.bool:  # True where tokens are seen
            zeros = torch.zeros_like(prepared, dtype=context.dtype)
            prepared = zeros.masked_fill(~prepared, -torch.inf)
        return prepared.view(count, attn.heads, -1, prepared.shape[-1])


def _heads(x: Tensor, heads: int) -> Tensor:
    """Return (B, heads, N, d) of (B, N, heads * d)."""
    return x.view(*x.shape[:-1], heads, -1).transpose(1, 2)
