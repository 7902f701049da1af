"""Ranges of uniform quantizers, and the scale and zero point that a range stands for.

Extremes; the search for the shrunk range with the least error, of all rows at once, as in
Q-Diffusion (Li et al. 2023, arXiv 2302.04304); and percentiles. Every range holds zero, or rounding
would move it: padding, and the bulk of most activations.

Legend: R rows that have a range each (channels, or one for a whole tensor), n values in a row.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from vismodels.quantization.spec import QuantSpec

SMALLEST_SCALE = 1e-8
EXPONENT = 2.4  # of the error in the search, as in Q-Diffusion
SHRINKS = 80  # candidates, each smaller by one hundredth of the extremes
VALUES_AT_ONCE = 2**18  # times candidates: fewer are too little work for an operation
PERCENTILES = (0.999, 0.9999, 0.99999)


def affine_parameters(low: Tensor, high: Tensor, spec: QuantSpec) -> tuple[Tensor, Tensor]:
    """Return scale and zero point, (R,) or any shape, whose integers cover these ranges and zero.

    Unsigned: scale (high - low) / largest integer, zero point round(-low / scale). Signed: the
    larger magnitude over the largest integer, zero point 0.

    Args:
        low: (R,); above zero it counts as zero.
        high: (R,); below zero it counts as zero.
        spec: bits and sign.
    """
    low, high = low.clamp_max(0), high.clamp_min(0)
    if spec.signed:
        scale = torch.maximum(-low, high) / spec.maximum
        return scale.clamp_min(SMALLEST_SCALE), torch.zeros_like(scale)
    scale = ((high - low) / spec.maximum).clamp_min(SMALLEST_SCALE)
    return scale, (-low / scale).round()


@torch.no_grad()
def mse_range(
    values: Tensor,
    spec: QuantSpec,
    *,
    counts: Tensor | None = None,
    extremes: tuple[Tensor, Tensor] | None = None,
    exponent: float = EXPONENT,
    shrinks: int = SHRINKS,
) -> tuple[Tensor, Tensor]:
    """Return the ends, (R,) each, of the range whose mean |quantized - value|**exponent is least.

    Candidates are the extremes times 1, 0.99, 0.98, ...

    Args:
        values: (R, n), as they are or the centers of histograms.
        spec: bits and sign.
        counts: (R, n), how often each value occurred; None: once.
        extremes: (R,) each, where the search starts; None: those of `values`.
        exponent: of the error; 2 is the squared one.
        shrinks: candidates, at most 100.
    """
    low, high = values.aminmax(dim=1) if extremes is None else extremes
    shares = 1 - 0.01 * torch.arange(shrinks, dtype=low.dtype, device=low.device)
    at_once = max(1, VALUES_AT_ONCE // values.numel())
    errors = [
        _error(values, counts, share[:, None] * low, share[:, None] * high, spec, exponent)
        for share in torch.split(shares, at_once)
    ]
    best = shares[torch.cat(errors).argmin(dim=0)]
    return low * best, high * best


@torch.no_grad()
def percentile_range(
    values: Tensor,
    spec: QuantSpec,
    *,
    counts: Tensor | None = None,
    percentiles: Sequence[float] = PERCENTILES,
) -> tuple[Tensor, Tensor]:
    """Return the ends, (R,) each, of the range between quantiles with the least squared error.

    A candidate goes from the quantile 1 - p to the quantile p; quantiles are values that occurred.

    Args:
        values: (R, n), rising along a row.
        spec: bits and sign.
        counts: (R, n), how often each value occurred; None: once.
        percentiles: the candidates p, between 0.5 and 1.
    """
    seen = torch.ones_like(values) if counts is None else counts
    # In double precision: a float cannot count beyond 2**24, nor tell 1 - 1e-5 of it.
    passed = seen.cumsum(1, dtype=torch.float64)
    candidates = passed.new_tensor(percentiles)
    total = passed[:, -1:]
    low, high = (
        values.gather(1, torch.searchsorted(passed, total * shares).clamp_max(values.shape[1] - 1))
        for shares in (1 - candidates, candidates)
    )
    best = _error(values, counts, low.T, high.T, spec, 2).argmin(dim=0)[:, None]
    return low.gather(1, best).squeeze(1), high.gather(1, best).squeeze(1)


def _error(
    values: Tensor,
    counts: Tensor | None,
    low: Tensor,
    high: Tensor,
    spec: QuantSpec,
    exponent: float,
) -> Tensor:
    """Return the sum of errors of K ranges of each row, (K, R), in double precision.

    Args:
        values: (R, n).
        counts: (R, n), or None.
        low: (K, R).
        high: (K, R).
        spec: bits and sign.
        exponent: of the error.
    """
    scale, zero_point = (each[..., None] for each in affine_parameters(low, high, spec))
    codes = (values / scale).round_().add_(zero_point).clamp_(spec.minimum, spec.maximum)
    error = codes.sub_(zero_point).mul_(scale).sub_(values).abs_().pow_(exponent)
    return (error if counts is None else error.mul_(counts)).sum(2, dtype=torch.float64)
