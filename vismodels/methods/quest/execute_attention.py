"""Attention of an executed network: its products are of integers, kept in float32.

There is no 8-bit kernel for products of two activations. But of integers, with scales taken out of
the products, the large matrix of probabilities is passed over half as often.
"""

from typing import Self

import torch
from torch import Tensor

from vismodels.methods.quest.attention import QuantizedAttnProcessor
from vismodels.methods.quest.quantizers import ActivationQuantizer


class ExecutedAttnProcessor(QuantizedAttnProcessor):
    """Attention on the quantizers of another processor, without gradient."""

    @classmethod
    def of(cls, processor: QuantizedAttnProcessor) -> Self:
        """Return a processor that shares the quantizers of `processor`."""
        new = cls(processor.query.config, processor.probabilities.config)
        new.query, new.key, new.value = processor.query, processor.key, processor.value
        new.probabilities = processor.probabilities
        return new

    @torch.no_grad()
    def _attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        if not all(quantizer.enabled for quantizer in self.quantizers):
            return super()._attend(query, key, value, mask)
        query, query_scale = _integers(self.query, query)
        key, key_scale = _integers(self.key, key)
        value, value_scale = _integers(self.value, value)
        query *= query_scale * key_scale * query.shape[-1] ** -0.5
        scores = query @ key.transpose(-1, -2)
        if mask is not None:
            scores += mask
        probabilities, scale = _integers(self.probabilities, scores.softmax(dim=-1), overwrite=True)
        attended: Tensor = probabilities @ value
        return attended.mul_(scale * value_scale)


def _integers(
    quantizer: ActivationQuantizer, x: Tensor, overwrite: bool = False
) -> tuple[Tensor, Tensor]:
    """Return code - zero point of `x`, (B, heads, N, d), and the scale, (1 or B, 1, 1, 1)."""
    group = quantizer.group
    chosen = group if isinstance(group, Tensor) else slice(group, group + 1)
    scale = quantizer.effective_scale()[chosen].view(-1, 1, 1, 1)
    zero_point = quantizer.zero_point[chosen].view(-1, 1, 1, 1)
    ends = quantizer.spec.minimum, quantizer.spec.maximum
    codes = (x.div_(scale) if overwrite else x / scale).round_()
    if not bool(zero_point.any()):  # as of probabilities
        return codes.clamp_(*ends), scale
    return codes.add_(zero_point).clamp_(*ends).sub_(zero_point), scale
