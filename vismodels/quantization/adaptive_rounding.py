"""Adaptive rounding: whether a weight goes up or down is learned, where the nearest is not best.

Nagel et al., "Up or Down? Adaptive Rounding for Post-Training Quantization" (ICML 2020, arXiv
2004.10568): a rectified sigmoid stands for the decision, and a penalty drives it to 0 or 1.
"""

import torch
from torch import Tensor, nn

from vismodels.quantization.spec import QuantSpec

LOW, HIGH = -0.1, 1.1  # the sigmoid is stretched to these ends and clipped: 0 and 1 are reached
FIRST_EXPONENT, LAST_EXPONENT = 20.0, 2.0


class AdaptiveRounding(nn.Module):
    """The quantizer of one weight, with a rounding variable for each of its values.

    At the start the weight is left as it is, but for what lies outside the range.

    Args:
        weight: any shape.
        scale: broadcastable to it; positive.
        zero_point: like `scale`, integral values.
        spec: bits and sign.
    """

    scale: Tensor
    zero_point: Tensor

    def __init__(self, weight: Tensor, scale: Tensor, zero_point: Tensor, spec: QuantSpec) -> None:
        super().__init__()
        self.spec = spec
        self.register_buffer("scale", scale.detach().clone(), persistent=False)
        self.register_buffer("zero_point", zero_point.detach().clone(), persistent=False)
        ratio = weight.detach() / self.scale
        self.logits = nn.Parameter(rounding_logits(ratio - ratio.floor()))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight rounded by shares; the gradient goes to the rounding variables only.

        Args:
            weight: the one that this was built with.
        """
        return self._mapped_back(weight, soft_rounding(self.logits))

    @torch.no_grad()
    def hardened(self, weight: Tensor) -> Tensor:
        """Return the weight rounded to where each variable points: values of the quantizer."""
        return self._mapped_back(weight, (self.logits >= 0).to(weight.dtype))

    def penalty(self, exponent: float) -> Tensor:
        """Return `rounding_penalty` of the variables."""
        return rounding_penalty(soft_rounding(self.logits), exponent)

    def _mapped_back(self, weight: Tensor, up: Tensor) -> Tensor:
        floor = (weight.detach() / self.scale).floor_().add_(self.zero_point)
        codes = (floor + up).clamp(self.spec.minimum, self.spec.maximum)
        return (codes - self.zero_point) * self.scale


def soft_rounding(logits: Tensor) -> Tensor:
    """Return how far up values are rounded, 0 to 1: h, the rectified sigmoid."""
    return (logits.sigmoid() * (HIGH - LOW) + LOW).clamp(0, 1)


def rounding_logits(share: Tensor) -> Tensor:
    """Return the variables whose `soft_rounding` are these shares, 0 to 1."""
    return -((HIGH - LOW) / (share - LOW) - 1).log()


def rounding_penalty(share: Tensor, exponent: float) -> Tensor:
    """Return the sum of 1 - |2 h - 1|**exponent: 0 where all shares are 0 or 1."""
    return (1 - (2 * share - 1).abs().pow(exponent)).sum()


def penalty_exponent(iteration: int, iterations: int, warmup: float) -> float | None:
    """Return the exponent of the penalty at an iteration, falling linearly; None: no penalty yet.

    A high exponent leaves all but the ends alone. The published code falls along a line, though it
    says cosine.

    Args:
        iteration: counted from 0.
        iterations: of the whole run.
        warmup: share of them without penalty.
    """
    start = warmup * iterations
    if iteration < start:
        return None
    passed = (iteration - start) / (iterations - start)
    return LAST_EXPONENT + (FIRST_EXPONENT - LAST_EXPONENT) * max(0.0, 1 - passed)
