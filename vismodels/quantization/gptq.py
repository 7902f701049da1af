"""Rounding of one column of a weight after another, each making up for the errors before it.

Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers"
(ICLR 2023, arXiv 2210.17323), Algorithm 1, with its blocks of columns.

Legend: O outputs, K inputs (of a convolution: channels times kernel).
"""

import torch
from torch import Tensor

from vismodels.quantization.functional import to_codes
from vismodels.quantization.spec import QuantSpec

BLOCK = 128  # columns whose errors reach the columns behind them together


@torch.no_grad()
def gptq(
    weight: Tensor,
    gram: Tensor,
    scale: Tensor,
    zero_point: Tensor,
    spec: QuantSpec,
    *,
    damping: float = 0.01,
) -> Tensor:
    """Return the weight, (O, K), rounded for a small sum of squared errors of its outputs.

    Args:
        weight: (O, K).
        gram: (K, K), the inputs' X^T X, in any unit.
        scale: broadcastable to (O, K); positive.
        zero_point: like `scale`, integral values.
        spec: bits and sign.
        damping: added to the diagonal, as a share of its mean.

    Raises:
        ValueError: for a gram of another size.
    """
    count = weight.shape[1]
    if gram.shape != (count, count):
        raise ValueError(
            f"a weight of {count} inputs needs their ({count}, {count}) products, got "
            f"{tuple(gram.shape)}"
        )
    left = weight.double()
    scale, zero_point = (each.double().expand_as(left) for each in (scale, zero_point))
    factor = _inverse_factor(gram.double(), damping)
    done = torch.empty_like(left)
    for start in range(0, count, BLOCK):
        end = min(start + BLOCK, count)
        errors = left.new_empty(len(left), end - start)
        for j in range(start, end):
            column = slice(j, j + 1)
            codes = to_codes(left[:, column], scale[:, column], zero_point[:, column], spec)
            done[:, column] = (codes - zero_point[:, column]) * scale[:, column]
            error = (left[:, column] - done[:, column]) / factor[j, j]
            left[:, j:end] -= error * factor[j, j:end]
            errors[:, j - start] = error[:, 0]
        left[:, end:] -= errors @ factor[start:end, end:]
    return done.to(weight.dtype)


def _inverse_factor(gram: Tensor, damping: float) -> Tensor:
    """Return the upper triangle U with U^T U = (damped gram)^-1, (K, K)."""
    diagonal = gram.diagonal()
    # Inputs that are always zero may be rounded anyhow, but need some number here.
    added = damping * diagonal.mean().clamp_min(torch.finfo(gram.dtype).tiny)
    damped = gram + added.clamp_min(1e-30) * torch.eye(len(gram)).to(gram)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    factor: Tensor = torch.linalg.cholesky(inverse, upper=True)
    return factor
