"""From logits to weights of candidates: softmax, and samples by Gumbel noise.

Jang et al., "Categorical Reparameterization with Gumbel-Softmax" (ICLR 2017, arXiv 1611.01144).
"""

from typing import Literal

import torch
from torch import Tensor

Relaxation = Literal["softmax", "gumbel", "hard_gumbel"]


def gumbel_softmax(
    logits: Tensor, temperature: float, generator: torch.Generator, hard: bool = False
) -> Tensor:
    """Return softmax((logits + Gumbel noise) / temperature) over the last axis.

    Args:
        logits: (..., n).
        temperature: positive; near zero the result is nearly one-hot.
        generator: source of randomness; drawn on its device and moved.
        hard: return the one-hot vector of the largest entry, with the gradient of the soft one.

    Raises:
        ValueError: if the temperature is not positive.
    """
    if not temperature > 0:
        raise ValueError(f"the temperature must be positive, got {temperature}")
    exponential = torch.empty(logits.shape, dtype=logits.dtype, device=generator.device)
    exponential.exponential_(generator=generator)
    noise = -exponential.clamp_min(torch.finfo(logits.dtype).tiny).log()
    soft = torch.softmax((logits + noise.to(logits.device)) / temperature, dim=-1)
    if not hard:
        return soft
    one_hot = torch.zeros_like(soft).scatter(-1, soft.argmax(dim=-1, keepdim=True), 1.0)
    return one_hot + (soft - soft.detach())  # in this order the values are exactly 0 and 1


def linear_temperature(progress: float, start: float = 10.0, end: float = 0.1) -> float:
    """Return the temperature after a share `progress` in [0, 1] of the search."""
    share = min(max(progress, 0.0), 1.0)
    return (1 - share) * start + share * end


def exponential_temperature(progress: float, start: float = 5.0, end: float = 0.5) -> float:
    """Return the temperature after a share `progress` in [0, 1]: start * (end / start) ** progress.

    Raises:
        ValueError: if a temperature is not positive.
    """
    if not (start > 0 and end > 0):
        raise ValueError(f"temperatures must be positive, got {start} and {end}")
    return float(start * (end / start) ** min(max(progress, 0.0), 1.0))
