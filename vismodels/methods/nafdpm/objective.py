"""The objective of NAF-DPM: pixels and their high or low frequencies, for residual and prediction.

Cicchetti and Comminiello (2024), arXiv 2404.05669, as their code has it; the split into
frequencies is that of DocDiff (Yang et al. 2023, arXiv 2305.03892).
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Loss = Literal["mse", "l1"]


def laplacian(image: Tensor) -> Tensor:
    """Return 8 x centre - the eight neighbours, of each channel; zeros beyond the border.

    Args:
        image: (B, C, H, W).
    """
    # A 3x3 sum, as two separable ones: cheaper than a depthwise convolution, forth and back.
    padded = functional.pad(image, (1, 1, 1, 1))
    rows = padded[:, :, :-2] + padded[:, :, 1:-1] + padded[:, :, 2:]
    total = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    return 9 * image - total


def residual_loss(
    estimate: Tensor, residual: Tensor, high_frequency_weight: float = 2.0, loss: Loss = "mse"
) -> Tensor:
    """Return the loss of the denoiser: pixels, and weighted their Laplacian; a scalar.

    Args:
        estimate: (B, C, H, W), the denoiser's residual.
        residual: like `estimate`, clean image minus prediction.
        high_frequency_weight: 2 as published.
        loss: mean square or mean absolute difference.
    """
    difference = estimate - residual
    high = laplacian(difference)  # linear: H(a) - H(b) = H(a - b)
    return _mean(difference, loss) + high_frequency_weight * _mean(high, loss)


def prediction_loss(
    prediction: Tensor, clean: Tensor, low_frequency_weight: float = 2.0, loss: Loss = "mse"
) -> Tensor:
    """Return the loss of the predictor: pixels, and weighted what the Laplacian leaves; a scalar.

    The image minus its Laplacian is called the low frequencies, though its gain is 1 for even areas
    and -11 for stripes of one pixel.

    Args:
        prediction: (B, C, H, W).
        clean: like `prediction`.
        low_frequency_weight: 2 as published.
        loss: mean square or mean absolute difference.
    """
    difference = prediction - clean
    low = difference - laplacian(difference)
    return _mean(difference, loss) + low_frequency_weight * _mean(low, loss)


def _mean(difference: Tensor, loss: Loss) -> Tensor:
    return difference.square().mean() if loss == "mse" else difference.abs().mean()


def draw_timesteps(
    count: int, timesteps: int, times: Literal["uniform", "late"], generator: torch.Generator
) -> Tensor:
    """Return (count,) int64 timesteps in [0, T), on the CPU.

    Args:
        count: how many.
        timesteps: T.
        times: all alike, or `late`: the density grows linearly with the noise, since a solver of
            few steps starts there.
        generator: source of randomness.
    """
    uniform = torch.rand(count, generator=generator, dtype=torch.float64)
    if times == "late":
        uniform = uniform.sqrt()
    return (uniform * timesteps).long().clamp(max=timesteps - 1)
