"""Run a network on whole photographs and measure the results."""

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vismodels.data.pairs import PairSet, images_to_tensor, tensor_to_images
from vismodels.metrics.image import PSNR_Y, SSIM_Y, psnr_y, ssim_y

Image = NDArray[np.uint8]


@torch.no_grad()
def upscale(network: nn.Module, image: Image) -> Image:
    """Return `image` enlarged by `network`.

    Args:
        network: takes and gives (B, 3, H, W) RGB in [0, 1]; its training mode is kept.
        image: (H, W, 3) uint8 RGB.

    Returns:
        (scale * H, scale * W, 3) uint8, clipped and rounded.
    """
    was_training = network.training
    network.eval()
    device = next(network.parameters()).device
    try:
        result: Image = tensor_to_images(network(images_to_tensor(image[None]).to(device)))[0]
    finally:
        network.train(was_training)
    return result


def measure(
    enlarge: Callable[[Image], Image], pairs: PairSet, *, border: int
) -> dict[str, dict[str, float]]:
    """Return metric name -> image name -> value of an enlarging function on the pairs.

    Args:
        enlarge: (H, W, 3) uint8 -> (scale * H, scale * W, 3) uint8.
        pairs: LR inputs and HR targets.
        border: pixels left out at each side.
    """
    values: dict[str, dict[str, float]] = {PSNR_Y.name: {}, SSIM_Y.name: {}}
    for pair in pairs:
        result = enlarge(pair.lr)
        psnr = psnr_y(result, pair.hr, border=border)
        if math.isinf(psnr):
            raise ValueError(
                f"{pair.name}: the result equals the photograph, so its PSNR is infinite; "
                "leave flat images out of the set"
            )
        values[PSNR_Y.name][pair.name] = psnr
        values[SSIM_Y.name][pair.name] = ssim_y(result, pair.hr, border=border)
    return values


def evaluate(network: nn.Module, pairs: PairSet, *, border: int) -> Mapping[str, dict[str, float]]:
    """Return `measure` of a network."""
    return measure(lambda image: upscale(network, image), pairs, border=border)
