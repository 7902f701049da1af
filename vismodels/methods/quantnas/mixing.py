"""Tensors of several precisions at once: noise in place of rounding, or rounding itself.

QuantNAS, arXiv 2208.14839. During the search a weight W0 becomes sum_b a_b (W0 + n_b) with noise
n_b as large as the rounding error at b bits, and sum_b a_b = 1. The gradient reaches W0 whole and
each a_b through the noise. "Direct" quantization blends really quantized tensors instead.

The published code detaches the noisy copies and adds a share 1 / (bits + 1) of the clean tensor:
coefficients sum to less than 1, and gradients shrink to about a third. `published_noise` does
exactly that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from vismodels.quantization.functional import Distribution, draw_noise, rounding_steps
from vismodels.quantization.quantizers import (
    ActivationKind,
    Rectifier,
    WeightLSQ,
    activation_quantizer,
    build_rectifier,
)

Mode = Literal["noise", "published_noise", "direct"]

TINY = 1e-12


@dataclass(frozen=True)
class Mixing:
    """How tensors of several bits are blended.

    Args:
        mode: `noise`, `published_noise`, or `direct` quantization.
        generator: of the noise.
        distribution: of the noise; `uniform` has the variance of rounding.
        amplitude: factor on the noise; 0 leaves tensors as they are.
        activation: quantizer of activations in direct mode.
        rectifier: in front of the activations; None for features that keep their sign.
    """

    mode: Mode
    generator: torch.Generator
    distribution: Distribution = "uniform"
    amplitude: float = 1.0
    activation: ActivationKind = "hwgq"
    rectifier: Rectifier | None = "relu"


class MixedWeight(nn.Module):
    """A weight at several precisions; one float tensor serves all bits.

    Args:
        shape: of the weight, output channels first.
        bits: the precisions.
        mixing: how they are blended.
    """

    def __init__(self, shape: Sequence[int], bits: Sequence[int], mixing: Mixing) -> None:
        super().__init__()
        self.bits, self.mixing = tuple(bits), mixing
        self.weight = nn.Parameter(torch.empty(tuple(shape)))
        nn.init.kaiming_normal_(self.weight)
        direct = mixing.mode == "direct"
        self.quantizers = nn.ModuleList(WeightLSQ(self.weight, b) for b in bits if direct)

    def forward(self, weights: Tensor) -> Tensor:
        """Return the blended weight.

        Args:
            weights: (len(bits),), not negative; only their ratios matter but for published noise.
        """
        if self.quantizers:
            quantized = [quantize(self.weight) for quantize in self.quantizers]
            return _blend(_shares(weights), quantized)
        return _noisy(self.weight, weights, self.bits, self.mixing)

    def initialize_steps_(self) -> None:
        """Set the steps of direct quantization to where LSQ starts."""
        for quantizer in self.quantizers:
            assert isinstance(quantizer, WeightLSQ)
            quantizer.initialize_(self.weight)


class MixedActivation(nn.Module):
    """Features at several precisions, behind the rectifier.

    Args:
        bits: the precisions.
        mixing: how they are blended.
    """

    def __init__(self, bits: Sequence[int], mixing: Mixing) -> None:
        super().__init__()
        self.bits, self.mixing = tuple(bits), mixing
        kind = mixing.rectifier
        self.rectify = nn.Identity() if kind is None else build_rectifier(kind)
        direct = mixing.mode == "direct"
        self.quantizers = nn.ModuleList(
            activation_quantizer(mixing.activation, b, mixing.rectifier != "relu")
            for b in bits
            if direct
        )

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """Return the blended features.

        Args:
            x: (B, C, H, W).
            weights: (len(bits),), as for `MixedWeight`.
        """
        x = self.rectify(x)
        if self.quantizers:
            return _blend(_shares(weights), [quantize(x) for quantize in self.quantizers])
        return _noisy(x, weights, self.bits, self.mixing)

    def for_all(self, x: Tensor, weights: Tensor) -> Tensor:
        """Return features for operations with weights of their own; see `reading_kernel`.

        In published noise each operation takes another share of the clean tensor, so that clean and
        noisy features come side by side, (B, 2 C, H, W).

        Args:
            x: (B, C, H, W).
            weights: (len(bits),), of those operations together.
        """
        if self.mixing.mode != "published_noise":
            blended: Tensor = self(x, weights)
            return blended
        x = self.rectify(x)
        noise, noisy = _noise(x, _shares(weights), self.bits, self.mixing), x.detach()
        noisy = noisy if noise is None else noisy + noise
        return torch.cat([_clean_share(self.bits) * x, noisy], dim=1)


def reading_kernel(kernel: Tensor, weights: Tensor, mixing: Mixing) -> Tensor:
    """Return the kernel with which an operation reads what `MixedActivation.for_all` gives.

    Args:
        kernel: (out channels, C, height, width).
        weights: (bits,), of the operation.
        mixing: that of the features.
    """
    if mixing.mode != "published_noise":
        return kernel
    total = weights.sum()
    return torch.cat([kernel, total / (total + _clean_share(weights)) * kernel], dim=1)


def _clean_share(bits: Sequence[int] | Tensor) -> float:
    """Return the share of the clean tensor in published noise."""
    return 1 / (len(bits) + 1)


def _shares(weights: Tensor) -> Tensor:
    """Return the weights divided by their sum; even ones for an operation that was not sampled.

    Such an operation adds nothing, but what it would add is the gradient of its weights.
    """
    return (weights + TINY / len(weights)) / (weights.sum() + TINY)


def _blend(shares: Tensor, tensors: Sequence[Tensor]) -> Tensor:
    total = shares[0] * tensors[0]
    for share, tensor in zip(shares[1:], tensors[1:], strict=True):
        total = total + share * tensor
    return total


def _noisy(x: Tensor, weights: Tensor, bits: Sequence[int], mixing: Mixing) -> Tensor:
    """Return sum_b a_b (x + n_b) with sum_b a_b = 1, or what the published code makes of it."""
    if mixing.mode == "noise":
        noise = _noise(x, _shares(weights), bits, mixing)
        return x if noise is None else x + noise
    clean = _clean_share(bits)
    coefficients = weights / (weights.sum() + clean)
    noise = _noise(x, coefficients, bits, mixing)
    detached = coefficients.sum() * x.detach()
    return clean * x + (detached if noise is None else detached + noise)


def _noise(x: Tensor, coefficients: Tensor, bits: Sequence[int], mixing: Mixing) -> Tensor | None:
    """Return sum_b coefficient_b n_b, with independent noise for each precision."""
    if mixing.amplitude == 0:
        return None
    unit = draw_noise((len(bits), *x.shape), x, mixing.generator, mixing.distribution)
    factors = coefficients * rounding_steps(x, bits) * mixing.amplitude
    noise: Tensor = torch.tensordot(factors, unit, dims=1)
    return noise
